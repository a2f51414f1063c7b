/* The total norm of all gradients, for clipping by norm and for on_nonfinite. */
#ifndef FO_REDUCE_H
#define FO_REDUCE_H

#include "parallel.h"
#include "update.h"

/* The norm of all gradients is root * unit, where unit is a power of two; the product
 * may overflow.  `nonfinite` is the first tensor with an element that is NaN or
 * infinite after multiplication by the scale of the step, or -1. */
typedef struct {
    double root, unit;
    int64_t nonfinite;
} fo_total;

fo_total fo_reduce(const fo_step_context *s, int n_threads);

#endif
