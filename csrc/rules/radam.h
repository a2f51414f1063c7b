/* RAdam, Liu et al. 2020, Algorithm 2: Adam whose step is multiplied by R, or momentum
 * without a denominator while the variance of 1/sqrt(v) is too large.  eps_hat as in
 * adam.h.  States: m, v. */
typedef struct {
    real step_size, rectified, beta1, one_minus_beta1, beta2, one_minus_beta2, v_scale,
        eps, eps_root;
} FO_T(radam_coef);

static inline double FO_T(radam_rho)(double beta2, int64_t t)
{
    return 2.0 * fo_mean_age(beta2, t) - 1.0;
}

/* R for a rho greater than 4. */
static inline double FO_T(radam_rectification)(double beta2, double rho)
{
    const double rho_inf = 2.0 / (1.0 - beta2) - 1.0;
    return sqrt((rho - 4.0) * (rho - 2.0) * rho_inf /
                ((rho_inf - 4.0) * (rho_inf - 2.0) * rho));
}

/* R, or 0 while rho is at most `threshold`, which is at least 4. */
static inline double FO_T(radam_factor)(double beta2, int64_t t, double threshold)
{
    const double rho = FO_T(radam_rho)(beta2, t);
    return rho > threshold ? FO_T(radam_rectification)(beta2, rho) : 0.0;
}

static inline FO_T(radam_coef)
    FO_T(radam_prepare)(const fo_radam_hp *hp, int64_t t, double *saved)
{
    (void)saved;
    const double c1 = fo_one_minus_powi(hp->beta1, t);
    const double c2 = fo_one_minus_powi(hp->beta2, t);
    const int hat = hp->eps_hat != 0;
    const double factor = FO_T(radam_factor)(hp->beta2, t, hp->threshold);
    const int rectified = factor > 0.0;
    double step_size = hp->lr / c1;
    if (rectified)
        step_size *= factor;
    if (rectified && hat)
        step_size *= sqrt(c2);
    return (FO_T(radam_coef)){
        .step_size = (real)step_size,
        .rectified = (real)rectified,
        .beta1 = (real)hp->beta1,
        .one_minus_beta1 = (real)(1.0 - hp->beta1),
        .beta2 = (real)hp->beta2,
        .one_minus_beta2 = (real)(1.0 - hp->beta2),
        .v_scale = (real)(hat ? 1.0 : 1.0 / c2),
        .eps = (real)hp->eps,
        .eps_root = (real)hp->eps_root,
    };
}

static inline void FO_T(radam_element)(real *w, real g, real *m, real *v,
                                       FO_T(radam_coef) c)
{
    *m = c.beta1 * *m + c.one_minus_beta1 * g;
    *v = c.beta2 * *v + c.one_minus_beta2 * (g * g);
    const real root = fo_sqrt(c.v_scale * *v + c.eps_root) + c.eps;
    *w -= c.step_size * (*m / (c.rectified != 0 ? root : 1));
}
