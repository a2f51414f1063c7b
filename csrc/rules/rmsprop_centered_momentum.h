/* Centered RMSProp with momentum, Graves 2013, eq. 38-45: momentum.h, applied to the
 * gradient scaled by rmsprop_centered.h.  States: s, the mean square; m, the mean; b,
 * the buffer. */
typedef FO_T(rmsprop_momentum_coef) FO_T(rmsprop_centered_momentum_coef);

static inline FO_T(rmsprop_centered_momentum_coef)
    FO_T(rmsprop_centered_momentum_prepare)(const fo_rmsprop_centered_momentum_hp *hp,
                                            int64_t t, double *saved)
{
    const fo_rmsprop_momentum_hp same = {
        hp->lr,       hp->alpha,    hp->eps,         hp->eps_root, hp->bias_correction,
        hp->momentum, hp->nesterov, hp->lr_in_buffer};
    return FO_T(rmsprop_momentum_prepare)(&same, t, saved);
}

static inline void
FO_T(rmsprop_centered_momentum_element)(real *w, real g, real *s, real *m, real *b,
                                        FO_T(rmsprop_centered_momentum_coef) c)
{
    FO_T(momentum_element)
    (w, FO_T(rmsprop_centered_direction)(g, s, m, c.scaling), b, c.buffer);
}
