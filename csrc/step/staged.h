/* The arrays of a tile during its update: staged, and written back when it is done;
 * for update_tiles.c, update_runs.c, update_blocks.c, factored.c and sums.c.
 *
 * What depends on the tensor and on the tile alone is found once by fo_find_arrays.
 * The arrays are then loaded and finished all at once or, if the tile has one row,
 * in pieces. */
#ifndef FO_STAGED_H
#define FO_STAGED_H

#include "plan.h"

typedef struct {
    fo_plan *plan;
    const fo_extras *extras;
    double scale; /* the gradients are multiplied by it */
} fo_step_context;

typedef struct {
    fo_view view;     /* data is NULL if the tensor has no such array */
    fo_load_fn *load; /* load and store are NULL if kernels use the array in place */
    fo_store_fn *store;
    void *scratch;
    int is_random;   /* whether it is rounded stochastically */
    uint64_t stream; /* of the random bits, if so */
} fo_staged_array;

typedef struct {
    const fo_tile *tile;
    int64_t tensor;
    fo_dtype real;
    int n_states;
    int looks_ahead; /* whether the average is the slow weights of this step */
    fo_staged_array of[FO_N_ARRAYS];
    /* The piece that was loaded: `n` columns from column `at` on.  Parameter and states
     * as contiguous reals; state[n_states] and those after it are NULL. */
    int64_t at, n;
    void *w, *state[FO_MAX_STATES];
} fo_staged;

/* Finds the arrays of a tile of tensor i.  FO_F8 states count as absent. */
void fo_find_arrays(fo_staged *staged, const fo_step_context *s, int64_t i,
                    const fo_tile *tile, fo_scratch *scratch);

/* Loads one array, or the parameter and the states.  A tile of several rows is loaded
 * all at once. */
void *fo_load_array(const fo_staged *staged, int array, int64_t at, int64_t n);
void fo_load_arrays(fo_staged *staged, int64_t at, int64_t n);

/* Finds the arrays of a tile, and loads all of it. */
static inline void fo_stage_tile(fo_staged *staged, const fo_step_context *s, int64_t i,
                                 const fo_tile *tile, fo_scratch *scratch)
{
    fo_find_arrays(staged, s, i, tile, scratch);
    fo_load_arrays(staged, 0, tile->cols);
}

/* Ends the update of what was loaded: looks ahead, writes the states and the parameter
 * back, and updates the average. */
void fo_finish_arrays(const fo_step_context *s, const fo_staged *staged);

/* Whether this step of tensor i ends with the parameter at its slow weights. */
int fo_looks_ahead(const fo_step_context *s, int64_t i);
/* Moves n slow weights of tensor i towards the parameter w, clips them to the bounds,
 * and moves w to them. */
void fo_look_ahead(const fo_step_context *s, int64_t i, void *slow, void *w, int64_t n);

/* Whether this step updates the average of tensor i, and the update of n elements. */
int fo_averages(const fo_step_context *s, int64_t i);
void fo_average(const fo_step_context *s, int64_t i, void *average, const void *w,
                int64_t n);

/* The stream of random bits for an array of tensor i: its parameter (0), or its state
 * number array - 1. */
uint64_t fo_stream_of(const fo_extras *extras, int64_t i, int array);

#endif
