/* Kalman-based SGD with the covariance as M = U D U' (Bierman 1976), for
 * fastopt/kalman/_kalman.pyx. U is unit upper triangular, D a positive diagonal.
 *
 * D stays positive under rounding: M cannot become indefinite, and stays accurate even
 * from an initial variance of 1e20. U is double or float; everything else, including
 * the arithmetic, is double. The caller owns all memory.
 */
#ifndef FO_UD_H
#define FO_UD_H

#include "gain.h"
#include "parallel.h"

typedef struct {
    int64_t p, block;
    int is_single;   /* u is float, else double */
    double *w;       /* p */
    void *u;         /* p (p - 1) / 2: above the diagonal, column by column */
    double *d;       /* p */
    double *work;    /* p (4 block + 1) */
    double *scalars; /* 3 block */
    double largest;  /* an upper bound of all variances; may be infinite */
    fo_forgetting forgetting;
    fo_counts counts;
    fo_parallel_loop *loop;
    int n_threads;
} fo_ud;

/* Absorbs n rows as fo_kalman_rows does. The bits are the same for any number of
 * threads. */
fo_kalman_status fo_ud_rows(fo_ud *k, const fo_glm *glm, const double *x, int64_t ldx,
                            const fo_targets *targets, int64_t n);

double fo_ud_trace(const fo_ud *k);

/* Writes the diagonal of M to `variances`. */
void fo_ud_variances(const fo_ud *k, double *variances);

#endif
