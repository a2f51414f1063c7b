/* Enumerates the tiles of a tensor, and copies arrays to scratch memory and back
 * (stage.h). */
#include "stage.h"

int fo_can_merge(const fo_axis *outer, const fo_axis *inner)
{
    const int64_t n = inner->length;
    return outer->param == n * inner->param && outer->grad == n * inner->grad &&
           outer->own == n * inner->own && outer->index == n * inner->index;
}

void fo_walk_prepare(fo_walk *walk, const fo_layout *layout, fo_dtype real,
                     int skip_axis)
{
    /* An axis of length 1, so that there are always two axes for a tile. */
    walk->axis[0] = (fo_axis){.length = 1};
    int last = 0;
    for (int k = 0; k < layout->n_axes; k++) {
        if (k == skip_axis || layout->shape[k] == 1)
            continue;
        const fo_axis axis = fo_axis_of(layout, k);
        if (last > 0 && fo_can_merge(&walk->axis[last], &axis)) {
            const int64_t length = walk->axis[last].length * axis.length;
            walk->axis[last] = axis;
            walk->axis[last].length = length;
        } else {
            walk->axis[++last] = axis;
        }
    }
    if (last == 0)
        walk->axis[++last] = (fo_axis){.length = 1,
                                       .param = fo_size_of(layout->param_dtype),
                                       .grad = fo_size_of(layout->grad_dtype),
                                       .own = 1,
                                       .index = 1};
    walk->n_axes = last + 1;

    const fo_axis *inner = &walk->axis[last];
    int fast = last;
    for (int k = 1; k < last; k++)
        if (fo_is_nearer(walk->axis[k].grad, walk->axis[fast].grad))
            fast = k;
    walk->fast = fast;
    walk->cols = fo_min(inner->length, FO_TILE);
    walk->rows = 1;
    const fo_axis *row = &walk->axis[last - 1];
    if (walk->cols == inner->length && inner->own == 1 && row->own == walk->cols)
        walk->rows = fo_min(FO_TILE / walk->cols, row->length);
    walk->is_panel = skip_axis < 0 && fast == last - 1 && walk->rows < PANEL_ROWS;
    if (walk->is_panel) {
        walk->rows = fo_min(row->length, PANEL_ROWS);
        walk->cols = fo_min(inner->length, FO_PANEL / PANEL_ROWS / fo_size_of(real));
    }
    walk->n_tiles = 1;
    for (int k = 0; k <= last; k++) {
        fo_axis *axis = &walk->axis[k];
        axis->per_tile = k == last ? walk->cols : k == last - 1 ? walk->rows : 1;
        axis->tiles = (axis->length + axis->per_tile - 1) / axis->per_tile;
        walk->n_tiles *= axis->tiles;
    }
}

void fo_advance(fo_offsets *at, const fo_axis *axis, int64_t n)
{
    at->param += n * axis->param;
    at->grad += n * axis->grad;
    at->own += n * axis->own;
    at->index += n * axis->index;
}

fo_tile fo_walk_tile(const fo_walk *walk, int64_t number, const fo_offsets *from)
{
    const int last = walk->n_axes - 1;
    fo_tile tile = {*from, walk->rows, walk->cols, &walk->axis[last - 1],
                    &walk->axis[last]};
    if (walk->n_tiles == 1)
        return tile;
    for (int nth = 0; nth <= walk->n_axes; nth++) {
        const int k = nth == 0 ? walk->fast : walk->n_axes - nth;
        const fo_axis *axis = &walk->axis[k];
        if (axis->tiles == 1 || (nth > 0 && k == walk->fast))
            continue;
        const int64_t i = number % axis->tiles,
                      left = axis->length - i * axis->per_tile;
        number /= axis->tiles;
        fo_advance(&tile.at, axis, i * axis->per_tile);
        if (k == last && left < axis->per_tile)
            tile.cols = left;
        if (k == last - 1 && left < axis->per_tile)
            tile.rows = left;
    }
    return tile;
}

int64_t fo_walk_next(const fo_walk *walk, int64_t begin, int64_t end, fo_tile *tile)
{
    *tile = fo_walk_tile(walk, begin, &(fo_offsets){0});
    if (walk->n_axes > 2 || walk->axis[0].length > 1)
        return begin + 1;
    tile->cols = fo_min(end * walk->cols, walk->axis[1].length) - begin * walk->cols;
    return end;
}

