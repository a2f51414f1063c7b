/* What is known of all gradients before a step. */
#ifndef FO_REDUCE_H
#define FO_REDUCE_H

#include "parallel.h"
#include "plan.h"

/* The root of the sum of squares; *nonfinite is the first tensor with a NaN or an
 * infinity, or -1.  (The norm may be infinite although all gradients are finite.) */
double fo_reduce(fo_plan *plan, int n_threads, int64_t *nonfinite);

#endif
