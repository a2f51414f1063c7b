/* AdaMax, Kingma & Ba 2015, Algorithm 2.  States: m, u.  The paper has no epsilon.
 * PyTorch adds one inside the maximum (eps_max), DL4J to the stored u (eps_state),
 * Keras to u in the denominator (eps). */
typedef struct {
    real step_size, beta1, one_minus_beta1, beta2, eps_max, eps_state, eps;
} FO_T(adamax_coef);

static inline FO_T(adamax_coef)
    FO_T(adamax_prepare)(const fo_adamax_hp *hp, int64_t t, double *saved)
{
    (void)saved;
    return (FO_T(adamax_coef)){
        .step_size = (real)(hp->lr / fo_one_minus_powi(hp->beta1, t)),
        .beta1 = (real)hp->beta1,
        .one_minus_beta1 = (real)(1.0 - hp->beta1),
        .beta2 = (real)hp->beta2,
        .eps_max = (real)hp->eps_max,
        .eps_state = (real)hp->eps_state,
        .eps = (real)hp->eps,
    };
}

static inline void FO_T(adamax_element)(real *w, real g, real *m, real *u,
                                        FO_T(adamax_coef) c)
{
    *m = c.beta1 * *m + c.one_minus_beta1 * g;
    *u = fo_max(c.beta2 * *u, fo_abs(g) + c.eps_max) + c.eps_state;
    *w -= c.step_size * (*m / (*u + c.eps));
}
