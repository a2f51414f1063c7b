/* What an instruction set's file provides: one table of kernels. */
#ifndef FO_KERNELS_H
#define FO_KERNELS_H

#include <math.h>
#include <string.h>

#include "fastopt.h"
#include "formats.h"

/* Ask for memory that will be wanted soon, in the first cache or in the second.  A
 * function that does nothing else must be FO_INLINE: gcc leaves out its calls. */
#if defined(__GNUC__)
#define FO_PREFETCH(address) __builtin_prefetch(address)
#define FO_PREFETCH_SECOND(address) __builtin_prefetch(address, 0, 2)
#define FO_INLINE inline __attribute__((always_inline))
#else
#define FO_INLINE inline
#define FO_PREFETCH(address) (void)(address)
#define FO_PREFETCH_SECOND(address) (void)(address)
#endif

/* Room for any rule's coefficients, and for the prologue's, in either precision. */
typedef union {
    double align;
    unsigned char bytes[128];
} fo_coef;

/* From hyperparameters to the coefficients of step t (from 1); *saved is read and
 * advanced. */
typedef void fo_prepare_fn(const double *hp, int64_t t, double *saved, fo_coef *out);
typedef void fo_prologue_fn(const fo_group *group, double scale, double limit,
                            fo_coef *out);
typedef void fo_update_fn(void *w, const void *g, void *const state[FO_MAX_STATES],
                          int64_t n, const fo_coef *rule, const fo_coef *prologue);

/* Once a row: its gradient's mean square into the row's state; writes the coefficients
 * of its elements, which are the rule's but for what the state says. */
typedef void fo_row_fn(double mean_square, void *state, const fo_coef *rule,
                       fo_coef *of_row);

typedef struct {
    fo_prepare_fn *prepare;
    fo_update_fn *plain, *with_prologue;
    /* Of a bfloat16 parameter and gradient, rounded to nearest; f32 has them. */
    fo_update_fn *plain_bf16, *with_prologue_bf16;
} fo_kernel;

/* Elements `stride` bytes apart, of some dtype, to or from reals without gaps. */
typedef void fo_load_fn(void *out, const char *in, int64_t stride, int64_t n);
typedef void fo_store_fn(char *out, int64_t stride, const void *in, int64_t n);
/* Reals in columns, `in_col` bytes apart, to rows, `out_row` reals apart. */
typedef void fo_turn_fn(void *out, int64_t out_row, const char *in, int64_t in_col,
                        int64_t rows, int64_t cols);
/* Stochastic rounding: element i is number index + i * index_stride of the stream. */
typedef void fo_dither_fn(char *out, int64_t stride, const void *in, int64_t n,
                          uint64_t stream, uint32_t index, uint32_t index_stride);
/* ema = decay * ema + (1 - decay) * w */
typedef void fo_average_fn(void *ema, const void *w, int64_t n, double decay);
/* sum = a + b; a may be sum */
typedef void fo_add_fn(void *sum, const void *a, const void *b, int64_t n);

/* Sums are kept in lanes, element i in lane i % FO_LANES, so that their order is the
 * same for vectors of any width. */
enum { FO_LANES = 16 };
/* Four of a lane's elements at a time: else its sum goes through memory for each. */
enum { FO_ABREAST = 4 * FO_LANES };
typedef struct {
    double squares[FO_LANES];
    double probe[FO_LANES]; /* 0, or NaN once an element was not finite */
} fo_sums;

typedef void fo_sum_fn(fo_sums *sums, const void *g, int64_t n);
/* The squares of what the rule will see, in such lanes. */
typedef void fo_squares_fn(double *lanes, const void *w, const void *g, int64_t n,
                           const fo_coef *prologue);
/* y += M x from columns begin to end of one triangle of M: triangle.inc. */
typedef void fo_triangle_fn(const void *m, int64_t p, int64_t begin, int64_t end,
                            const void *x, void *y);
/* Adds g to a parameter and its states: limit.inc. */
typedef void fo_move_fn(const void *g, void *const *arrays, int64_t n);

typedef struct {
    fo_kernel rule[FO_N_RULES][FO_N_REALS];
    fo_prologue_fn *prologue[FO_N_REALS];
    fo_load_fn *load[FO_N_REALS][FO_N_DTYPES];
    fo_turn_fn *turn[FO_N_REALS];
    fo_store_fn *store[FO_N_REALS][FO_N_DTYPES];
    fo_dither_fn *dither[FO_N_DTYPES]; /* from f32 */
    fo_average_fn *average[FO_N_REALS];
    fo_add_fn *add[FO_N_REALS];
    fo_sum_fn *sum[FO_N_REALS];
    fo_squares_fn *squares[FO_N_REALS];
    fo_row_fn *row[FO_N_REALS];
    fo_triangle_fn *triangle[FO_N_REALS];
    fo_move_fn *move[2][1 + FO_MAX_STATES]; /* parameters of 2 and of 4 bytes; states */
} fo_kernel_table;

extern const fo_kernel_table fo_kernels_baseline, fo_kernels_v3, fo_kernels_v4;

/* The table in use: dispatch.c. */
const fo_kernel_table *fo_kernels(void);

/* x^n by repeated squaring: the same bits on every CPU, which pow does not promise. */
static inline double fo_powi(double x, int64_t n)
{
    double result = 1.0;
    for (; n > 0; n >>= 1, x *= x)
        if (n & 1)
            result *= x;
    return result;
}

/* 1 - x^n as (1 - x)(1 + x + ... + x^(n-1)): subtracting .999^n from 1 would leave 13
 * of 16 digits.  The sum of 2k terms is that of k times 1 + x^k. */
static inline double fo_one_minus_powi(double x, int64_t n)
{
    double sum = 0.0, power = 1.0;
    int bit = 0;
    while (n >> bit > 1)
        bit++;
    for (; bit >= 0; bit--) {
        sum *= 1.0 + power;
        power *= power;
        if (n >> bit & 1) {
            sum = 1.0 + x * sum;
            power *= x;
        }
    }
    return (1.0 - x) * sum;
}

#endif
