/* The sums over elements that a rule needs before its update (FO_SUMS in rules.def),
 * such as the norms of a parameter and of its step: called by step.c. */
#ifndef FO_SUMS_H
#define FO_SUMS_H

#include "parallel.h"
#include "update.h"

/* Computes the sums of the first n_recipes recipes of the plan that need any, and
 * completes their coefficients.  Writes nothing else. */
void fo_finish_recipes(const fo_step_context *s, int64_t n_recipes, int n_threads);

#endif
