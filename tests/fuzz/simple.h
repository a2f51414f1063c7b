/* A step as a simple loop: no chunks, no tiles, no threads, nothing but C's order. */
#ifndef FUZZ_SIMPLE_H
#define FUZZ_SIMPLE_H

#include "arrays.h"

typedef struct {
    fo_dtype real; /* that is computed in */
    int n_states;
    array *param, *state[FO_MAX_STATES];
    array *row_state, *master, *ema; /* or NULL */
    array *grad;                     /* or NULL */
    /* Which of the gradient's rows touches row i first, and which the same row as its
     * row k next, or -1; NULL: it is dense. */
    int64_t *first, *next;
    int64_t step;
    double saved;
} simple_tensor;

/* The norm of all gradients, and the first tensor with one that is not finite, or -1.
 */
double simple_norm(const simple_tensor *tensors, int64_t n, int64_t *nonfinite);

/* `scale` is what gradients are multiplied by. */
void simple_step(simple_tensor *tensor, int64_t number, const fo_group *group,
                 const fo_extras *extras, double scale);

#endif
