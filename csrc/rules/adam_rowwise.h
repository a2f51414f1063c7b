/* Adam with one v for each row, FBGEMM's PARTIAL_ROWWISE_ADAM: the running mean of the
 * mean square of the row's gradient.  adam_rowwise_row computes the divisor of a row.
 * State: m; per-row state: v. */
typedef struct {
    FO_T(adam_coef) adam;
    real divisor;
} FO_T(adam_rowwise_coef);

static inline FO_T(adam_rowwise_coef)
    FO_T(adam_rowwise_prepare)(const fo_adam_rowwise_hp *hp, int64_t t, double *saved)
{
    const fo_adam_hp adam = FO_ADAM_HP(hp);
    return (FO_T(adam_rowwise_coef)){.adam = FO_T(adam_prepare)(&adam, t, saved)};
}

static inline void FO_T(adam_rowwise_row)(real mean_square, real *v,
                                          FO_T(adam_rowwise_coef) * c)
{
    const FO_T(adam_coef) a = c->adam;
    *v = a.beta2 * *v + a.one_minus_beta2 * mean_square;
    c->divisor = fo_sqrt(a.v_scale * *v + a.eps_root) + a.eps;
}

static inline void FO_T(adam_rowwise_element)(real *w, real g, real *m,
                                              FO_T(adam_rowwise_coef) c)
{
    *m = c.adam.beta1 * *m + c.adam.one_minus_beta1 * g;
    *w -= c.adam.step_size * (*m / c.divisor);
}
