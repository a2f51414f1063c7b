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
    FO_NEGATIVE_BINOMIAL_LOG /* variance m + alpha m^2 */
} fo_family;

typedef struct {
    double mean, slope, variance; /* m, dm/dz, V(m) */
    double score, weight;         /* (y - m) slope / V and slope^2 / V, without 0/0 */
    double fall;                  /* -d score / dz, whose expectation is the weight */
} fo_observation;

fo_observation fo_observe(fo_family family, double alpha, double y, double z);

/* Returns the linear predictor after an implicit update, which takes the mean at the
 * updated coefficients: the root of
 *     z = eta + g * prior * score(z),
 * which is unique because the score decreases in z. g is x'Mx, and prior the weight of
 * the observation. */
double fo_implicit(fo_family family, double alpha, double y, double prior, double eta,
                   double g);

#endif
