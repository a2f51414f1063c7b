/* Kalman-based SGD with blocks of a covariance (decoupled Kalman filter, Puskorius &
 * Feldkamp 1991) or its diagonal, for fastopt/kalman/_kalman.pyx. Covariances between
 * blocks are 0, but all blocks share S = R + sum over blocks of J_b M_b J_b'.
 *
 *     blocks:    M_b -= M_b J_b' S^-1 J_b M_b
 *     diagonal:  1 / m_i += the information on coefficient i if all others were known
 *
 * In both cases  w_b += M_b J_b' S^-1 (y - mean).
 */
#ifndef FO_DECOUPLED_H
#define FO_DECOUPLED_H

#include "kalman.h"

typedef struct {
    int p, capacity;          /* the work arrays are for `capacity` outputs */
    int64_t n_blocks;         /* 0: M is a diagonal */
    const int64_t *start;     /* n_blocks + 1: where blocks begin */
    const int64_t *order;     /* p: index of each coefficient in a row, or NULL */
    double *w;                /* p, block after block */
    double *m;                /* a diagonal, or square blocks one after another */
    double *x, *u;            /* work: p x capacity */
    double *s;                /* work: capacity x (capacity + 1) */
    double *next;             /* work: p */
    fo_forgetting forgetting; /* M /= keep before each observation */
    fo_counts counts;
} fo_decoupled;

/* Absorbs n rows of x, at a distance of ldx numbers, one by one.  After a failure the
 * state is as it was before the failing row; n_obs counts the rows absorbed. */
fo_kalman_status fo_decoupled_rows(fo_decoupled *k, const fo_blas_f64 *blas,
                                   const fo_glm *glm, const double *x, int64_t ldx,
                                   const fo_targets *targets, int64_t n);

/* Absorbs one observation jointly: n <= capacity outputs of variance 1. */
fo_kalman_status fo_decoupled_outputs(fo_decoupled *k, const fo_blas_f64 *blas,
                                      const double *x, int64_t ldx,
                                      const double *residual, int n);

double fo_decoupled_trace(const fo_decoupled *k);

#endif
