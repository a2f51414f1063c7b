/* One chunk of rows of a generalized linear model, for Fisher scoring: what the sums
 * over rows need, without temporary arrays. The caller multiplies the scaled rows
 * (dsyrk). Chunks are independent of each other. Sums over rows are taken in the order
 * of the rows.
 */
#ifndef FO_GLM_H
#define FO_GLM_H

#include <stdint.h>

#include "kalman/families.h"

typedef struct {
    fo_family family;
    double shape; /* parameter of the family */
    int64_t p;    /* columns of x */
    int has_intercept;
    const double *mean; /* subtracted from each row; NULL for 0 */
    const double *coef; /* of the intercept first, if there is one */
    int has_null;
    double null; /* the linear predictor of the null model, without the offset */
} fo_glm_at;

typedef struct {
    const void *x; /* float if is_single, else double; ldx elements from row to row */
    int is_single;
    int64_t ldx;
    const double *y;
    const double *weight, *offset; /* NULL for 1 and 0 */
} fo_glm_rows;

typedef struct {
    double deviance, pearson, null_deviance, null_pearson;
} fo_glm_sums;

/* Adds n rows to `sums`, and their scores times the rows to `score`, which has q = p +
 * has_intercept numbers. `rows` receives the n centred rows, a 1 first if there is an
 * intercept, times the square root of the information of the row; with `is_scaled` 0,
 * it has space for one row only, and its contents are not defined. */
void fo_glm_chunk(const fo_glm_at *at, const fo_glm_rows *of, int64_t n, int is_scaled,
                  double *rows, double *score, fo_glm_sums *sums);

/* Updates the least and greatest value of each of p columns with n rows, and adds the
 * rows, times their weights, to `total`. */
void fo_glm_columns(const fo_glm_rows *of, int64_t n, int64_t p, double *low,
                    double *high, double *total);

/* Adds n rows to the means of p columns, the sums of the squares of the differences
 * from them, times the weights, and to the sum of the weights. `work` has 2p numbers.
 * A constant column has the exact mean, and squares of 0. */
void fo_glm_squares(const fo_glm_rows *of, int64_t n, int64_t p, double *total,
                    double *mean, double *squares, double *work);

#endif
