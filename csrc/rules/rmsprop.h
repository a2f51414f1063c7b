/* RMSProp, Tieleman & Hinton 2012, lecture 6e.  State: s, the mean square. */
typedef struct {
    real lr, alpha, one_minus_alpha, correction, eps, eps_root;
} FO_T(rmsprop_coef);

static inline FO_T(rmsprop_coef)
    FO_T(rmsprop_prepare)(const fo_rmsprop_hp *hp, int64_t t, double *saved)
{
    (void)saved;
    const double c = hp->bias_correction != 0 ? fo_one_minus_powi(hp->alpha, t) : 1.0;
    return (FO_T(rmsprop_coef)){
        .lr = (real)hp->lr,
        .alpha = (real)hp->alpha,
        .one_minus_alpha = (real)(1.0 - hp->alpha),
        .correction = (real)(1.0 / c),
        .eps = (real)hp->eps,
        .eps_root = (real)hp->eps_root,
    };
}

/* Updates s; returns the gradient divided by its root mean square. */
static inline real FO_T(rmsprop_direction)(real g, real *s, FO_T(rmsprop_coef) c)
{
    *s = c.alpha * *s + c.one_minus_alpha * (g * g);
    return g / (fo_sqrt(c.correction * *s + c.eps_root) + c.eps);
}

static inline void FO_T(rmsprop_element)(real *w, real g, real *s, FO_T(rmsprop_coef) c)
{
    *w -= c.lr * FO_T(rmsprop_direction)(g, s, c);
}
