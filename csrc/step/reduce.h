/* The total norm of all gradients, for clipping by norm and for on_nonfinite. */
#ifndef FO_REDUCE_H
#define FO_REDUCE_H

#include "parallel.h"
#include "plan.h"

/* Returns the square root of the sum of squares of all gradients.  Sets *nonfinite to
 * the first tensor whose gradient has a NaN or infinity, or to -1.  (The norm may
 * overflow to infinity although all gradients are finite.) */
double fo_reduce(fo_plan *plan, int n_threads, int64_t *nonfinite);

#endif
