/* Gradient descent whose gradient is divided by its norm over the tensor, Hazan, Levy &
 * Shalev-Shwartz 2015, Algorithm 1.  No state. */
typedef struct {
    real lr, norm;
} FO_T(sgd_normalized_coef);

static inline FO_T(sgd_normalized_coef)
    FO_T(sgd_normalized_prepare)(const fo_sgd_normalized_hp *hp, int64_t t,
                                 double *saved)
{
    (void)t, (void)saved;
    return (FO_T(sgd_normalized_coef)){(real)hp->lr, 1};
}

static inline void FO_T(sgd_normalized_terms)(real w, real kept, real g,
                                              FO_T(sgd_normalized_coef) c,
                                              double *terms)
{
    (void)w, (void)kept, (void)c;
    terms[0] = (double)g * (double)g;
}

/* A norm of 0 is replaced by 1: the step is 0. */
static inline double FO_T(sgd_normalized_finish)(const double *sums, int64_t size,
                                                 const fo_sgd_normalized_hp *hp,
                                                 double *saved,
                                                 FO_T(sgd_normalized_coef) * c)
{
    (void)size, (void)saved;
    c->norm = sums[0] == 0.0 ? 1 : (real)sqrt(sums[0]);
    return hp->lr;
}

static inline void FO_T(sgd_normalized_element)(real *w, real g,
                                                FO_T(sgd_normalized_coef) c)
{
    *w -= c.lr * (g / c.norm);
}
