/* RMSProp with momentum: momentum.h, applied to the gradient scaled by rmsprop.h.
 * States: s, the mean square; b, the buffer. */
typedef struct {
    FO_T(rmsprop_coef) scaling;
    FO_T(momentum_coef) buffer;
} FO_T(rmsprop_momentum_coef);

static inline FO_T(rmsprop_momentum_coef)
    FO_T(rmsprop_momentum_prepare)(const fo_rmsprop_momentum_hp *hp, int64_t t,
                                   double *saved)
{
    const fo_rmsprop_hp plain = {hp->lr, hp->alpha, hp->eps, hp->eps_root,
                                 hp->bias_correction};
    const fo_momentum_hp undamped = {.lr = hp->lr,
                                     .momentum = hp->momentum,
                                     .nesterov = hp->nesterov,
                                     .lr_in_buffer = hp->lr_in_buffer};
    return (FO_T(rmsprop_momentum_coef)){
        .scaling = FO_T(rmsprop_prepare)(&plain, t, saved),
        .buffer = FO_T(momentum_prepare)(&undamped, t, saved),
    };
}

static inline void FO_T(rmsprop_momentum_element)(real *w, real g, real *s, real *b,
                                                  FO_T(rmsprop_momentum_coef) c)
{
    FO_T(momentum_element)(w, FO_T(rmsprop_direction)(g, s, c.scaling), b, c.buffer);
}
