/* Centered RMSProp, Graves 2013, eq. 38-40.  States: s, the mean square; m, the mean.
 * Rounding can make the variance s - m^2 negative, which gives NaN in PyTorch; here it
 * is clamped at 0. */
typedef FO_T(rmsprop_coef) FO_T(rmsprop_centered_coef);

static inline FO_T(rmsprop_centered_coef)
    FO_T(rmsprop_centered_prepare)(const fo_rmsprop_centered_hp *hp, int64_t t,
                                   double *saved)
{
    const fo_rmsprop_hp plain = {hp->lr, hp->alpha, hp->eps, hp->eps_root,
                                 hp->bias_correction};
    return FO_T(rmsprop_prepare)(&plain, t, saved);
}

/* Updates s and m; returns the gradient divided by its standard deviation. */
static inline real FO_T(rmsprop_centered_direction)(real g, real *s, real *m,
                                                    FO_T(rmsprop_coef) c)
{
    *s = c.alpha * *s + c.one_minus_alpha * (g * g);
    *m = c.alpha * *m + c.one_minus_alpha * g;
    const real mean = c.correction * *m;
    const real variance = fo_max(c.correction * *s - mean * mean, 0);
    return g / (fo_sqrt(variance + c.eps_root) + c.eps);
}

static inline void FO_T(rmsprop_centered_element)(real *w, real g, real *s, real *m,
                                                  FO_T(rmsprop_centered_coef) c)
{
    *w -= c.lr * FO_T(rmsprop_centered_direction)(g, s, m, c);
}
