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

/* The functions below are inlined.  A CPU looks several hundred instructions ahead, so
 * it stages the next piece while a kernel divides; calls and tests would fill that
 * window. */

static FO_INLINE char *fo_column(const fo_staged_array *of, int64_t at)
{
    return of->view.data + at * of->view.col;
}

/* Loads one array.  A tile of several rows is loaded all at once. */
static FO_INLINE void *fo_load_array(const fo_staged *staged, int array, int64_t at,
                                     int64_t n)
{
    const fo_staged_array *of = &staged->of[array];
    if (!of->load)
        return fo_column(of, at);
    if (staged->tile->rows == 1)
        of->load(of->scratch, fo_column(of, at), of->view.col, n);
    else
        fo_load(staged->tile, &of->view, staged->real, of->scratch);
    return of->scratch;
}

/* Loads the parameter and the states. */
static FO_INLINE void fo_load_arrays(fo_staged *staged, int64_t at, int64_t n)
{
    staged->at = at;
    staged->n = n;
    staged->w = fo_load_array(staged, FO_PARAM, at, n);
    for (int k = 0; k < staged->n_states; k++)
        staged->state[k] = fo_load_array(staged, FO_STATE + k, at, n);
}

/* Finds the arrays of a tile, and loads all of it. */
static inline void fo_stage_tile(fo_staged *staged, const fo_step_context *s, int64_t i,
                                 const fo_tile *tile, fo_scratch *scratch)
{
    fo_find_arrays(staged, s, i, tile, scratch);
    fo_load_arrays(staged, 0, tile->cols);
}

/* Writes one row back; `index` is the number of its first random bits. */
static FO_INLINE void fo_store_row(const fo_staged *staged, const fo_staged_array *of,
                                   char *to, const void *from, int64_t index)
{
    if (of->is_random)
        fo_store_stochastic(to, of->view.col, of->view.dtype, from, staged->n,
                            of->stream, (uint64_t)index,
                            (uint64_t)staged->tile->col->index);
    else
        of->store(to, of->view.col, from, staged->n);
}

/* Writes all rows of a tile back. */
void fo_store_rows(const fo_staged *staged, const fo_staged_array *of,
                   const void *from);

static FO_INLINE void fo_store_array(const fo_staged *staged, int array,
                                     const void *from)
{
    const fo_staged_array *of = &staged->of[array];
    const fo_tile *tile = staged->tile;
    if (!of->store)
        return;
    if (tile->rows == 1)
        fo_store_row(staged, of, fo_column(of, staged->at), from,
                     tile->at.index + staged->at * tile->col->index);
    else
        fo_store_rows(staged, of, from);
}

/* Ends the update of what was loaded: looks ahead, writes the states and the parameter
 * back, and updates the average. */
static FO_INLINE void fo_finish_arrays(const fo_step_context *s,
                                       const fo_staged *staged)
{
    const int64_t i = staged->tensor, n = staged->tile->rows * staged->n;
    const int has_average = staged->of[FO_AVERAGE].view.data != NULL;
    void *average =
        has_average ? fo_load_array(staged, FO_AVERAGE, staged->at, staged->n) : NULL;
    if (staged->looks_ahead)
        fo_look_ahead(s, i, average, staged->w, n);
    for (int k = 0; k < staged->n_states; k++)
        fo_store_array(staged, FO_STATE + k, staged->state[k]);
    fo_store_array(staged, FO_PARAM, staged->w);
    if (staged->of[FO_COPY].view.data)
        fo_store_array(staged, FO_COPY, staged->w);
    if (!has_average)
        return;
    /* The average is of the parameter as stored, after rounding. */
    if (!staged->looks_ahead)
        fo_average(s, i, average,
                   fo_load_array(staged, FO_PARAM, staged->at, staged->n), n);
    fo_store_array(staged, FO_AVERAGE, average);
}

#endif
