/* StableAdamW, Wortsman et al. 2023, Algorithm 2: Adam whose learning rate is divided,
 * for each tensor, by max(1, RMS), where RMS is the root of the mean of g^2 / max(v,
 * eps^2).  The bias corrections are part of the decay rates, so that m and v are stored
 * corrected.  States: m, v. */
typedef struct {
    FO_T(adam_coef) adam;
    double eps_square;
} FO_T(stable_adamw_coef);

static inline FO_T(stable_adamw_coef)
    FO_T(stable_adamw_prepare)(const fo_stable_adamw_hp *hp, int64_t t, double *saved)
{
    const fo_adam_hp plain = {.lr = hp->lr, .eps = hp->eps};
    const double c1 = fo_one_minus_powi(hp->beta1, t),
                 c2 = fo_one_minus_powi(hp->beta2, t);
    FO_T(adam_coef) adam = FO_T(adam_prepare)(&plain, t, saved);
    adam.beta1 = (real)(hp->beta1 * fo_one_minus_powi(hp->beta1, t - 1) / c1);
    adam.beta2 = (real)(hp->beta2 * fo_one_minus_powi(hp->beta2, t - 1) / c2);
    adam.one_minus_beta1 = (real)((1.0 - hp->beta1) / c1);
    adam.one_minus_beta2 = (real)((1.0 - hp->beta2) / c2);
    return (FO_T(stable_adamw_coef)){adam, hp->eps * hp->eps};
}

static inline void FO_T(stable_adamw_terms)(real w, real kept, real g, real m, real v,
                                            FO_T(stable_adamw_coef) c, double *terms)
{
    (void)w, (void)kept;
    FO_T(adam_moments)(g, &m, &v, c.adam);
    const double square = (double)v < c.eps_square ? c.eps_square : (double)v;
    terms[0] = (double)g * (double)g / square;
}

static inline double FO_T(stable_adamw_finish)(const double *sums, int64_t size,
                                               const fo_stable_adamw_hp *hp,
                                               double *saved,
                                               FO_T(stable_adamw_coef) * c)
{
    (void)saved;
    const double rms = sqrt(sums[0] / (double)size);
    const double lr = rms <= 1.0 ? hp->lr : hp->lr / rms;
    c->adam.step_size = (real)lr;
    return lr;
}

static inline void FO_T(stable_adamw_element)(real *w, real g, real *m, real *v,
                                              FO_T(stable_adamw_coef) c)
{
    FO_T(adam_element)(w, g, m, v, c.adam);
}
