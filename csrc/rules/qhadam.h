/* QHAdam, Ma & Yarats 2019, section 4: Adam with a weighted mean of the gradient and m
 * in place of m, and of the gradient's square and v in place of v.  States: m, v.  The
 * square's weight is inside the square, because 0 times an overflow is NaN. */
typedef struct {
    real beta1, one_minus_beta1, beta2, one_minus_beta2, m_step, g_step, v_scale,
        g_scale, eps;
} FO_T(qhadam_coef);

static inline FO_T(qhadam_coef)
    FO_T(qhadam_prepare)(const fo_qhadam_hp *hp, int64_t t, double *saved)
{
    (void)saved;
    return (FO_T(qhadam_coef)){
        .beta1 = (real)hp->beta1,
        .one_minus_beta1 = (real)(1.0 - hp->beta1),
        .beta2 = (real)hp->beta2,
        .one_minus_beta2 = (real)(1.0 - hp->beta2),
        .m_step = (real)(hp->lr * hp->nu1 / fo_one_minus_powi(hp->beta1, t)),
        .g_step = (real)(hp->lr * (1.0 - hp->nu1)),
        .v_scale = (real)(hp->nu2 / fo_one_minus_powi(hp->beta2, t)),
        .g_scale = (real)sqrt(1.0 - hp->nu2),
        .eps = (real)hp->eps,
    };
}

static inline void FO_T(qhadam_element)(real *w, real g, real *m, real *v,
                                        FO_T(qhadam_coef) c)
{
    *m = c.beta1 * *m + c.one_minus_beta1 * g;
    *v = c.beta2 * *v + c.one_minus_beta2 * (g * g);

    const real scaled = c.g_scale * g;
    *w -= (c.m_step * *m + c.g_step * g) /
          (fo_sqrt(c.v_scale * *v + scaled * scaled) + c.eps);
}
