/* Generalized linear models, one observation at a time: mean, variance and what an
 * update needs of them at a linear predictor z.  Families by McCullagh & Nelder 1989;
 * no loops over data. */
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
    double fall;                  /* -d score / dz; the weight is its expectation */
} fo_observation;

fo_observation fo_observe(fo_family family, double alpha, double y, double z);

/* The linear predictor after an update that takes its mean there: the root of
 *     z = eta + g * prior * score(z),
 * unique since the score falls in z.  g is x'Mx, prior the observation's weight. */
double fo_implicit(fo_family family, double alpha, double y, double prior, double eta,
                   double g);

#endif
