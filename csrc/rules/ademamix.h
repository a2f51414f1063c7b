/* AdEMAMix, Pagliardini et al. 2024: Adam with a second, slower mean of the gradient.
 * For beta3_warmup steps, the half-life of beta3, ln .5 / ln beta3, grows linearly from
 * that of beta1 (appendix A.1), and so does 1 / ln beta3.  States: m1, m2, v. */
typedef struct {
    real step_size, fast, slow, beta1, one_minus_beta1, beta2, one_minus_beta2, beta3,
        one_minus_beta3, v_scale, eps, eps_root;
} FO_T(ademamix_coef);

static inline FO_T(ademamix_coef)
    FO_T(ademamix_prepare)(const fo_ademamix_hp *hp, int64_t t, double *saved)
{
    (void)saved;
    const double alpha_part = t < hp->alpha_warmup ? (double)t / hp->alpha_warmup : 1.0;
    const double beta3_part = t < hp->beta3_warmup ? (double)t / hp->beta3_warmup : 1.0;
    double beta3 = hp->beta3, one_minus_beta3 = 1.0 - beta3;
    if (beta3_part < 1.0 && (hp->beta1 > 0.0 || hp->beta3 > 0.0)) {
        const double start = hp->beta1 > 0.0 ? 1.0 / fo_log(hp->beta1) : 0.0;
        const double end = hp->beta3 > 0.0 ? 1.0 / fo_log(hp->beta3) : 0.0;
        const double log_beta3 = 1.0 / ((1.0 - beta3_part) * start + beta3_part * end);
        beta3 = fo_exp(log_beta3);
        one_minus_beta3 = -fo_expm1(log_beta3);
    }
    return (FO_T(ademamix_coef)){
        .step_size = (real)hp->lr,
        .fast = (real)(1.0 / fo_one_minus_powi(hp->beta1, t)),
        .slow = (real)(hp->alpha * alpha_part),
        .beta1 = (real)hp->beta1,
        .one_minus_beta1 = (real)(1.0 - hp->beta1),
        .beta2 = (real)hp->beta2,
        .one_minus_beta2 = (real)(1.0 - hp->beta2),
        .beta3 = (real)beta3,
        .one_minus_beta3 = (real)one_minus_beta3,
        .v_scale = (real)(1.0 / fo_one_minus_powi(hp->beta2, t)),
        .eps = (real)hp->eps,
        .eps_root = (real)hp->eps_root,
    };
}

static inline void FO_T(ademamix_element)(real *w, real g, real *m1, real *m2, real *v,
                                          FO_T(ademamix_coef) c)
{
    *m1 = c.beta1 * *m1 + c.one_minus_beta1 * g;
    *m2 = c.beta3 * *m2 + c.one_minus_beta3 * g;
    *v = c.beta2 * *v + c.one_minus_beta2 * (g * g);
    const real root = fo_sqrt(c.v_scale * *v + c.eps_root) + c.eps;
    *w -= c.step_size * ((c.fast * *m1 + c.slow * *m2) / root);
}
