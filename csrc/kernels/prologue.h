/* What is applied to an element before its rule: the sign and scale of the gradient,
 * clipping by value, and weight decay, coupled (added to the gradient) or decoupled
 * (the parameter is multiplied by `keep`).  A weight decay of 0 adds nothing, rather
 * than 0 * w, which is NaN if w is infinite.  Included by kernels.inc once per
 * precision.  The coefficients include those of epilogue.h.  `lr` is the learning rate
 * of the group, or the one that the rule has found (fo_finish_fn). */
typedef struct {
    real scale, limit, decay, keep;
    int coupled;
    FO_T(epilogue_coef) epilogue;
} FO_T(prologue_coef);

static inline FO_T(prologue_coef)
    FO_T(prologue_prepare)(const fo_group *group, double lr, double scale, double limit)
{
    const double wd = group->weight_decay;
    const int coupled = group->decay == FO_DECAY_COUPLED;
    const int after = group->decay == FO_DECAY_PROXIMAL;
    const double rate = group->decay == FO_DECAY_SCHEDULE ? lr / group->base_lr : lr;
    return (FO_T(prologue_coef)){
        .scale = (real)(group->maximize ? -scale : scale),
        .limit = (real)limit,
        .decay = (real)wd,
        .keep = (real)(coupled || after || wd == 0 ? 1.0 : 1.0 - rate * wd),
        .coupled = coupled && wd != 0,
        .epilogue = FO_T(epilogue_prepare)(group, lr),
    };
}

static inline real FO_T(prologue_grad)(real w, real g, FO_T(prologue_coef) c)
{
    const real scaled = c.scale * g;
    const real below = scaled > c.limit ? c.limit : scaled;
    const real limited = below < -c.limit ? -c.limit : below;
    return c.coupled ? limited + c.decay * w : limited;
}
