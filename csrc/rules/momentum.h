/* Momentum, Polyak 1964, and Nesterov 1983 in the form of Sutskever et al. 2013.
 * State: the buffer b.  The learning rate multiplies the buffer (PyTorch), or with
 * lr_in_buffer the gradient that is added to it (Polyak, Keras; b is minus their
 * velocity).  With copy_first, the first step sets b to the gradient, without
 * dampening, as in PyTorch. */
typedef struct {
    real decay, gain, step_size, momentum, lookahead;
    int nesterov;
} FO_T(momentum_coef);

static inline FO_T(momentum_coef)
    FO_T(momentum_prepare)(const fo_momentum_hp *hp, int64_t t, double *saved)
{
    (void)saved;
    const int copy = t == 1 && hp->copy_first != 0;
    const int inside = hp->lr_in_buffer != 0;
    const double gain = copy ? 1.0 : 1.0 - hp->dampening;
    return (FO_T(momentum_coef)){
        .decay = copy ? 0 : (real)hp->momentum,
        .gain = (real)(inside ? hp->lr * gain : gain),
        .step_size = (real)(inside ? 1.0 : hp->lr),
        .momentum = (real)hp->momentum,
        .lookahead = (real)(inside ? hp->lr : 1.0),
        .nesterov = hp->nesterov != 0,
    };
}

static inline void FO_T(momentum_element)(real *w, real g, real *b,
                                          FO_T(momentum_coef) c)
{
    *b = c.decay * *b + c.gain * g;
    *w -= c.step_size * (c.nesterov ? c.momentum * *b + c.lookahead * g : *b);
}
