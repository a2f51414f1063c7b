/* FTRL-Proximal, McMahan et al. 2013, Algorithm 1.  States: n, the sum of g^2; z.  w is
 * recomputed from n and z at each step.  keep_start: where z is 0, w is the start of
 * the parameter, and z starts at the value that gives this w; until the gradient is not
 * 0, nothing changes. */
typedef struct {
    real frozen, per_lr, beta, l1, l2, shrinkage, keep_start;
} FO_T(ftrl_coef);

static inline FO_T(ftrl_coef)
    FO_T(ftrl_prepare)(const fo_ftrl_hp *hp, int64_t t, double *saved)
{
    (void)t, (void)saved;
    return (FO_T(ftrl_coef)){
        .frozen = (real)(hp->lr == 0),
        .per_lr = (real)(1.0 / hp->lr),
        .beta = (real)hp->beta,
        .l1 = (real)hp->l1_regularization_strength,
        .l2 = (real)hp->l2_regularization_strength,
        .shrinkage = (real)hp->l2_shrinkage_regularization_strength,
        .keep_start = (real)(hp->keep_start != 0),
    };
}

/* The number by which w divides l1 sign(z) - z. */
static inline real FO_T(ftrl_slope)(real root, FO_T(ftrl_coef) c)
{
    return (c.beta + root) * c.per_lr + c.l2;
}

static inline void FO_T(ftrl_element)(real *w, real g, real *n, real *z,
                                      FO_T(ftrl_coef) c)
{
    const real root_before = fo_sqrt(*n), sum = *n + g * g, root = fo_sqrt(sum);
    const int starts = (c.keep_start != 0) & (*z == 0);
    const real penalty = *w > 0 ? c.l1 : (*w < 0 ? -c.l1 : 0);
    const real start = -(*w * FO_T(ftrl_slope)(root_before, c) + penalty);
    const real z_new = (starts ? start : *z) + (g + c.shrinkage * *w) -
                       (root - root_before) * c.per_lr * *w;
    const real pull = (z_new > 0 ? c.l1 : -c.l1) - z_new;
    const real w_new = fo_abs(z_new) <= c.l1 ? 0 : pull / FO_T(ftrl_slope)(root, c);
    const int still = (c.frozen != 0) | (starts & (g == 0));
    *n = still ? *n : sum;
    *z = still ? *z : z_new;
    *w = still ? *w : w_new;
}
