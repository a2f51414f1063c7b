/* signSGD, Bernstein et al. 2018, Algorithm 1.  No state. */
typedef struct {
    real step_size;
} FO_T(signsgd_coef);

static inline FO_T(signsgd_coef)
    FO_T(signsgd_prepare)(const fo_signsgd_hp *hp, int64_t t, double *saved)
{
    (void)t, (void)saved;
    return (FO_T(signsgd_coef)){.step_size = (real)hp->lr};
}

static inline void FO_T(signsgd_element)(real *w, real g, FO_T(signsgd_coef) c)
{
    *w -= c.step_size * fo_sign(g);
}
