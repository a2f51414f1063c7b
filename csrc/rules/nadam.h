/* NAdam, Dozat 2016, Algorithm 2, and the variants of five libraries.  States: m, v.
 * Saved scalar: the product of mu_1 ... mu_t, where
 *     mu_t = beta1 (1 - decay_base^t / 2),  decay_base = .96^momentum_decay.
 * `schedule` selects the variant:
 *     0  PyTorch, Keras: mu_t in the step, beta1 in m
 *     1  optax: constant momentum; m is bias-corrected with t + 1
 *     2  river: constant momentum; m and g have the same bias correction
 *     3  DL4J: as 2, without bias correction of v
 *     4  Dozat's paper: as 0, with mu_t in m as well and beta2 in the scale of v */
typedef struct {
    real m_decay, m_gain, beta2, one_minus_beta2, m_step, g_step, v_scale, eps,
        eps_root;
} FO_T(nadam_coef);

static inline FO_T(nadam_coef)
    FO_T(nadam_prepare)(const fo_nadam_hp *hp, int64_t t, double *saved)
{
    const double beta1 = hp->beta1, power = fo_powi(hp->decay_base, t);
    const double c1 = fo_one_minus_powi(beta1, t), c2 = fo_one_minus_powi(hp->beta2, t);
    const double mu = beta1 * (1.0 - 0.5 * power);
    const double mu_next = beta1 * (1.0 - 0.5 * (power * hp->decay_base));
    const int schedule = (int)hp->schedule;
    double m_decay = beta1, m_step = hp->lr * beta1 / c1,
           g_step = hp->lr * (1.0 - beta1) / c1;
    double v_scale = 1.0 / c2;

    *saved *= mu;
    if (schedule == 0 || schedule == 4) {
        m_step = hp->lr * mu_next / (1.0 - *saved * mu_next);
        g_step = hp->lr * (1.0 - mu) / (1.0 - *saved);
    }
    if (schedule == 1)
        m_step = hp->lr * beta1 / fo_one_minus_powi(beta1, t + 1);
    if (schedule == 3)
        v_scale = 1.0;
    if (schedule == 4) {
        m_decay = mu;
        v_scale = hp->beta2 / c2;
    }
    return (FO_T(nadam_coef)){
        .m_decay = (real)m_decay,
        .m_gain = (real)(1.0 - m_decay),
        .beta2 = (real)hp->beta2,
        .one_minus_beta2 = (real)(1.0 - hp->beta2),
        .m_step = (real)m_step,
        .g_step = (real)g_step,
        .v_scale = (real)v_scale,
        .eps = (real)hp->eps,
        .eps_root = (real)hp->eps_root,
    };
}

static inline void FO_T(nadam_element)(real *w, real g, real *m, real *v,
                                       FO_T(nadam_coef) c)
{
    *m = c.m_decay * *m + c.m_gain * g;
    *v = c.beta2 * *v + c.one_minus_beta2 * (g * g);
    *w -=
        (c.m_step * *m + c.g_step * g) / (fo_sqrt(c.v_scale * *v + c.eps_root) + c.eps);
}
