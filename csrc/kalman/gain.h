/* What one observation does, given its linear predictor and its variance under the
 * coefficients' covariance M, whatever form M has; what all forms count and forget. */
#ifndef FO_GAIN_H
#define FO_GAIN_H

#include <stdint.h>

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

typedef struct {
    double innovations; /* sum of (y - m)^2 / s */
    int64_t n_obs, n_clipped;
} fo_counts;

typedef struct {
    /* M /= keep before each row (or, of changes, once) while tr M < max_trace. */
    double keep, max_trace;
} fo_forgetting;

/* How many of the next `most` rows may inflate M whatever they hold: a row never adds
 * to the trace, and M has grown by `inflated` already.  0 if the trace is at its cap.
 */
int64_t fo_rows_to_inflate(fo_forgetting forgetting, double trace, double inflated,
                           int64_t most);

/* What rows taken together may inflate M by, or the last of them would lose digits. */
#define FO_MOST_INFLATION 2.0

typedef enum {
    FO_KALMAN_OK,
    FO_KALMAN_INDEFINITE, /* x'Mx < 0 beyond rounding */
    FO_KALMAN_NONFINITE   /* a mean, a coefficient or the covariance left the range */
} fo_kalman_status;

#endif
