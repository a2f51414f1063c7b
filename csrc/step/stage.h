/* Arrays as they come: tiles of them are brought to where a kernel works, and back. */
#ifndef FO_STAGE_H
#define FO_STAGE_H

#include "kernels/kernels.h"

static inline int64_t fo_least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* Reals of the largest tile: its parameter, gradient and states fit in the L1 cache. */
enum { FO_TILE = 512 };
/* Bytes of one whose gradient lies across: a cache line of floats of each of so many
 * columns that the rows of the other arrays are long enough to be fetched ahead. */
enum { PANEL_ROWS = 16, FO_PANEL = 131072 };

typedef struct {
    int64_t length;
    int64_t param, grad, own, index; /* from one element to the next, as in fo_layout */
    int64_t each, tiles;             /* elements of a tile; number of tiles */
} fo_axis;

/* The tiles of a tensor, or of one row of it.  A tile is `rows` by `cols` elements of
 * the two innermost axes; of more than one row only where the states lie without gaps.
 */
typedef struct {
    int n_axes;
    int fast; /* the axis that tiles follow first: there the gradient's lie close */
    int64_t rows, cols, n_tiles;
    int is_panel; /* larger than a tile: updated in pieces of its rows */
    fo_axis axis[FO_MAX_AXES + 1]; /* one of one element before the tensor's */
} fo_walk;

/* Distances of a tile, or of a row of the tensor, from the first element. */
typedef struct {
    int64_t param, grad, own, index;
} fo_offsets;

typedef struct {
    fo_offsets at;
    int64_t rows, cols;
    const fo_axis *row, *col;
} fo_tile;

/* Axis `without` is left out; -1: none.  `real`: what the tiles are loaded as. */
void fo_walk_prepare(fo_walk *walk, const fo_layout *layout, fo_dtype real,
                     int without);
fo_tile fo_walk_tile(const fo_walk *walk, int64_t number, const fo_offsets *from);
/* Of row `row` what begins at column `col`: FO_TILE elements at most. */
fo_tile fo_tile_piece(const fo_tile *panel, int64_t row, int64_t col);

/* A tile of one array.  Places are passed by their address: copies of what was just
 * written in other pieces stall until all stores before them are done. */
typedef struct {
    char *data;
    fo_dtype dtype;
    int64_t row, col; /* bytes from one to the next */
} fo_place;

static inline int64_t fo_size_of(fo_dtype dtype)
{
    return dtype == FO_F64 ? 8 : dtype == FO_F32 ? 4 : 2;
}

static inline fo_place fo_place_of_param(const fo_tensor *tensor, const fo_tile *tile)
{
    return (fo_place){(char *)tensor->param + tile->at.param,
                      tensor->layout->param_dtype, tile->row->param, tile->col->param};
}

static inline fo_place fo_place_of_grad(const fo_tensor *tensor, const fo_tile *tile)
{
    return (fo_place){(char *)tensor->grad + tile->at.grad, tensor->layout->grad_dtype,
                      tile->row->grad, tile->col->grad};
}

static inline fo_place fo_place_of_own(void *array, fo_dtype dtype, const fo_tile *tile)
{
    const int64_t size = fo_size_of(dtype);
    return (fo_place){(char *)array + tile->at.own * size, dtype, tile->row->own * size,
                      tile->col->own * size};
}

/* Whether the tile lies there as a kernel takes it. */
static inline int fo_is_ready(const fo_tile *tile, const fo_place *place, fo_dtype real)
{
    const int64_t size = fo_size_of(real);
    return place->dtype == real &&
           ((uintptr_t)place->data & (uintptr_t)(size - 1)) == 0 &&
           (tile->cols == 1 || place->col == size) &&
           (tile->rows == 1 || place->row == tile->cols * size);
}

void fo_load(const fo_tile *tile, const fo_place *place, fo_dtype real, void *room);
void fo_store(const fo_tile *tile, const fo_place *place, fo_dtype real,
              const void *from, const uint64_t *stream);

/* The tile as reals without gaps: where it lies, or loaded into `room`. */
static inline void *fo_fetch(const fo_tile *tile, const fo_place *place, fo_dtype real,
                             void *room)
{
    if (fo_is_ready(tile, place, real))
        return place->data;
    fo_load(tile, place, real, room);
    return room;
}

/* Store reals unless they lie there.  `stream` is of random bits, NULL: to nearest. */
static inline void fo_put(const fo_tile *tile, const fo_place *place, fo_dtype real,
                          const void *from, const uint64_t *stream)
{
    if (from != place->data)
        fo_store(tile, place, real, from, stream);
}

void fo_clear(const fo_tile *tile, const fo_place *place);

#endif
