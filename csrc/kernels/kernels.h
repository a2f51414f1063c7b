/* The kernel table that each file of isa/ defines, and the types of its functions.
 *
 * Kernels are loops over contiguous elements ("reals": float or double, as `real` in
 * real.h), called by csrc/step.  All tables give the same bits. */
#ifndef FO_KERNELS_H
#define FO_KERNELS_H

#include <math.h>
#include <string.h>

#include "cache.h"
#include "fastopt.h"
#include "formats.h"
#include "power.h"
#include "products.h"
#include "random.h"

/* Storage for the coefficients of any rule or of the prologue, in either precision. */
typedef union {
    double align;
    unsigned char bytes[128];
} fo_coef;

/* Computes the coefficients of step t (counted from 1) from the hyperparameters.
 * `saved` is fo_tensor.saved: read, and updated for the next step. */
typedef void fo_prepare_fn(const double *hp, int64_t t, double *saved, fo_coef *out);
/* Computes the coefficients of prologue.h and epilogue.h for a learning rate: the
 * gradient is multiplied by `scale` and clipped to [-limit, limit]. */
typedef void fo_prologue_fn(const fo_group *group, double lr, double scale,
                            double limit, fo_coef *out);
/* Updates n elements of a parameter and of its states. */
typedef void fo_update_fn(void *w, const void *g, void *const state[FO_MAX_STATES],
                          int64_t n, const fo_coef *rule, const fo_coef *prologue);

/* Row-wise rules, once per row: updates the state of the row with the mean square of
 * the row's gradient, and computes the coefficients for its elements from those of the
 * rule. */
typedef void fo_row_fn(double mean_square, void *state, const fo_coef *rule,
                       fo_coef *of_row);

/* Sums are split over lanes: element i is added to lane i % FO_LANES.  The order of
 * additions is then the same for vectors of any width. */
enum { FO_LANES = 16 };
typedef double fo_lanes[FO_LANES];

enum { FO_MAX_SUMS = 2 };
/* Rules that need sums before their update.  The first function adds the terms of n
 * elements to the lanes, one row of lanes per sum.  The second completes the
 * coefficients of the rule, given the sums and the number of elements summed; `saved`
 * is as for fo_prepare_fn, which was called before.  It returns the learning rate for
 * weight decay and the L1 penalty: that of the group, unless the rule finds another. */
typedef void fo_add_terms_fn(fo_lanes *lanes, const void *w, const void *g,
                             void *const *state, int64_t n, const fo_coef *rule,
                             const fo_coef *prologue);
typedef double fo_finish_fn(const double *sums, int64_t size, const double *hp,
                            double *saved, fo_coef *rule);
typedef struct {
    int n; /* number of sums; 0: the rule needs none */
    fo_scope scope;
    fo_add_terms_fn *add_terms;
    fo_finish_fn *finish;
} fo_summation;

/* A block of rows of a tensor whose rule keeps statistics of rows and columns
 * (FO_FACTORED in rules.def).  A row is an index of all axes but the last; matrix_rows
 * consecutive rows are a matrix, which has `col` to itself. */
typedef struct {
    void *w, *state[FO_MAX_STATES];
    const void *g;
    int64_t w_stride, g_stride, state_stride; /* from row to row, in elements */
    int64_t rows, cols;
    int64_t rows_left, matrix_rows; /* rows of the first matrix from here on; of each */
    const void *row, *col;          /* a factor for each row; for each column */
    int64_t col_stride;             /* from matrix to matrix, of `col`, in elements */
} fo_block;

/* What is computed of all rows and columns of a tensor, as contiguous arrays. */
typedef struct {
    int n_axes;
    const int64_t *shape; /* of the parameter */
    int64_t matrices, rows, cols;
    double *of_rows, *of_cols; /* statistics; those of a matrix are adjacent */
    void *row, *col;           /* factors */
    void *const *state;        /* fo_factored.state */
} fo_margins;

/* Combines the statistics of the elements with those in `rows` (a row of lanes for each
 * row of the block) and in `cols`, which has the layout of block->col. */
typedef void fo_add_statistics_fn(const fo_block *block, fo_lanes *rows, double *cols,
                                  const fo_coef *rule, const fo_coef *prologue);
/* Adds the terms of each row to the lanes, FO_MAX_SUMS rows of lanes for each row. */
typedef void fo_add_block_terms_fn(const fo_block *block, fo_lanes *lanes,
                                   const fo_coef *rule, const fo_coef *prologue);
typedef void fo_update_block_fn(const fo_block *block, const fo_coef *rule,
                                const fo_coef *prologue);
