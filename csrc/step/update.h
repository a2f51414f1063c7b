/* Updates of the parts of a work item: tiles (update_tiles.c), lines (update_lines.c),
 * rows (update_rows.c) and blocks (update_blocks.c), called by step.c; staging of tiles
 * is also for sums.c. */
#ifndef FO_UPDATE_H
#define FO_UPDATE_H

#include "plan.h"
#include "strips.h"

typedef struct {
    fo_plan *plan;
    const fo_extras *extras;
    double scale; /* the gradients are multiplied by it */
} fo_step_context;

/* The arrays of a chunk of a tensor without a layout. */
static inline fo_arrays fo_chunk_arrays(const fo_tensor *tensor, const fo_chunk *chunk)
{
    const int64_t size = fo_size_of(tensor->dtype);
    fo_arrays whole = {.param = tensor->param, .grad = (void *)tensor->grad};
    memcpy(whole.state, tensor->state, sizeof whole.state);
    return fo_arrays_from(&whole, (fo_sizes){size, size}, chunk->begin);
}

/* Whether this step of tensor i ends with the parameter at its slow weights. */
int fo_looks_ahead(const fo_step_context *s, int64_t i);

/* Move n slow weights of tensor i towards the parameter w, clip them to the bounds, and
 * move w to them. */
void fo_look_ahead(const fo_step_context *s, int64_t i, void *slow, void *w, int64_t n);

/* Stage a tile of tensor i, update it and write it back.  g is the gradient as
 * contiguous reals. */
void fo_update_tile(const fo_step_context *s, int64_t i, const fo_tile *tile,
                    const void *g, const fo_coef *rule, fo_scratch *scratch);

/* The stream of random bits for an array of tensor i: its parameter (0), or its state
 * number array - 1. */
uint64_t fo_stream_of(const fo_extras *extras, int64_t i, int array);

/* Update elements that have one stride in each array, without row-wise coefficients. */
void fo_update_line(const fo_step_context *s, int64_t i, const fo_tile *line,
                    fo_scratch *scratch);

/* Calls `call` for a tile of tensor i, with its gradient as contiguous reals; for a
 * panel, whose gradient is transposed, it is called for each piece of it. */
typedef void fo_piece_fn(const fo_step_context *s, int64_t i, const fo_tile *piece,
                         const void *g, fo_scratch *scratch);
void fo_each_piece(const fo_step_context *s, int64_t i, const fo_tile *tile,
                   fo_scratch *scratch, fo_piece_fn *call);

/* A tile of a parameter (or of its master) and of its states, as contiguous reals. */
typedef struct {
    fo_view param, master, view[FO_MAX_STATES];
    void *w, *state[FO_MAX_STATES];
} fo_staged;

/* Stage a tile of tensor i, without its gradient and without FO_F8 states. */
void fo_stage_tile(const fo_tensor *tensor, const fo_tile *tile, fo_scratch *scratch,
                   fo_staged *staged);
/* Write it back after its update, except FO_F8 states, and update the average. */
void fo_finish_tile(const fo_step_context *s, int64_t i, const fo_tile *tile,
                    const fo_staged *staged, fo_scratch *scratch);

/* Whether the tensor has FO_F8 states.  Then all its updates go through the next two
 * functions: of the elements of a chunk, whose gradient is cleared if zero_grads is
 * set, and of rows of a row-sparse gradient. */
static inline int fo_is_blocked(const fo_tensor *tensor)
{
    return tensor->layout && tensor->layout->state_dtype == FO_F8;
}
void fo_update_blocks(const fo_step_context *s, const fo_chunk *chunk,
                      fo_scratch *scratch);
void fo_update_rows_in_blocks(const fo_step_context *s, int64_t i, fo_range rows,
                              fo_scratch *scratch);

/* Update rows of tensor i, or clear their values. */
void fo_update_rows(const fo_step_context *s, int64_t i, fo_range rows,
                    fo_scratch *scratch);
void fo_clear_rows(const fo_plan *plan, int64_t i, fo_range rows);

#endif
