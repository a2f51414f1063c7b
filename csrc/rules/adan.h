/* Adan, Xie et al. 2022, Algorithm 1: Adam with Nesterov's momentum, from differences
 * of gradients.  States: m, n, u and the negative gradient of the step before. */
typedef struct {
    real m_step, u_step, is_first, beta1, one_minus_beta1, beta2, one_minus_beta2,
        beta3, one_minus_beta3, n_scale, eps, eps_root;
} FO_T(adan_coef);

static inline FO_T(adan_coef)
    FO_T(adan_prepare)(const fo_adan_hp *hp, int64_t t, double *saved)
{
    (void)saved;
    return (FO_T(adan_coef)){
        .m_step = (real)(hp->lr / fo_one_minus_powi(hp->beta1, t)),
        .u_step = (real)(hp->lr * hp->beta2 / fo_one_minus_powi(hp->beta2, t)),
        .is_first = (real)(t == 1),
        .beta1 = (real)hp->beta1,
        .one_minus_beta1 = (real)(1.0 - hp->beta1),
        .beta2 = (real)hp->beta2,
        .one_minus_beta2 = (real)(1.0 - hp->beta2),
        .beta3 = (real)hp->beta3,
        .one_minus_beta3 = (real)(1.0 - hp->beta3),
        .n_scale = (real)(1.0 / fo_one_minus_powi(hp->beta3, t)),
        .eps = (real)hp->eps,
        .eps_root = (real)hp->eps_root,
    };
}

static inline void FO_T(adan_element)(real *w, real g, real *m, real *n, real *u,
                                      real *before, FO_T(adan_coef) c)
{
    const real difference = c.is_first != 0 ? 0 : g + *before;
    const real ahead = g + c.beta2 * difference;
    *m = c.beta1 * *m + c.one_minus_beta1 * g;
    *u = c.beta2 * *u + c.one_minus_beta2 * difference;
    *n = c.beta3 * *n + c.one_minus_beta3 * (ahead * ahead);
    *before = -g;
    *w -= (c.m_step * *m + c.u_step * *u) /
          (fo_sqrt(c.n_scale * *n + c.eps_root) + c.eps);
}
