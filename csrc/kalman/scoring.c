/* Many observations at once, for Fisher scoring; see scoring.h.  Each observation is
 * computed independently of the others and of their order. */
#include "scoring.h"

void fo_observe_rows(fo_family family, double shape, const double *y, const double *z,
                     int64_t n, double *mean, double *variance, double *score,
                     double *weight, double *deviance)
{
    for (int64_t i = 0; i < n; i++) {
        const fo_observation at = fo_observe(family, shape, y[i], z[i]);
        mean[i] = at.mean;
        variance[i] = at.variance;
        score[i] = at.score;
        weight[i] = at.weight;
        deviance[i] = fo_deviance(family, shape, y[i], z[i], &at);
    }
}

void fo_observed_weights(fo_family family, double shape, const double *y,
                         const double *z, int64_t n, double *observed)
{
    for (int64_t i = 0; i < n; i++)
        observed[i] = fo_observe(family, shape, y[i], z[i]).fall;
}
