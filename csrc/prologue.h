/* Before the rule sees an element: the gradient's sign, coupled weight decay, and
 * decoupled decay of the parameter.  A decay of 0 adds nothing, not 0 * w, which is NaN
 * where w is infinite. */
typedef struct {
    real decay, keep;
    int negate, coupled;
} FO_T(prologue_coef);

static inline FO_T(prologue_coef) FO_T(prologue_prepare)(const fo_group *group)
{
    const double lr = group->hp[0], wd = group->weight_decay;
    const int coupled = group->decay == FO_DECAY_COUPLED;
    const double rate = group->decay == FO_DECAY_SCHEDULE ? lr / group->base_lr : lr;
    return (FO_T(prologue_coef)){
        .decay = (real)wd,
        .keep = (real)(coupled ? 1.0 : 1.0 - rate * wd),
        .negate = group->maximize,
        .coupled = coupled && wd != 0,
    };
}

static inline real FO_T(prologue_grad)(real w, real g, FO_T(prologue_coef) c)
{
    const real signed_g = c.negate ? -g : g;
    return c.coupled ? signed_g + c.decay * w : signed_g;
}
