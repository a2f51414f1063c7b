/* Kalman-based SGD with a dense covariance (Patel 2016), for the boundary in
 * fastopt/kalman/_kalman.pyx.
 *
 * For an observation y with mean mu(x'w) and variance V:  v = M x,  w += alpha v,
 * M -= b v v'  (M is p x p).
 *
 * Matrix products are those of products.h if there are few coefficients, else those of
 * BLAS. For products.h, all of M must be symmetric, and stays so; BLAS reads and writes
 * only the lower triangle. The caller passes the routines of BLAS in their Fortran
 * form: arguments by address. Matrices are in column-major order. The caller owns all
 * memory.
 */
#ifndef FO_KALMAN_H
#define FO_KALMAN_H

#include <stdint.h>

#include "gain.h"
#include "products.h"
#include "triangle.h"

/* The routines in one precision: those whose names start with s, or with d. */
#define FO_BLAS(real) \
    struct { \
        void (*symm)(char *side, char *uplo, int *m, int *n, real *alpha, real *a, \
                     int *lda, real *b, int *ldb, real *beta, real *c, int *ldc); \
        void (*gemm)(char *transa, char *transb, int *m, int *n, int *k, real *alpha, \
                     real *a, int *lda, real *b, int *ldb, real *beta, real *c, \
                     int *ldc); \
        void (*gemv)(char *trans, int *m, int *n, real *alpha, real *a, int *lda, \
                     real *x, int *incx, real *beta, real *y, int *incy); \
        void (*symv)(char *uplo, int *n, real *alpha, real *a, int *lda, real *x, \
                     int *incx, real *beta, real *y, int *incy); \
        void (*trsm)(char *side, char *uplo, char *transa, char *diag, int *m, int *n, \
                     real *alpha, real *a, int *lda, real *b, int *ldb); \
        void (*syrk)(char *uplo, char *trans, int *n, int *k, real *alpha, real *a, \
                     int *lda, real *beta, real *c, int *ldc); \
        void (*potrf)(char *uplo, int *n, real *a, int *lda, int *info); \
    }
typedef FO_BLAS(float) fo_blas_f32;
typedef FO_BLAS(double) fo_blas_f64;

typedef struct {
    fo_blas_f32 f32;
    fo_blas_f64 f64;
} fo_blas;

typedef struct {
    int p, n_pending;
    int block;       /* the largest number of rows in a block */
    int rows, ld;    /* fo_padded(p), fo_apart(p): of m, pending and u */
    int ldc;         /* fo_apart(block): distance of the columns of c */
    int is_single;   /* m, pending, u, c, xt and the rows are float, else double */
    double *w;       /* p */
    void *m;         /* ld x p; the added rows are 0 */
    void *pending;   /* ld x block; the added rows are 0 */
    double scale;    /* M is scale (m - pending pending') */
    void *u;         /* work: ld x block; the added rows are 0 */
    void *c;         /* work: ldc x block; initially 0 */
    void *xt;        /* work: ldc x p; NULL: use BLAS */
    double *scalars; /* work: 3 x ldc + ld */
    void *parts;     /* work of `times`: p x FO_TRIANGLE_PARTS; NULL: use BLAS symv */
    fo_triangle_product *times;
    const fo_products *products;
    int n_threads; /* for `times` */
    fo_forgetting forgetting;
    fo_counts counts;
} fo_kalman;

/* Absorbs n rows of x, at a distance of ldx numbers, in blocks. A block gives the same
 * result, up to rounding, as its rows one by one. After a failure the state is as it
 * was before the failing block; n_obs counts the rows absorbed. */
fo_kalman_status fo_kalman_rows(fo_kalman *k, const fo_blas *blas, const fo_glm *glm,
                                void *x, int64_t ldx, const fo_targets *targets,
                                int64_t n);

/* Subtracts the pending terms from m. Small calls leave terms pending, so that m is
 * read once per row but written rarely. */
void fo_kalman_settle(fo_kalman *k, const fo_blas *blas);

double fo_kalman_trace(const fo_kalman *k);

/* Returns the index of the first row with a NaN or an infinity, or -1. */
int64_t fo_nonfinite_row(const void *x, int is_single, int64_t ldx, int64_t n,
                         int64_t p);

/* Writes the diagonal of M to `variances`. */
void fo_kalman_variances(const fo_kalman *k, double *variances);

#endif
