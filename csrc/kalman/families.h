/* Generalized linear models for one observation: mean, variance and their derivatives
 * at a linear predictor z, and the implicit update; used by gain.c. Families as in
 * McCullagh & Nelder 1989. No loops over data.
 */
#ifndef FO_FAMILIES_H
#define FO_FAMILIES_H

typedef enum {
    FO_GAUSSIAN_IDENTITY,
    FO_BERNOULLI_LOGIT,
    FO_BERNOULLI_PROBIT,
    FO_BERNOULLI_CLOGLOG,
    FO_POISSON_LOG,
    FO_GAMMA_LOG,
    FO_GAMMA_INVERSE,
    FO_NEGATIVE_BINOMIAL_LOG, /* variance m + shape m^2 */
    FO_INVERSE_GAUSSIAN_LOG,
    FO_INVERSE_GAUSSIAN_INVERSE_SQUARED,
    FO_TWEEDIE_LOG /* variance m^shape, 1 < shape < 2 */
} fo_family;

typedef struct {
    double mean, slope, variance; /* m, dm/dz, V(m) */
    double score, weight;         /* (y - m) slope / V and slope^2 / V, without 0/0 */
    double fall;                  /* -d score / dz, whose expectation is the weight */
} fo_observation;

fo_observation fo_observe(fo_family family, double shape, double y, double z);

/* Returns the unit deviance at z: twice the log-likelihood of a mean of y minus that of
 * the mean m at z, for dispersion 1. `at` is fo_observe(family, shape, y, z). */
double fo_deviance(fo_family family, double shape, double y, double z,
                   const fo_observation *at);

/* Sets `root` to the linear predictor after an implicit update, which takes the mean at
 * the updated coefficients, and returns the observation there: the root of
 *     z = eta + g * prior * score(z),
 * which is unique because the score decreases in z, as it does for all families but the
 * inverse Gaussian, which has no implicit update here. g is x'Mx, and prior the weight
 * of the observation. */
fo_observation fo_implicit(fo_family family, double shape, double y, double prior,
                           double eta, double g, double *root);

#endif
