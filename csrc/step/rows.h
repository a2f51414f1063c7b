/* Row-sparse gradients: access to the rows present in a gradient (fo_rows of
 * fastopt.h), for reduce.c, rowwise.c and update_rows.c.  "Row j" is the j-th row
 * present, not row j of the parameter. */
#ifndef FO_ROWS_H
#define FO_ROWS_H

#include "plan.h"

/* The number of elements of a row. */
int64_t fo_rows_length(const fo_tensor *tensor);

/* The number of rows of a work item: about FO_CHUNK elements. */
int64_t fo_rows_per_item(const fo_tensor *tensor);

/* The offsets of row j in the parameter and in the own arrays. */
fo_offsets fo_rows_offsets(const fo_tensor *tensor, int64_t j);

/* The gradient of a tile of row j: the sum, in order, of the values that belong to the
 * row, as contiguous reals.  The result is in `scratch`, or in the values themselves.
 * The gradient offset of `tile` must be 0; both scratch arrays hold a tile. */
const void *fo_rows_gradient(const fo_tensor *tensor, int64_t j, const fo_tile *tile,
                             void *scratch, void *scratch2);

/* Whether the rows of every array are contiguous, aligned reals, so that kernels can
 * use them without staging. */
int fo_rows_are_direct(const fo_tensor *tensor, const fo_walk *walk);

#endif
