/* SM3 whose step is an exponential moving average of the directions of sm3.h.  State:
 * that average, m; and the accumulators of sm3.h. */
typedef FO_T(sm3_coef) FO_T(sm3_momentum_coef);

static inline FO_T(sm3_momentum_coef)
    FO_T(sm3_momentum_prepare)(const fo_sm3_momentum_hp *hp, int64_t t, double *saved)
{
    (void)t, (void)saved;
    return (FO_T(sm3_momentum_coef)){
        .lr = (real)hp->lr,
        .eps = (real)hp->eps,
        .momentum = (real)hp->momentum,
        .one_minus_momentum = (real)(1.0 - hp->momentum),
    };
}

static inline void FO_T(sm3_momentum_element)(real *w, real g, real *m,
                                              FO_T(sm3_momentum_coef) c)
{
    *m = c.momentum * *m + c.one_minus_momentum * FO_T(sm3_direction)(g, c);
    *w -= c.lr * *m;
}
