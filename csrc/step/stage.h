/* Staging: kernels need contiguous, aligned arrays of float or double; arrays of
 * another layout or dtype are copied, a tile at a time, to scratch memory and back.
 *
 * A walk enumerates the tiles of a tensor, so that each element belongs to exactly one.
 * A view is the tile of one array.  Tiles fit in L1; panels are larger tiles. */
#ifndef FO_STAGE_H
#define FO_STAGE_H

#include "kernels/kernels.h"

static inline int64_t fo_min(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* The largest number of elements of a tile: its parameter, gradient and states fit in
 * the L1 cache. */
enum { FO_TILE = 512 };
/* A panel is a larger tile, for a gradient that is transposed relative to the
 * parameter.  It has PANEL_ROWS rows, the number of floats in a cache line, so that all
 * of each cache line of the gradient is used.  Its rows are long enough for the
 * hardware to prefetch the other arrays.  FO_PANEL is the size in bytes. */
enum { PANEL_ROWS = 16, FO_PANEL = 131072 };

typedef struct {
    int64_t length;
    int64_t param, grad, own, index; /* strides, as in fo_layout */
    int64_t per_tile, tiles;         /* elements per tile; number of tiles */
} fo_axis;

/* The tiles of a tensor, or of one row of it.  A tile is `rows` by `cols` elements of
 * the two innermost axes.  It has several rows only if it is contiguous in the own
 * arrays, or is a panel. */
typedef struct {
    int n_axes;
    int fast; /* the axis along which tiles are enumerated first: the one with the
                 smallest stride of the gradient */
    int64_t rows, cols, n_tiles;
    int is_panel; /* tiles are panels, updated in pieces of their rows */
    fo_axis axis[FO_MAX_AXES + 1]; /* preceded by an axis of length 1 */
} fo_walk;

static inline fo_axis fo_axis_of(const fo_layout *layout, int k)
{
    return (fo_axis){.length = layout->shape[k],
                     .param = layout->param[k],
                     .grad = layout->grad[k],
                     .own = layout->own[k],
                     .index = layout->index[k]};
}

/* Whether elements are nearer in memory with the first stride than with the second. */
static inline int fo_is_nearer(int64_t stride, int64_t other)
{
    return (stride < 0 ? -stride : stride) < (other < 0 ? -other : other);
}

/* Whether two adjacent axes can be treated as one in all arrays. */
int fo_can_merge(const fo_axis *outer, const fo_axis *inner);

/* Offsets of a tile, or of a row, from the first element of the tensor, in the units of
 * fo_layout. */
typedef struct {
    int64_t param, grad, own, index;
} fo_offsets;

typedef struct {
    fo_offsets at;
    int64_t rows, cols;
    const fo_axis *row, *col;
} fo_tile;

/* Prepares the walk over a tensor.  skip_axis is an axis to leave out (the row axis,
 * for the walk over one row), or -1.  `real` is the dtype that tiles are staged as. */
void fo_walk_prepare(fo_walk *walk, const fo_layout *layout, fo_dtype real,
                     int skip_axis);
/* Moves offsets by n elements along an axis. */
void fo_advance(fo_offsets *at, const fo_axis *axis, int64_t n);
fo_tile fo_walk_tile(const fo_walk *walk, int64_t number, const fo_offsets *from);
/* Sets *tile to tile number `begin` of a dense tensor; or, if the tensor has one axis
 * after merging, to the run of all elements of tiles begin to end - 1.  Returns the
 * number of the next tile. */
int64_t fo_walk_next(const fo_walk *walk, int64_t begin, int64_t end, fo_tile *tile);
/* Returns the run of elements of the tensor, or of the row, from number `position` on,
 * in C order: as many as have one stride in each array, but at most `most`.  The
 * axes of the layout must be in C order. */
fo_tile fo_walk_run(const fo_walk *walk, int64_t position, int64_t most,
                    const fo_offsets *from);
/* Returns the part of a row of a panel that begins at column `col`: at most FO_TILE
 * elements. */
fo_tile fo_tile_piece(const fo_tile *panel, int64_t row, int64_t col);

/* A tile of one array.  Views are passed by address: copying a struct right after its
 * fields were written separately stalls until those stores are done. */
typedef struct {
    char *data;
    fo_dtype dtype;
    int64_t row, col; /* strides in bytes */
} fo_view;

static inline int64_t fo_size_of(fo_dtype dtype)
{
    return dtype == FO_F64 ? 8 : dtype == FO_F32 ? 4 : 2;
}

static inline fo_view fo_param_view(const fo_tensor *tensor, const fo_tile *tile)
{
    return (fo_view){(char *)tensor->param + tile->at.param,
                     tensor->layout->param_dtype, tile->row->param, tile->col->param};
}

static inline fo_view fo_grad_view(const fo_tensor *tensor, const fo_tile *tile)
{
    return (fo_view){(char *)tensor->grad + tile->at.grad, tensor->layout->grad_dtype,
                     tile->row->grad, tile->col->grad};
}

static inline fo_view fo_own_view(void *array, fo_dtype dtype, const fo_tile *tile)
{
    const int64_t size = fo_size_of(dtype);
    return (fo_view){(char *)array + tile->at.own * size, dtype, tile->row->own * size,
                     tile->col->own * size};
}

/* Whether kernels can use the view without staging: it is contiguous, aligned and of
 * dtype `real`. */
static inline int fo_is_direct(const fo_tile *tile, const fo_view *view, fo_dtype real)
{
    const int64_t size = fo_size_of(real);
    return view->dtype == real &&
           ((uintptr_t)view->data & (uintptr_t)(size - 1)) == 0 &&
           (tile->cols == 1 || view->col == size) &&
           (tile->rows == 1 || view->row == tile->cols * size);
}

/* Copies a view to contiguous reals in `scratch`. */
void fo_load(const fo_tile *tile, const fo_view *view, fo_dtype real, void *scratch);

/* Stores n floats with stochastic rounding.  Element i uses the random bits of number
 * index + i * index_stride of the stream. */
void fo_store_stochastic(char *out, int64_t stride, fo_dtype dtype, const float *in,
                         int64_t n, uint64_t stream, uint64_t index,
                         uint64_t index_stride);

/* Returns the view as contiguous reals: a pointer to its data if possible, else a copy
 * in `scratch`. */
static inline void *fo_stage(const fo_tile *tile, const fo_view *view, fo_dtype real,
                             void *scratch)
{
    if (fo_is_direct(tile, view, real))
        return view->data;
    fo_load(tile, view, real, scratch);
    return scratch;
}

/* Sets the gradient of a tile to zero. */
void fo_clear_grad(const fo_tensor *tensor, const fo_tile *tile);

#endif