fo_tile fo_walk_run(const fo_walk *walk, int64_t position, int64_t most,
                    const fo_offsets *from)
{
    const int last = walk->n_axes - 1;
    const fo_axis *inner = &walk->axis[last];
    const int64_t left = inner->length - position % inner->length;
    fo_tile tile = {*from, 1, fo_min(left, most), inner, inner}; /* it has one row */
    for (int k = last; k > 0; k--) {
        const fo_axis *axis = &walk->axis[k];
        fo_advance(&tile.at, axis, position % axis->length);
        position /= axis->length;
    }
    return tile;
}

fo_tile fo_tile_piece(const fo_tile *panel, int64_t row, int64_t col)
{
    fo_tile piece = *panel;
    fo_advance(&piece.at, panel->row, row);
    fo_advance(&piece.at, panel->col, col);
    piece.rows = 1;
    piece.cols = fo_min(panel->cols - col, FO_TILE);
    return piece;
}

enum { COLUMNS = 8, COLUMNS_AHEAD = 12 }; /* transposed at once; prefetch distance */

/* Loads a tile whose columns, not rows, are contiguous or nearly so: a few columns at a
 * time, in memory order. */
static void load_transposed(const fo_tile *tile, const fo_view *view, fo_dtype real,
                            char *scratch)
{
    const fo_kernel_table *table = fo_kernels();
    const int64_t size = fo_size_of(real), rows = tile->rows;
    const int is_direct = view->dtype == real && view->row == size;
    /* A tile has at most FO_TILE elements; COLUMNS columns of a panel have fewer. */
    double loaded[FO_TILE];
    _Static_assert(COLUMNS * PANEL_ROWS <= FO_TILE, "columns of a panel");
    for (int64_t c = 0; c < tile->cols; c += COLUMNS) {
        const int64_t left = tile->cols - c, n = fo_min(left, COLUMNS);
        const char *from = view->data + c * view->col;
        for (int64_t k = COLUMNS_AHEAD; k < COLUMNS_AHEAD + n && k < left; k++) {
            FO_PREFETCH_L2(from + k * view->col);
            FO_PREFETCH_L2(from + k * view->col + (rows - 1) * view->row);
        }
        for (int64_t k = 0; k < n && !is_direct; k++)
            table->load[real][view->dtype]((char *)loaded + k * rows * size,
                                           from + k * view->col, view->row, rows);
        table->transpose[real](scratch + c * size, tile->cols,
                               is_direct ? from : (char *)loaded,
                               is_direct ? view->col : rows * size, rows, n);
    }
}

void fo_load(const fo_tile *tile, const fo_view *view, fo_dtype real, void *scratch)
{
    if (tile->rows > 1 && fo_is_nearer(view->row, view->col)) {
        load_transposed(tile, view, real, scratch);
        return;
    }
    fo_load_fn *load = fo_kernels()->load[real][view->dtype];
    for (int64_t r = 0; r < tile->rows; r++)
        load((char *)scratch + r * tile->cols * fo_size_of(real),
             view->data + r * view->row, view->col, tile->cols);
}

/* Kernels take a 32-bit element number; the upper 32 bits of the number select another
 * stream. */
void fo_store_stochastic(char *out, int64_t stride, fo_dtype dtype, const float *in,
                         int64_t n, uint64_t stream, uint64_t index,
                         uint64_t index_stride)
{
    fo_store_stochastic_fn *store = fo_kernels()->store_stochastic[dtype];
    while (n > 0) {
        const uint64_t last = index + (uint64_t)(n - 1) * index_stride;
        const uint64_t left = ((uint64_t)1 << 32) - (uint32_t)index;
        const int64_t now =
            last >> 32 == index >> 32 ? n : (int64_t)((left - 1) / index_stride + 1);
        store(out, stride, in, now, stream ^ (index >> 32) * 0x9e3779b97f4a7c15,
              (uint32_t)index, (uint32_t)index_stride);
        out += now * stride;
        in += now;
        n -= now;
        index += (uint64_t)now * index_stride;
    }
}

void fo_clear_grad(const fo_tensor *tensor, const fo_tile *tile)
{
    const fo_view view = fo_grad_view(tensor, tile);
    const int64_t size = fo_size_of(view.dtype);
    for (int64_t r = 0; r < tile->rows; r++) {
        char *row = view.data + r * view.row;
        if (view.col == size)
            memset(row, 0, (size_t)(tile->cols * size));
        else
            for (int64_t c = 0; c < tile->cols; c++)
                memset(row + c * view.col, 0, (size_t)size);
    }
}
