/* AdaDelta, Zeiler 2012, Algorithm 1.  States: s = E[g^2], d = E[dx^2].  eps is added
 * inside both roots. */
typedef struct {
    real lr, rho, one_minus_rho, eps;
} FO_T(adadelta_coef);

static inline FO_T(adadelta_coef)
    FO_T(adadelta_prepare)(const fo_adadelta_hp *hp, int64_t t, double *saved)
{
    (void)t, (void)saved;
    return (FO_T(adadelta_coef)){
        .lr = (real)hp->lr,
        .rho = (real)hp->rho,
        .one_minus_rho = (real)(1.0 - hp->rho),
        .eps = (real)hp->eps,
    };
}

static inline void FO_T(adadelta_element)(real *w, real g, real *s, real *d,
                                          FO_T(adadelta_coef) c)
{
    *s = c.rho * *s + c.one_minus_rho * (g * g);
    const real dx = fo_sqrt(*d + c.eps) / fo_sqrt(*s + c.eps) * g;
    *d = c.rho * *d + c.one_minus_rho * (dx * dx);
    *w -= c.lr * dx;
}
