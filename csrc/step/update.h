/* Updates of the parts of a work item: tiles (update_tiles.c), runs (update_runs.c),
 * rows (update_rows.c) and blocks (update_blocks.c), called by step.c. */
#ifndef FO_UPDATE_H
#define FO_UPDATE_H

#include "staged.h"
#include "strips.h"

/* The arrays of a chunk of a tensor without a layout. */
static inline fo_arrays fo_chunk_arrays(const fo_tensor *tensor, const fo_chunk *chunk)
{
    const int64_t size = fo_size_of(tensor->dtype);
    fo_arrays whole = {.param = tensor->param, .grad = (void *)tensor->grad};
    memcpy(whole.state, tensor->state, sizeof whole.state);
    return fo_arrays_from(&whole, (fo_sizes){size, size}, chunk->begin);
}

/* Stage a tile of tensor i, update it and write it back.  g is the gradient as
 * contiguous reals. */
void fo_update_tile(const fo_step_context *s, int64_t i, const fo_tile *tile,
                    const void *g, const fo_coef *rule, fo_scratch *scratch);

/* Update elements that have one stride in each array, without row-wise coefficients. */
void fo_update_run(const fo_step_context *s, int64_t i, const fo_tile *run,
                   fo_scratch *scratch);

/* Calls `call` for a tile of tensor i, with its gradient as contiguous reals; for a
 * panel, whose gradient is transposed, it is called for each piece of it. */
typedef void fo_piece_fn(const fo_step_context *s, int64_t i, const fo_tile *piece,
                         const void *g, fo_scratch *scratch);
void fo_each_piece(const fo_step_context *s, int64_t i, const fo_tile *tile,
                   fo_scratch *scratch, fo_piece_fn *call);

/* Update a tensor with FO_F8 states: the elements of a chunk, whose gradient is cleared
 * if zero_grads is set, and rows of a row-sparse gradient. */
void fo_update_blocks(const fo_step_context *s, const fo_chunk *chunk,
                      fo_scratch *scratch);
void fo_update_rows_in_blocks(const fo_step_context *s, int64_t i, fo_range rows,
                              fo_scratch *scratch);

/* Update rows of tensor i, or clear their values. */
void fo_update_rows(const fo_step_context *s, int64_t i, fo_range rows,
                    fo_scratch *scratch);
void fo_clear_rows(const fo_plan *plan, int64_t i, fo_range rows);

#endif
