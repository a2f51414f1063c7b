/* Lion, Chen et al. 2023, Algorithm 2.  State: m.  The step has the sign of one average
 * of m and the gradient; m becomes another. */
typedef struct {
    real step_size, beta1, one_minus_beta1, beta2, one_minus_beta2;
} FO_T(lion_coef);

static inline FO_T(lion_coef)
    FO_T(lion_prepare)(const fo_lion_hp *hp, int64_t t, double *saved)
{
    (void)t, (void)saved;
    return (FO_T(lion_coef)){
        .step_size = (real)hp->lr,
        .beta1 = (real)hp->beta1,
        .one_minus_beta1 = (real)(1.0 - hp->beta1),
        .beta2 = (real)hp->beta2,
        .one_minus_beta2 = (real)(1.0 - hp->beta2),
    };
}

static inline real FO_T(lion_direction)(real g, real m, FO_T(lion_coef) c)
{
    return fo_sign(c.beta1 * m + c.one_minus_beta1 * g);
}

static inline void FO_T(lion_average)(real g, real *m, FO_T(lion_coef) c)
{
    *m = c.beta2 * *m + c.one_minus_beta2 * g;
}

static inline void FO_T(lion_element)(real *w, real g, real *m, FO_T(lion_coef) c)
{
    *w -= c.step_size * FO_T(lion_direction)(g, *m, c);
    FO_T(lion_average)(g, m, c);
}