/* Combines n statistics with others; combines the first n_lanes lanes of each of n
 * rows. */
typedef void fo_combine_fn(double *with, const double *statistics, int64_t n);
typedef void fo_reduce_fn(double *of_rows, const fo_lanes *lanes, int64_t n,
                          int n_lanes);
/* Computes factors from states, or states from statistics. */
typedef void fo_margins_fn(const fo_margins *margins, const fo_coef *rule);

typedef struct {
    int has_matrices;      /* statistics of columns are over the rows of each matrix of
                              the last two axes, not over all rows */
    fo_margins_fn *before; /* before the statistics are computed; or NULL */
    fo_add_statistics_fn *add_statistics;
    fo_combine_fn *combine;
    fo_reduce_fn *reduce;
    fo_margins_fn *after; /* when they are complete */
    /* If the update needs the new factors, statistics and terms are computed in
       separate passes before it; else add_terms is NULL. */
    fo_add_block_terms_fn *add_terms;
    fo_finish_fn *finish;
    fo_update_block_fn *update, *update_with_epilogue; /* both with the prologue */
} fo_factored_kernel;

typedef struct {
    fo_prepare_fn *prepare;
    fo_update_fn *plain, *with_prologue, *with_epilogue; /* the last with both */
    /* For a bfloat16 parameter and gradient with float states, rounded to nearest; NULL
     * in double. */
    fo_update_fn *plain_bf16, *with_prologue_bf16;
} fo_kernel;

/* Convert n elements of some dtype, `stride` bytes apart, to or from contiguous reals.
 * Stores round to nearest. */
typedef void fo_load_fn(void *out, const char *in, int64_t stride, int64_t n);
typedef void fo_store_fn(char *out, int64_t stride, const void *in, int64_t n);
/* Transposes: copies columns of reals that are in_col bytes apart into rows that are
 * out_row reals apart. */
typedef void fo_transpose_fn(void *out, int64_t out_row, const char *in, int64_t in_col,
                             int64_t rows, int64_t cols);
/* Stores with stochastic rounding.  Element i uses the random bits of number
 * index + i * index_stride of the stream. */
typedef void fo_store_stochastic_fn(char *out, int64_t stride, const void *in,
                                    int64_t n, uint64_t stream, uint32_t index,
                                    uint32_t index_stride);
/* Convert rows of an FO_F8 state, of `length` elements each, from and to floats.
 * `stream` points to the stream of random bits for stochastic rounding, in which the
 * first block has the number `block`; NULL: round to nearest. */
typedef void fo_unpack_fn(float *x, const uint8_t *codes, const uint8_t *scale,
                          int64_t rows, int64_t length);
typedef void fo_pack_fn(uint8_t *codes, uint8_t *scale, const float *x, int64_t rows,
                        int64_t length, const uint64_t *stream, int64_t block);
/* ema += weight * (w - ema).  If ema equals w, it does not change, in any precision. */
typedef void fo_average_fn(void *ema, const void *w, int64_t n, double weight);
/* Clips each x to [low, high]; NaN stays NaN. */
typedef void fo_clip_fn(void *x, int64_t n, double low, double high);
/* sum = a + b; sum may be the same array as a */
typedef void fo_add_fn(void *sum, const void *a, const void *b, int64_t n);

/* Elements per iteration of a loop that adds to lanes: four per lane, so that the
 * compiler keeps the sum of a lane in a register. */
enum { FO_UNROLLED = 4 * FO_LANES };
typedef struct {
    double squares[FO_LANES];
    double probe[FO_LANES]; /* NaN if scale * g is NaN or infinite anywhere, else 0 */
} fo_sums;

/* Adds the squares of n elements to the sums.  `scale` is the factor by which the step
 * multiplies gradients; only the probe uses it. */
typedef void fo_sum_fn(fo_sums *sums, const void *g, int64_t n, double scale);
/* Adds the squares of unit * g to FO_LANES lanes. */
typedef void fo_sum_in_units_fn(double *lanes, const void *g, int64_t n, double unit);
/* Adds the squares of the gradient as the rule receives it, after the prologue, to
 * FO_LANES lanes. */
typedef void fo_squares_fn(double *lanes, const void *w, const void *g, int64_t n,
                           const fo_coef *prologue);
/* Adds the contribution of columns begin to end of a symmetric M to y = M x:
 * triangle.inc. */
typedef void fo_triangle_fn(const void *m, int64_t ld, int64_t p, int64_t begin,
                            int64_t end, const void *x, void *y);
/* Adds the bits of g to a parameter and its states: limit.inc. */
typedef void fo_move_fn(const void *g, void *const *arrays, int64_t n);

