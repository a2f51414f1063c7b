/* The gain of one observation, explicit or implicit, and the number of rows that
 * forgetting may inflate together: the functions of gain.h. Pure functions of their
 * arguments; NaN and infinities are passed on to the caller, which checks them.
 */
#include "gain.h"

#include <math.h>

/* Returns whether the variance 1 is used as it is. */
static int is_unclipped(const fo_glm *glm)
{
    return !glm->is_explicit || (glm->gamma_min <= 1.0 && glm->gamma_max >= 1.0);
}

fo_gain fo_gain_of(const fo_glm *glm, double y, double prior, double eta, double g)
{
    if (glm->family == FO_GAUSSIAN_IDENTITY && is_unclipped(glm)) {
        const double b = prior / (1.0 + prior * g), residual = y - eta;
        return (fo_gain){b * residual, b, prior, b * residual * residual, 0};
    }
    if (!glm->is_explicit) {
        double z;
        const fo_observation at =
            fo_implicit(glm->family, glm->shape, y, prior, eta, g, &z);
        const double w = prior * at.weight, inflated = 1.0 + w * g,
                     residual = y - at.mean;
        if (!(w * g >= 1.0))
            return (fo_gain){prior * at.score, w / inflated, w,
                             residual == 0.0 || prior == 0.0
                                 ? 0.0
                                 : prior * (residual * residual / at.variance) *
                                       inflated,
                             0};
        /* If w is large, z is near link(y), and y - m and the score lose digits. */
        const double alpha = (z - eta) / g;
        return (fo_gain){alpha, w / inflated, w, alpha * alpha / w * inflated, 0};
    }
    const fo_observation at = fo_observe(glm->family, glm->shape, y, eta);
    const double v = at.variance;
    const double clipped = v < glm->gamma_min   ? glm->gamma_min
                           : v > glm->gamma_max ? glm->gamma_max
                                                : v;
    double score = prior * at.score, w = prior * at.weight;
    if (clipped != v) {
        score = prior * (y - at.mean) * (at.slope / clipped);
        w = prior * at.slope * (at.slope / clipped);
    }
    const double inflated = 1.0 + w * g, residual = y - at.mean;
    return (fo_gain){score / inflated, w / inflated, w,
                     residual == 0.0 || prior == 0.0
                         ? 0.0
                         : prior * (residual * residual / clipped) / inflated,
                     clipped != v};
}

int64_t fo_rows_to_inflate(fo_forgetting forgetting, double trace, double inflated,
                           int64_t most)
{
    int64_t n = 0;
    while (n < most && trace < forgetting.max_trace &&
           (n == 0 || inflated / forgetting.keep <= FO_MOST_INFLATION)) {
        trace /= forgetting.keep;
        inflated /= forgetting.keep;
        n++;
    }
    return n;
}
