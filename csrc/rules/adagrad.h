/* AdaGrad, Duchi, Hazan & Singer 2011, Figure 1 (diagonal).  State: s, the sum of
 * squares. */
typedef struct {
    real lr, eps, eps_root;
} FO_T(adagrad_coef);

static inline FO_T(adagrad_coef)
    FO_T(adagrad_prepare)(const fo_adagrad_hp *hp, int64_t t, double *saved)
{
    (void)saved;
    return (FO_T(adagrad_coef)){
        .lr = (real)(hp->lr / (1.0 + (double)(t - 1) * hp->lr_decay)),
        .eps = (real)hp->eps,
        .eps_root = (real)hp->eps_root,
    };
}

static inline void FO_T(adagrad_element)(real *w, real g, real *s, FO_T(adagrad_coef) c)
{
    *s += g * g;
    *w -= c.lr * (g / (fo_sqrt(*s + c.eps_root) + c.eps));
}
