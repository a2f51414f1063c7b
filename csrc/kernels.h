/* What an instruction set's file provides: one table of kernels. */
#ifndef FO_KERNELS_H
#define FO_KERNELS_H

#include <math.h>
#include <string.h>

#include "fastopt.h"

/* Room for any rule's coefficients, and for the prologue's, in either precision. */
typedef union {
    double align;
    unsigned char bytes[128];
} fo_coef;

/* From hyperparameters to the coefficients of step t (from 1); *saved is read and
 * advanced. */
typedef void fo_prepare_fn(const double *hp, int64_t t, double *saved, fo_coef *out);
typedef void fo_prologue_fn(const fo_group *group, fo_coef *out);
typedef void fo_update_fn(void *w, const void *g, void *const state[FO_MAX_STATES],
                          int64_t n, const fo_coef *rule, const fo_coef *prologue);

typedef struct {
    fo_prepare_fn *prepare;
    fo_update_fn *plain, *with_prologue;
} fo_kernel;

typedef struct {
    fo_kernel rule[FO_N_RULES][FO_N_DTYPES];
    fo_prologue_fn *prologue[FO_N_DTYPES];
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
