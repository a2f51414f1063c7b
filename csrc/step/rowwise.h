/* Row-wise rules (adagrad_rowwise), whose state is one number per row: called by
 * update_rows.c before the elements of a row are updated. */
#ifndef FO_ROWWISE_H
#define FO_ROWWISE_H

#include "plan.h"

/* Updates the state of row j with the mean square of the row's gradient, and computes
 * the coefficients for its elements.  The three scratch arrays each hold a tile. */
void fo_rowwise(const fo_tensor *tensor, const fo_recipe *recipe, int64_t j,
                void *scratch, void *scratch2, void *param_scratch, fo_coef *of_row);

/* The same for a row whose parameter w and gradient g are `length` contiguous, aligned
 * reals. */
void fo_rowwise_direct(const fo_recipe *recipe, const void *w, const void *g,
                       int64_t length, void *state, fo_coef *of_row);

#endif
