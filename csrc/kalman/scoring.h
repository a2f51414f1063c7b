/* The terms of Fisher scoring for many observations of a generalized linear model, at
 * their linear predictors z.  The caller sums them over rows. */
#ifndef FO_SCORING_H
#define FO_SCORING_H

#include <stdint.h>

#include "families.h"

/* For each of n observations y: mean, variance V, score (y - m) slope / V, weight
 * slope^2 / V (see fo_observation) and unit deviance. */
void fo_observe_rows(fo_family family, double shape, const double *y, const double *z,
                     int64_t n, double *mean, double *variance, double *score,
                     double *weight, double *deviance);

/* For each of n observations y: -d score / dz, the observed weight. */
void fo_observed_weights(fo_family family, double shape, const double *y,
                         const double *z, int64_t n, double *observed);

#endif