/* Steps of one dense row each: rows order[0], ..., or, if order is NULL,
 * first, first + 1, ...  `slope` returns the derivative of a row's loss at the linear
 * predictor z, without its offset, and writes z with the offset to *out.  Returns the
 * number of steps taken: fewer than n if a slope is not finite. */
typedef struct {
    const void *x; /* doubles; or floats, if is_single and there is a mean */
    int is_single;
    int64_t ldx, p;
    const int64_t *order;
    int64_t first;
    int has_intercept;
    double *w; /* p + 1 */
    double l2;
    const double *l2_of;         /* for each column, instead of l2; or NULL */
    const double *mean, *factor; /* standardise the rows; or NULL */
    double *work[2];             /* p each; with mean */
    const double *lr;            /* lr[k * lr_stride] of step k */
    int64_t lr_stride;
    double *z;
    double (*slope)(const void *context, int64_t row, double z, double *out);
    const void *context;
} fo_row_steps;

/* The loops of epochs over the columns of rows: epochs.inc.  x is a row of doubles, or,
 * as `const void *`, of floats or doubles. */
typedef struct {
    double (*dot)(const double *x, const double *w, int64_t n);
    void (*standardise[FO_N_REALS])(double *out, const void *x, const double *mean,
                                    const double *factor, int64_t n);
    void (*add_row)(double *g, const double *x, double a, int64_t n);
    void (*gradient)(double *g, const double *x, const double *w, const double *l2,
                     double a, int64_t n);
    void (*add_l1)(double *g, const double *w, const double *l1, int64_t n);
    void (*stop_at_0)(double *w, const double *before, int64_t n);
    void (*soften)(double *w, const double *l1, double lr, int64_t n);
    void (*shrink)(double *w, const double *l1, const double *l2, double lr, int64_t n);
    int64_t (*sgd_steps)(const fo_row_steps *steps, int64_t n);
    void (*sgd)(double *w, const double *x, double a, double l2, const double *l2_of,
                const fo_coef *rule, int64_t n);
    double (*sparse_dot[FO_N_REALS])(const void *x, const int32_t *column,
                                     const double *w, int64_t n);
    void (*sparse_sgd[FO_N_REALS])(double *w, const void *x, const int32_t *column,
                                   double a, const fo_coef *rule, int64_t n);
    void (*sparse_add[FO_N_REALS])(double *to, const void *x, const int32_t *column,
                                   double a, int64_t n);
    void (*gather)(double *out, const double *from, const int32_t *column, int64_t n);
    void (*scatter)(double *to, const double *values, const int32_t *column, int64_t n);
    void (*sparse_soften)(double *w, double *done, double due, const int32_t *column,
                          int64_t n);
} fo_epoch_kernels;

typedef struct {
    fo_kernel rule[FO_N_RULES][FO_N_REALS];
    fo_prologue_fn *prologue[FO_N_REALS];
    fo_load_fn *load[FO_N_REALS][FO_N_DTYPES];
    fo_transpose_fn *transpose[FO_N_REALS];
    fo_store_fn *store[FO_N_REALS][FO_N_DTYPES];
    fo_store_stochastic_fn *store_stochastic[FO_N_DTYPES]; /* from float */
    fo_unpack_fn *unpack[FO_N_CODES];
    fo_pack_fn *pack[FO_N_CODES];
    fo_average_fn *average[FO_N_REALS];
    fo_clip_fn *clip[FO_N_REALS];
    fo_add_fn *add[FO_N_REALS];
    fo_sum_fn *sum[FO_N_REALS];
    fo_sum_in_units_fn *sum_in_units[FO_N_REALS];
    fo_squares_fn *squares[FO_N_REALS];
    fo_row_fn *row[FO_N_RULES][FO_N_REALS]; /* NULL: not a row-wise rule */
    fo_summation sums[FO_N_RULES][FO_N_REALS];
    const fo_factored_kernel *factored[FO_N_RULES][FO_N_REALS]; /* NULL: not factored */
    fo_triangle_fn *triangle[FO_N_REALS];
    fo_products products[FO_N_REALS];
    fo_epoch_kernels epoch;
    /* By size of the parameter (2 or 4 bytes) and number of states. */
    fo_move_fn *move[2][1 + FO_MAX_STATES], *move_first[2][1 + FO_MAX_STATES];
    fo_move_fn *move_one[2]; /* adds to arrays[1] only */
} fo_kernel_table;

extern const fo_kernel_table fo_kernels_baseline, fo_kernels_v3, fo_kernels_v4;

/* The selected table: dispatch.c. */
const fo_kernel_table *fo_kernels(void);

#endif
