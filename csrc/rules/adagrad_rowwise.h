/* AdaGrad with one accumulator per row, Gupta et al. 2020 and FBGEMM's
 * EXACT_ROWWISE_ADAGRAD.  Per-row state: s, the sum over steps of the mean square of
 * the row's gradient.  adagrad_rowwise_row computes the learning rate of a row. */
typedef struct {
    real rate, lr, eps, eps_root;
} FO_T(adagrad_rowwise_coef);

static inline FO_T(adagrad_rowwise_coef)
    FO_T(adagrad_rowwise_prepare)(const fo_adagrad_rowwise_hp *hp, int64_t t,
                                  double *saved)
{
    (void)saved;
    return (FO_T(adagrad_rowwise_coef)){
        .lr = (real)(hp->lr / (1.0 + (double)(t - 1) * hp->lr_decay)),
        .eps = (real)hp->eps,
        .eps_root = (real)hp->eps_root,
    };
}

static inline void FO_T(adagrad_rowwise_row)(real mean_square, real *s,
                                             FO_T(adagrad_rowwise_coef) * c)
{
    *s += mean_square;
    c->rate = c->lr / (fo_sqrt(*s + c->eps_root) + c->eps);
}

static inline void FO_T(adagrad_rowwise_element)(real *w, real g,
                                                 FO_T(adagrad_rowwise_coef) c)
{
    *w -= c.rate * g;
}
