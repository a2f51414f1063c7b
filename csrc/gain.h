/* What one observation does, given its linear predictor and its variance under the
 * coefficients' covariance M, whatever form M has. */
#ifndef FO_GAIN_H
#define FO_GAIN_H

#include "families.h"

typedef struct {
    fo_family family;
    double shape;    /* alpha of the negative binomial */
    int is_change;   /* of at most a block's outputs, y is y - x'w: eta starts at 0 */
    int is_explicit; /* the mean is taken before the update, and V clipped */
    double gamma_min, gamma_max; /* what V(m) is clipped to */
} fo_glm;

typedef struct {
    double alpha, b;   /* with v = M x:  w += alpha v,  M -= b v v' */
    double weight;     /* information along x: M^-1 += weight x x' */
    double innovation; /* (y - m)^2 / s */
    int clipped;
} fo_gain;

/* One observation of weight `prior` at linear predictor eta, where g = x'Mx. */
fo_gain fo_gain_of(const fo_glm *glm, double y, double prior, double eta, double g);

#endif
