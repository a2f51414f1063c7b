/* Rules that keep one number a row. */
#ifndef FO_ROWWISE_H
#define FO_ROWWISE_H

#include "plan.h"

/* Takes the gradient of row j into the row's accumulator and returns the coefficients
 * of its elements. `room` and `other` have room for a tile, `param` too. */
fo_coef fo_rowwise(const fo_tensor *tensor, const fo_recipe *recipe, int64_t j,
                   void *room, void *other, void *param);

#endif
