/* Kalman-based SGD with a covariance of blocks (Puskorius & Feldkamp 1991, decoupled
 * Kalman filter): coefficients of two blocks have no covariance, but all blocks share
 * the innovation S = R + sum over blocks of J_b M_b J_b'.  A diagonal is the other
 * form:
 *
 *     blocks:    M_b -= M_b J_b' S^-1 J_b M_b
 *     diagonal:  1 / m_i += what the observation tells of coefficient i alone
 *
 * and in both  w_b += M_b J_b' S^-1 (y - mean).
 */
#ifndef FO_DECOUPLED_H
#define FO_DECOUPLED_H

#include "kalman.h"

typedef struct {
    int p, capacity;          /* outputs that the work arrays have room for */
    int64_t n_blocks;         /* 0: a diagonal */
    const int64_t *start;     /* n_blocks + 1: where blocks begin */
    const int64_t *order;     /* p: the caller's number of each coefficient, or NULL */
    double *w;                /* p, block after block */
    double *m;                /* a diagonal, or one square after the other */
    double *x, *u;            /* work: p x capacity */
    double *s;                /* work: capacity x (capacity + 1) */
    double *next;             /* work: p */
    fo_forgetting forgetting; /* M /= keep before an observation */
    fo_counts counts;
} fo_decoupled;

/* Absorbs n rows of x (ldx numbers apart), one after the other. weight may be NULL.
 * After a failure the state is that before the failing row, which n_obs tells. */
fo_kalman_status fo_decoupled_rows(fo_decoupled *k, const fo_blas_f64 *blas,
                                   const fo_glm *glm, const double *x, int64_t ldx,
                                   const double *y, const double *weight, int64_t n);

/* Absorbs one observation of n <= capacity outputs of unit variance, jointly. */
fo_kalman_status fo_decoupled_outputs(fo_decoupled *k, const fo_blas_f64 *blas,
                                      const double *x, int64_t ldx,
                                      const double *residual, int n);

double fo_decoupled_trace(const fo_decoupled *k);

#endif
