/* The covariance as U D U' (Bierman 1976): U unit upper, D a positive diagonal.
 *
 * D stays positive whatever is rounded, so M cannot become indefinite, and keeps its
 * digits from a start of 1e20.  U is of double or float; all else, arithmetic included,
 * is double.  The caller owns all memory.
 */
#ifndef FO_UD_H
#define FO_UD_H

#include "gain.h"
#include "parallel.h"

typedef struct {
    int64_t p, block;
    int is_single;   /* u is of float */
    double *w;       /* p */
    void *u;         /* p (p - 1) / 2: above the diagonal, column after column */
    double *d;       /* p */
    double *work;    /* p (4 block + 1) */
    double *scalars; /* 3 block */
    double largest;  /* no variance exceeds it; infinity is always right */
    fo_forgetting forgetting;
    fo_counts counts;
    fo_parallel_loop *loop;
    int n_threads;
} fo_ud;

/* Absorbs n rows as fo_kalman_rows does.  Equal bits for any number of threads. */
fo_kalman_status fo_ud_rows(fo_ud *k, const fo_glm *glm, const double *x, int64_t ldx,
                            const double *y, const double *weight, int64_t n);

double fo_ud_trace(const fo_ud *k);

/* The diagonal of M. */
void fo_ud_variances(const fo_ud *k, double *variances);

#endif
