/* Signum, Bernstein et al. 2018, Algorithm 2: signSGD with momentum.  State: m. */
typedef struct {
    real step_size, momentum, one_minus_momentum;
} FO_T(signum_coef);

static inline FO_T(signum_coef)
    FO_T(signum_prepare)(const fo_signum_hp *hp, int64_t t, double *saved)
{
    (void)t, (void)saved;
    return (FO_T(signum_coef)){
        .step_size = (real)hp->lr,
        .momentum = (real)hp->momentum,
        .one_minus_momentum = (real)(1.0 - hp->momentum),
    };
}

static inline void FO_T(signum_element)(real *w, real g, real *m, FO_T(signum_coef) c)
{
    *m = c.momentum * *m + c.one_minus_momentum * g;
    *w -= c.step_size * fo_sign(*m);
}
