/* The reference for the fuzzer: a step as a simple loop over elements in C order,
 * without chunks, tiles, staging or threads.  It must give the same bits as fo_step. */
#ifndef FUZZ_SIMPLE_H
#define FUZZ_SIMPLE_H

#include "arrays.h"

typedef struct {
    fo_dtype real; /* the dtype of the arithmetic */
    int n_states;
    array *param, *state[FO_MAX_STATES];
    array *row_state, *master, *ema; /* or NULL */
    array *grad;                     /* or NULL */
    /* A list of the values of each row: first[i] is the first value of row i, next[k]
     * the value of the same row after value k; -1 ends a list.  NULL: the gradient is
     * dense. */
    int64_t *first, *next;
    int64_t step;
    double saved[FO_MAX_SAVED];
} simple_tensor;

/* Whether a rule has one number of state per row; whether it needs sums before its
 * update or statistics of rows and columns, which the reference does not compute
 * (tests/optimizers/test_sums.py and test_factored.py do). */
int simple_is_rowwise(fo_rule rule);
int simple_has_sums(fo_rule rule);

/* The norm of all gradients times `scale`.  *nonfinite: the first tensor with a
 * gradient that is not finite times `scale`, or -1. */
double simple_norm(const simple_tensor *tensors, int64_t n, double scale,
                   int64_t *nonfinite);

/* Apply one step to the expected values of a tensor.  Gradients are multiplied by
 * `scale`. */
void simple_step(simple_tensor *tensor, int64_t number, const fo_group *group,
                 const fo_extras *extras, double scale);

#endif
