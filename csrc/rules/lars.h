/* LARS, You, Gitman & Ginsburg 2017, Algorithm 1: momentum whose gradient, with weight
 * decay, is multiplied by trust_coefficient |w| / (|h| + decay |w| + eps), or by 1 if a
 * norm is 0 or `adapts` is 0.  h is the gradient without weight decay; with
 * decay_in_norm it includes it, and decay |w| is left out (optax).  With trust_clip the
 * ratio is divided by lr and at most 1 (LARC).  State: the buffer b. */
typedef struct {
    FO_T(momentum_coef) momentum;
    real decay, decay_of_h, ratio;
} FO_T(lars_coef);

static inline FO_T(lars_coef)
    FO_T(lars_prepare)(const fo_lars_hp *hp, int64_t t, double *saved)
{
    const fo_momentum_hp momentum = {.lr = hp->lr,
                                     .momentum = hp->momentum,
                                     .dampening = hp->dampening,
                                     .nesterov = hp->nesterov,
                                     .lr_in_buffer = hp->lr_in_buffer,
                                     .copy_first = hp->copy_first};
    return (FO_T(lars_coef)){FO_T(momentum_prepare)(&momentum, t, saved), (real)hp->wd,
                             (real)(hp->decay_in_norm != 0 ? hp->wd : 0.0), 1};
}

static inline void FO_T(lars_terms)(real w, real kept, real g, real b,
                                    FO_T(lars_coef) c, double *terms)
{
    (void)w, (void)b;
    const double h = (double)(g + c.decay_of_h * kept);
    terms[0] = (double)kept * (double)kept;
    terms[1] = h * h;
}

static inline double FO_T(lars_finish)(const double *sums, int64_t size,
                                       const fo_lars_hp *hp, double *saved,
                                       FO_T(lars_coef) * c)
{
    (void)size, (void)saved;
    const double w = sqrt(sums[0]), h = sqrt(sums[1]);
    const double decay = hp->decay_in_norm != 0 ? 0.0 : hp->wd;
    const int is_plain = hp->adapts == 0 || w == 0.0 || h == 0.0;
    const double local = hp->trust_coefficient * w / (h + decay * w + hp->eps);
    const double ratio = is_plain ? 1.0 : local;
    const double clipped = ratio >= hp->lr ? 1.0 : ratio / hp->lr;
    c->ratio = (real)(hp->adapts != 0 && hp->trust_clip != 0 ? clipped : ratio);
    return hp->lr;
}

static inline void FO_T(lars_element)(real *w, real g, real *b, FO_T(lars_coef) c)
{
    FO_T(momentum_element)(w, c.ratio * (g + c.decay * *w), b, c.momentum);
}
