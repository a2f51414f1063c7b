/* AdaBelief, Zhuang et al. 2020, Algorithm 2.  States: m and s, the running mean of
 * (g - m)^2.  eps_root is added to the s that is stored, or with eps_in_state = 0 to s
 * in the root.  eps_hat is Adam's, nesterov optax's.  With rectify the step is
 * multiplied by R of radam.h if rho >= 5, as in the authors' code; until then it is not
 * divided by the root. */
typedef struct {
    real m_step, g_step, beta1, one_minus_beta1, beta2, one_minus_beta2, s_scale, eps,
        eps_state, eps_root;
    int divides, nesterov;
} FO_T(adabelief_coef);

static inline FO_T(adabelief_coef)
    FO_T(adabelief_prepare)(const fo_adabelief_hp *hp, int64_t t, double *saved)
{
    (void)saved;
    const double beta1 = hp->beta1, beta2 = hp->beta2;
    const double c1 = fo_one_minus_powi(beta1, t), c2 = fo_one_minus_powi(beta2, t);
    const double rho = FO_T(radam_rho)(beta2, t);
    const int hat = hp->eps_hat != 0, in_state = hp->eps_in_state != 0;
    const int nesterov = hp->nesterov != 0, rectify = hp->rectify != 0;
    const int divides = !rectify || rho >= 5.0;
    double step = hp->lr;

    if (divides && hat)
        step *= sqrt(c2);
    if (divides && rectify)
        step *= FO_T(radam_rectification)(beta2, rho);
    return (FO_T(adabelief_coef)){
        .m_step = (real)(nesterov ? step * beta1 / fo_one_minus_powi(beta1, t + 1)
                                  : step / c1),
        .g_step = (real)(step * (1.0 - beta1) / c1),
        .beta1 = (real)beta1,
        .one_minus_beta1 = (real)(1.0 - beta1),
        .beta2 = (real)beta2,
        .one_minus_beta2 = (real)(1.0 - beta2),
        .s_scale = (real)(hat ? 1.0 : 1.0 / c2),
        .eps = (real)hp->eps,
        .eps_state = (real)(in_state ? hp->eps_root : 0.0),
        .eps_root = (real)(in_state ? 0.0 : hp->eps_root),
        .divides = divides,
        .nesterov = nesterov,
    };
}

static inline void FO_T(adabelief_element)(real *w, real g, real *m, real *s,
                                           FO_T(adabelief_coef) c)
{
    *m = c.beta1 * *m + c.one_minus_beta1 * g;
    const real difference = g - *m;
    *s = c.beta2 * *s + c.one_minus_beta2 * (difference * difference) + c.eps_state;

    const real root = fo_sqrt(c.s_scale * *s + c.eps_root) + c.eps;
    const real mean = c.nesterov ? c.m_step * *m + c.g_step * g : c.m_step * *m;
    *w -= mean / (c.divides ? root : 1);
}
