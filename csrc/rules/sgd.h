/* Gradient descent, Cauchy 1847; Robbins & Monro 1951 for sampled gradients.  No
 * state. */
typedef struct {
    real lr;
} FO_T(sgd_coef);

static inline FO_T(sgd_coef)
    FO_T(sgd_prepare)(const fo_sgd_hp *hp, int64_t t, double *saved)
{
    (void)t, (void)saved;
    return (FO_T(sgd_coef)){(real)hp->lr};
}

static inline void FO_T(sgd_element)(real *w, real g, FO_T(sgd_coef) c)
{
    *w -= c.lr * g;
}
