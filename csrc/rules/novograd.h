/* NovoGrad, Ginsburg et al. 2019, Algorithm 1: the gradient of a tensor is divided by
 * the root of a running mean of its squared norm; weight decay is added; m accumulates
 * both.  State: m.  Saved scalar: the running mean v. */
typedef struct {
    real beta1, gain, decay, divisor, lr;
    int is_first;
} FO_T(novograd_coef);

static inline FO_T(novograd_coef)
    FO_T(novograd_prepare)(const fo_novograd_hp *hp, int64_t t, double *saved)
{
    (void)saved;
    return (FO_T(novograd_coef)){
        .beta1 = (real)hp->beta1,
        .gain = (real)(hp->grad_averaging != 0 ? 1.0 - hp->beta1 : 1.0),
        .decay = (real)hp->wd,
        .lr = (real)hp->lr,
        .is_first = t == 1,
    };
}

static inline void FO_T(novograd_terms)(real w, real kept, real g, real m,
                                        FO_T(novograd_coef) c, double *terms)
{
    (void)w, (void)kept, (void)m, (void)c;
    terms[0] = (double)g * (double)g;
}

static inline double FO_T(novograd_finish)(const double *sums, int64_t size,
                                           const fo_novograd_hp *hp, double *saved,
                                           FO_T(novograd_coef) * c)
{
    (void)size;
    const double mean = hp->beta2 * *saved + (1.0 - hp->beta2) * sums[0];
    *saved = c->is_first ? sums[0] : mean;
    c->divisor = (real)(sqrt(*saved + hp->eps_root) + hp->eps);
    return hp->lr;
}

static inline void FO_T(novograd_element)(real *w, real g, real *m,
                                          FO_T(novograd_coef) c)
{
    *m = c.beta1 * *m + c.gain * (g / c.divisor + c.decay * *w);
    *w -= c.lr * *m;
}
