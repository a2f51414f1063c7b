/* Kalman-based SGD with a dense covariance (Patel 2016): for an observation y with mean
 * mu(x'w) and variance V,  v = M x,  w += alpha v,  M -= b v v'  (M is p x p).
 *
 * BLAS comes from the caller as Fortran routines: arguments by address, columns
 * contiguous. The caller owns all memory.  Of M the lower triangle is read and written.
 */
#ifndef FO_KALMAN_H
#define FO_KALMAN_H

#include <stdint.h>

#include "gain.h"

typedef struct {
    void (*symm)(char *side, char *uplo, int *m, int *n, double *alpha, double *a,
                 int *lda, double *b, int *ldb, double *beta, double *c, int *ldc);
    void (*gemm)(char *transa, char *transb, int *m, int *n, int *k, double *alpha,
                 double *a, int *lda, double *b, int *ldb, double *beta, double *c,
                 int *ldc);
    void (*gemv)(char *trans, int *m, int *n, double *alpha, double *a, int *lda,
                 double *x, int *incx, double *beta, double *y, int *incy);
    void (*symv)(char *uplo, int *n, double *alpha, double *a, int *lda, double *x,
                 int *incx, double *beta, double *y, int *incy);
    void (*trsm)(char *side, char *uplo, char *transa, char *diag, int *m, int *n,
                 double *alpha, double *a, int *lda, double *b, int *ldb);
    void (*syrk)(char *uplo, char *trans, int *n, int *k, double *alpha, double *a,
                 int *lda, double *beta, double *c, int *ldc);
    void (*potrf)(char *uplo, int *n, double *a, int *lda, int *info);
} fo_blas;

typedef struct {
    int p, block, n_pending;
    double *w;              /* p */
    double *m;              /* p x p */
    double *pending;        /* p x block */
    double scale;           /* what is meant is scale (m - pending pending') */
    double *u;              /* work: p x block */
    double *c;              /* work: block x block */
    double *scalars;        /* work: 3 x block + p */
    double keep, max_trace; /* M /= keep before each row (or, changes, once) while tr M
                               < max_trace */
    double innovations;     /* sum of (y - m)^2 / s */
    int64_t n_obs, n_clipped;
} fo_kalman;

typedef enum {
    FO_KALMAN_OK,
    FO_KALMAN_INDEFINITE, /* x'Mx < 0 beyond rounding */
    FO_KALMAN_NONFINITE   /* a mean, a coefficient or the covariance left the range */
} fo_kalman_status;

/* Absorbs n rows of x (ldx numbers apart) in blocks; each is exact, as if by single
 * rows. weight may be NULL.  After a failure the state is that before the failing block
 * and n_obs says how many rows it has seen. */
fo_kalman_status fo_kalman_rows(fo_kalman *k, const fo_blas *blas, const fo_glm *glm,
                                double *x, int64_t ldx, const double *y,
                                const double *weight, int64_t n);

/* Write into M what small calls left pending: M is read once a row, written rarely. */
void fo_kalman_settle(fo_kalman *k, const fo_blas *blas);

double fo_kalman_trace(const fo_kalman *k);

/* The diagonal of M. */
void fo_kalman_variances(const fo_kalman *k, double *variances);

/* The first row with a NaN or an infinity, or -1. */
int64_t fo_nonfinite_row(const double *x, int64_t ldx, int64_t n, int64_t p);

#endif
