/* Rules that keep one number a row. */
#ifndef FO_ROWWISE_H
#define FO_ROWWISE_H

#include "plan.h"

/* Takes the gradient of row j into the row's accumulator and writes the coefficients of
 * its elements. `room` and `other` have room for a tile, `param` too. */
void fo_rowwise(const fo_tensor *tensor, const fo_recipe *recipe, int64_t j, void *room,
                void *other, void *param, fo_coef *of_row);

/* The same of `length` elements of a parameter and its gradient that a kernel takes as
 * they are. */
void fo_rowwise_direct(const fo_recipe *recipe, const void *w, const void *g,
                       int64_t length, void *state, fo_coef *of_row);

#endif
