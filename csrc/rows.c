/* See rows.h. */
#include "rows.h"

int64_t fo_rows_length(const fo_tensor *tensor)
{
    const int64_t rows = tensor->layout->shape[tensor->layout->row_axis];
    return rows ? tensor->size / rows : 0;
}

int64_t fo_rows_each(const fo_tensor *tensor)
{
    const int64_t length = fo_rows_length(tensor);
    return length ? (FO_CHUNK + length - 1) / length : FO_CHUNK;
}

fo_offsets fo_rows_offsets(const fo_tensor *tensor, int64_t j)
{
    const fo_layout *layout = tensor->layout;
    const int64_t row = tensor->rows->row[j];
    const int axis = layout->row_axis;
    return (fo_offsets){row * layout->param[axis], 0, row * layout->own[axis],
                        row * layout->index[axis]};
}

static fo_place place_of_values(const fo_tensor *tensor, int64_t k, const fo_tile *tile)
{
    fo_place place = fo_place_of_grad(tensor, tile);
    place.data +=
        tensor->rows->order[k] * tensor->layout->grad[tensor->layout->row_axis];
    return place;
}

const void *fo_rows_fetch(const fo_tensor *tensor, int64_t j, const fo_tile *tile,
                          void *room, void *other)
{
    const int64_t first = tensor->rows->start[j], end = tensor->rows->start[j + 1];
    const fo_place place = place_of_values(tensor, first, tile);
    const void *g = fo_fetch(tile, &place, tensor->dtype, room);
    if (end - first == 1)
        return g;
    const int64_t n = tile->rows * tile->cols;
    if (g != room)
        memcpy(room, g, (size_t)(n * fo_size_of(tensor->dtype)));
    for (int64_t k = first + 1; k < end; k++) {
        const fo_place next = place_of_values(tensor, k, tile);
        fo_kernels()->add[tensor->dtype](
            room, fo_fetch(tile, &next, tensor->dtype, other), n);
    }
    return room;
}

int fo_rows_are_direct(const fo_tensor *tensor, const fo_walk *walk)
{
    const fo_layout *layout = tensor->layout;
    const fo_dtype real = tensor->dtype;
    const fo_axis *inner = &walk->axis[walk->n_axes - 1];
    return walk->n_axes == 2 && layout->param_dtype == real &&
           layout->grad_dtype == real && layout->state_dtype == real &&
           !tensor->master && !tensor->ema &&
           (uintptr_t)tensor->grad % (uintptr_t)fo_size_of(real) == 0 &&
           layout->grad[layout->row_axis] % fo_size_of(real) == 0 && inner->own == 1 &&
           inner->param == fo_size_of(real) && inner->grad == fo_size_of(real);
}

/* Least significant digit first, 11 bits at a time: stable, so that what touches a row
 * stays in its order. */
enum { DIGIT = 11, BUCKETS = 1 << DIGIT };

typedef struct {
    int64_t row, place;
} entry;

static void sort_by_digit(const entry *from, entry *to, int64_t n, int shift)
{
    int64_t count[BUCKETS] = {0}, before = 0;
    for (int64_t i = 0; i < n; i++)
        count[from[i].row >> shift & (BUCKETS - 1)]++;
    for (int d = 0; d < BUCKETS; d++) {
        const int64_t here = count[d];
        count[d] = before;
        before += here;
    }
    for (int64_t i = 0; i < n; i++)
        to[count[from[i].row >> shift & (BUCKETS - 1)]++] = from[i];
}

int64_t fo_rows_sort(const int64_t *index, int64_t n, int64_t n_rows, int64_t *work,
                     fo_rows *out)
{
    int64_t *row = work, *start = row + n, *order = start + n + 1;
    entry *sorted = (entry *)(order + n), *spare = sorted + n;
    int is_sorted = 1;
    for (int64_t i = 0; i < n; i++) {
        if (index[i] < 0 || index[i] >= n_rows)
            return i;
        is_sorted &= i == 0 || index[i - 1] <= index[i];
        sorted[i] = (entry){index[i], i};
    }
    for (int shift = 0; !is_sorted && (n_rows - 1) >> shift > 0; shift += DIGIT) {
        sort_by_digit(sorted, spare, n, shift);
        entry *const swapped = sorted;
        sorted = spare;
        spare = swapped;
    }
    /* In order of occurrence, in which values are read one after the other: rows lie
     * too far apart for their order to matter. */
    int64_t *first = (int64_t *)spare, n_unique = 0, n_ordered = 0;
    for (int64_t i = 0; i < n; i++)
        first[sorted[i].place] = i > 0 && sorted[i].row == sorted[i - 1].row ? -1 : i;
    for (int64_t place = 0; place < n; place++) {
        if (first[place] < 0)
            continue;
        row[n_unique] = sorted[first[place]].row;
        start[n_unique] = n_ordered;
        for (int64_t i = first[place]; i < n && sorted[i].row == row[n_unique]; i++)
            order[n_ordered++] = sorted[i].place;
        n_unique++;
    }
    start[n_unique] = n;
    *out = (fo_rows){n_unique, row, start, order, 0};
    return -1;
}
