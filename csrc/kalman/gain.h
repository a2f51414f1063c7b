/* The gain of one observation, from its linear predictor eta and g = x'Mx, for all
 * forms of the covariance M (kalman.c, ud.c, decoupled.c). Also the types that these
 * share: the model, the counts, forgetting and status codes.
 */
#ifndef FO_GAIN_H
#define FO_GAIN_H

#include <stdint.h>

#include "families.h"

typedef struct {
    fo_family family;
    double shape;    /* alpha of the negative binomial */
    int is_change;   /* y contains y - x'w for one block at most, so eta starts at 0 */
    int is_explicit; /* take the mean at w before the update, and clip V */
    double gamma_min, gamma_max; /* bounds of V(m) */
} fo_glm;

/* For each row: y, its weight, and the offset of its linear predictor. `weight` is NULL
 * if all weights are 1; `offset` is NULL if all offsets are 0. */
typedef struct {
    const double *y, *weight, *offset;
} fo_targets;

/* Returns the targets of row i and of all later rows. */
static inline fo_targets fo_targets_from(const fo_targets *all, int64_t i)
{
    return (fo_targets){all->y + i, all->weight ? all->weight + i : 0,
                        all->offset ? all->offset + i : 0};
}

static inline double fo_weight(const fo_targets *of, int64_t i)
{
    return of->weight ? of->weight[i] : 1.0;
}

/* Returns the linear predictor of row i, given x'w. */
static inline double fo_predictor(const fo_targets *of, int64_t i, double xw)
{
    return of->offset ? xw + of->offset[i] : xw;
}

typedef struct {
    double alpha, b;   /* with v = M x:  w += alpha v,  M -= b v v' */
    double weight;     /* the information: M^-1 += weight x x' */
    double innovation; /* (y - m)^2 / s */
    int clipped;
} fo_gain;

/* Returns the gain of an observation of weight `prior`, where g = x'Mx. */
fo_gain fo_gain_of(const fo_glm *glm, double y, double prior, double eta, double g);

typedef struct {
    double innovations; /* sum of (y - m)^2 / s */
    int64_t n_obs, n_clipped;
} fo_counts;

typedef struct {
    /* M /= keep before each row (once per call if is_change) while tr M < max_trace. */
    double keep, max_trace;
} fo_forgetting;

/* Returns how many of the next `most` rows are certain to inflate M, for any values of
 * these rows: without forgetting, a row never increases the trace. M has already grown
 * by the factor `inflated`. Returns 0 if the trace is at its cap. */
int64_t fo_rows_to_inflate(fo_forgetting forgetting, double trace, double inflated,
                           int64_t most);

/* The largest factor by which the rows of a block may inflate M: with a larger factor
 * the last rows would lose digits. */
#define FO_MOST_INFLATION 2.0

typedef enum {
    FO_KALMAN_OK,
    FO_KALMAN_INDEFINITE, /* x'Mx < 0 beyond rounding */
    FO_KALMAN_NONFINITE   /* a mean, a coefficient or M is not finite */
} fo_kalman_status;

#endif
