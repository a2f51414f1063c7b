/* Epochs: the steps of an update rule on the rows of a generalized linear model, dense
 * or CSR, for the boundary in fastopt/estimators/_epochs.pyx.
 *
 * Step t takes `batch` rows i and the gradient of
 *
 *     mean_i(weight_i * loss(y_i, x_i'w + b)) + sum_j(l2_j w_j^2 / 2 + l1_j |w_j|)
 *
 * whose first part is -mean_i(weight_i * score_i * x_i), with the score of families.h,
 * and updates w by NAME_element of csrc/rules.  How L1 is applied, and which columns of
 * a sparse row are updated, depends on the rule: dense.c, sparse.c.
 *
 * Coefficients and states are double.  The caller owns all memory.  Equal bits on every
 * instruction set and for any number of threads. */
#ifndef FO_EPOCHS_H
#define FO_EPOCHS_H

#include "fastopt.h"
#include "kalman/families.h"

/* The rows, and their targets. */
typedef struct {
    int64_t n, p;
    fo_dtype dtype;        /* of x: FO_F32 or FO_F64 */
    const void *x;         /* dense: n x p; CSR: the values */
    int64_t ldx;           /* dense: the distance of two rows, in numbers */
    const int64_t *start;  /* CSR: n + 1, where each row starts; NULL: dense */
    const int32_t *column; /* CSR: of each value; distinct within a row */
    const double *y, *weight, *offset; /* n each; NULL: weights of 1, offsets of 0 */
} fo_table;

/* Returns -1, or the first row of a CSR table whose extent or columns are outside the
 * `n_values` values or the columns.  Other functions require that there is none.
 * Writes whether the columns of each row before it increase. */
int64_t fo_table_bad_row(const fo_table *table, int64_t n_values, int *increase);

enum { FO_SPARSE_WORK = FO_MAX_STATES + 4 };

/* The model, its rule and their state.  An array of p + 1 numbers has one for each
 * column, then that of the intercept b.  CSR tables need l2_of NULL. */
typedef struct {
    fo_family family;
    double shape; /* alpha of the negative binomial */
    int64_t p;
    int has_intercept;
    fo_rule rule;
    double hp[FO_MAX_HP]; /* of the rule, except the learning rate */
    double saved[FO_MAX_SAVED];
    int64_t t;                      /* steps taken */
    double *w;                      /* p + 1 */
    double *state[FO_MAX_STATES];   /* p + 1 */
    double *average;                /* the mean of w from step average_from on; NULL */
    int64_t average_from, averaged; /* counted from 1; the number of steps in it */
    /* The penalty: l1_of and l2_of for each column, p numbers; or NULL.  Dense rows: L1
     * is l1_of, and L2 is l2_of, or l2 for all columns.  SGD with l2_of needs l1_of,
     * and other rules need l2_of with l1_of.  FTRL, and CSR rows: l1 and l2. */
    double l1, l2;
    const double *l1_of, *l2_of;
    double most_l2;              /* the largest of l2_of */
    const double *mean, *factor; /* p: the model is of (x - mean) * factor; or NULL */
    /* For CSR tables, all 0 initially except scale, which is 1: see sparse.c. */
    double scale, due, scales, intercepts;
    int64_t pending;
    double *done;   /* p; NULL unless the rule is SGD with L1 */
    double *missed; /* p; NULL unless there is an average */
    int64_t *last;  /* p; NULL for SGD, for FTRL and without a penalty */
    /* Work. */
    double *g, *before;    /* p; g is 0 initially */
    double *row;           /* p for each thread */
    double *scores;        /* batch */
    double *sparse;        /* CSR: FO_SPARSE_WORK x p */
    int32_t *touched;      /* CSR: p; NULL for dense rows */
    unsigned char *marked; /* CSR: p, 0 initially */
    int n_threads;
} fo_epoch;

/* Takes the steps of n rows: rows order[first], order[first + 1], ..., or, if order is
 * NULL, first, first + 1, ..., `batch` at a time; the last step may have fewer rows.
 * Step k (from 0) has the learning rate lr[k * lr_stride].  Writes the linear predictor
 * that each row had when it was used to z.  Returns -1, or the position from `first` on
 * of the first row whose score is not finite, whose step is not taken, nor is any later
 * one. */
int64_t fo_epoch_rows(fo_epoch *e, const fo_table *table, const int64_t *order,
                      int64_t first, int64_t n, int64_t batch, const double *lr,
                      int64_t lr_stride, double *z);

/* Returns the sum of weight * loss of n rows, as of fo_epoch_rows from `first` 0, at
 * the linear predictors z. */
double fo_epoch_loss(const fo_epoch *e, const fo_table *table, const int64_t *order,
                     int64_t n, const double *z);

/* Completes what steps on CSR tables have left for later, so that w and average are
 * valid. */
void fo_epoch_settle(fo_epoch *e);

#endif
