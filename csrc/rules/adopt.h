/* ADOPT, Taniguchi et al. 2024, Algorithm 2.  The first step sets v and moves nothing.
 * States: m, v. */
typedef struct {
    real lr, is_first, beta1, one_minus_beta1, beta2, v_gain, eps, limit;
} FO_T(adopt_coef);

static inline FO_T(adopt_coef)
    FO_T(adopt_prepare)(const fo_adopt_hp *hp, int64_t t, double *saved)
{
    (void)saved;
    const int is_first = t == 1;
    const double limit =
        hp->clip != 0 ? fo_pow((double)(t - 1), hp->clip_exp) : INFINITY;
    return (FO_T(adopt_coef)){
        .lr = (real)hp->lr,
        .is_first = (real)is_first,
        .beta1 = (real)hp->beta1,
        .one_minus_beta1 = (real)(1.0 - hp->beta1),
        .beta2 = (real)hp->beta2,
        .v_gain = (real)(is_first ? 1.0 : 1.0 - hp->beta2),
        .eps = (real)hp->eps,
        .limit = (real)limit,
    };
}

static inline void FO_T(adopt_element)(real *w, real g, real *m, real *v,
                                       FO_T(adopt_coef) c)
{
    const real scaled = g / fo_max(fo_sqrt(*v), c.eps);
    const real high = scaled > c.limit ? c.limit : scaled;
    const real clipped = high < -c.limit ? -c.limit : high;
    *m = c.is_first != 0 ? *m : c.beta1 * *m + c.one_minus_beta1 * clipped;
    *v = c.beta2 * *v + c.v_gain * (g * g);
    *w -= c.lr * *m;
}
