/* Gradients that touch some rows of a tensor. */
#ifndef FO_ROWS_H
#define FO_ROWS_H

#include "plan.h"

/* Elements of a row. */
int64_t fo_rows_length(const fo_tensor *tensor);

/* Rows of a work item: about a chunk of elements. */
int64_t fo_rows_each(const fo_tensor *tensor);

/* Where row j of the gradient's rows begins, for its parameter. */
fo_offsets fo_rows_offsets(const fo_tensor *tensor, int64_t j);

/* The gradient of a tile of row j, all that touches it summed in order.  `tile` is of
 * the row, with the gradient's offset 0; `room` and `other` have room for a tile. */
const void *fo_rows_fetch(const fo_tensor *tensor, int64_t j, const fo_tile *tile,
                          void *room, void *other);

/* Whether a row of every array is reals one after the other, as the kernel takes it. */
int fo_rows_are_direct(const fo_tensor *tensor, const fo_walk *walk);

#endif
