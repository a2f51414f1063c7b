/* Factored rules (FO_FACTORED in rules.def), whose state has statistics of rows and
 * columns: called by step.c. */
#ifndef FO_FACTORED_H
#define FO_FACTORED_H

#include "parallel.h"
#include "update.h"

/* Copies the hyperparameters of a factored rule to `hp`, and returns it.  In those of
 * the group, NaN stands for the machine epsilon of the dtype of the parameter. */
const double *fo_factored_hp(const fo_tensor *tensor, const fo_group *group,
                             double *hp);

/* Updates these tensors and their states.  Clears their gradients if zero_grads is
 * set. */
void fo_factored_step(const fo_step_context *s, int n_threads);

#endif
