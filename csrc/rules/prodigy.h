/* Prodigy, Mishchenko & Defazio 2024, Algorithm 4, as in the authors' package: Adam
 * whose learning rate is D = lr d, where d is a lower bound of the distance of the
 * solution from the initial parameters p0, and grows.  The sums are over all tensors.
 * States: m, v, s (a running sum of gradients), p0, which is only read.  Saved
 * scalars: d (0 before the first step: it is d0), the largest bound so far, and the
 * numerator of the bound. */
typedef struct {
    real d, rate, beta1, one_minus_beta1, beta2, one_minus_beta2, beta3, s_gain, eps;
    double weight;
} FO_T(prodigy_coef);

static inline FO_T(prodigy_coef)
    FO_T(prodigy_prepare)(const fo_prodigy_hp *hp, int64_t t, double *saved)
{
    const double c1 = fo_one_minus_powi(hp->beta1, t);
    const double c2 = fo_one_minus_powi(hp->beta2, t);
    const double correction = hp->bias_correction != 0 ? sqrt(c2) / c1 : 1.0;
    const double d = saved[0] == 0.0 ? hp->d0 : saved[0];
    const double rate = d * hp->lr * correction;
    return (FO_T(prodigy_coef)){
        .d = (real)d,
        .rate = (real)rate,
        .beta1 = (real)hp->beta1,
        .one_minus_beta1 = (real)(1.0 - hp->beta1),
        .beta2 = (real)hp->beta2,
        .one_minus_beta2 = (real)(1.0 - hp->beta2),
        .beta3 = (real)hp->beta3,
        .s_gain = (real)(d / hp->d0 * (hp->safeguard_warmup != 0 ? d : rate)),
        .weight = d / hp->d0 * rate,
    };
}

static inline real FO_T(prodigy_sum)(real g, real s, FO_T(prodigy_coef) c)
{
    return c.beta3 * s + c.s_gain * g;
}

static inline void FO_T(prodigy_terms)(real w, real kept, real g, real m, real v,
                                       real s, real p0, FO_T(prodigy_coef) c,
                                       double *terms)
{
    (void)kept, (void)m, (void)v;
    terms[0] = c.weight * ((double)g * ((double)p0 - (double)w));
    terms[1] = (double)fo_abs(FO_T(prodigy_sum)(g, s, c));
}

static inline double FO_T(prodigy_finish)(const double *sums, int64_t size,
                                          const fo_prodigy_hp *hp, double *saved,
                                          FO_T(prodigy_coef) * c)
{
    (void)size;
    const double rate = (double)c->rate;
    double d = saved[0] == 0.0 ? hp->d0 : saved[0];
    double largest = saved[1] == 0.0 ? hp->d0 : saved[1];
    if (sums[1] != 0.0) {
        saved[2] = hp->beta3 * saved[2] + sums[0];
        const double found = hp->d_coef * saved[2] / sums[1];
        d = d != hp->d0 || found <= d ? d : found;
        largest = found <= largest ? largest : found;
        d = largest > d * hp->growth_rate ? d * hp->growth_rate : largest;
    }
    saved[0] = d;
    saved[1] = largest;
    c->eps = (real)(d * hp->eps);
    return rate;
}

static inline void FO_T(prodigy_element)(real *w, real g, real *m, real *v, real *s,
                                         real *p0, FO_T(prodigy_coef) c)
{
    (void)p0;
    const real scaled = c.d * g;
    *m = c.beta1 * *m + c.one_minus_beta1 * scaled;
    *v = c.beta2 * *v + c.one_minus_beta2 * (scaled * scaled);
    *s = FO_T(prodigy_sum)(g, *s, c);
    *w -= c.rate * (*m / (fo_sqrt(*v) + c.eps));
}
