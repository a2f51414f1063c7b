/* See rows.h. */
#include "rows.h"

#if defined(__GNUC__)
#define FO_PREFETCH(address) __builtin_prefetch(address)
#else
#define FO_PREFETCH(address) (void)(address)
#endif

enum { CACHE_LINE = 64, MOST_LINES = 16 };

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
        tensor->rows->order[k] * fo_rows_length(tensor) * fo_size_of(place.dtype);
    return place;
}

const void *fo_rows_fetch(const fo_tensor *tensor, int64_t j, const fo_tile *tile,
                          void *room, void *other)
{
    const int64_t first = tensor->rows->start[j], end = tensor->rows->start[j + 1];
    const void *g =
        fo_fetch(tile, place_of_values(tensor, first, tile), tensor->dtype, room);
    if (end - first == 1)
        return g;
    const int64_t n = tile->rows * tile->cols;
    if (g != room)
        memcpy(room, g, (size_t)(n * fo_size_of(tensor->dtype)));
    for (int64_t k = first + 1; k < end; k++)
        fo_kernels()->add[tensor->dtype](
            room,
            fo_fetch(tile, place_of_values(tensor, k, tile), tensor->dtype, other), n);
    return room;
}

static void prefetch(const char *from, int64_t bytes)
{
    for (int64_t line = 0; line < MOST_LINES && line * CACHE_LINE < bytes; line++)
        FO_PREFETCH(from + line * CACHE_LINE);
}

void fo_rows_prefetch(const fo_tensor *tensor, int64_t j)
{
    if (j >= tensor->rows->n)
        return;
    const fo_layout *layout = tensor->layout;
    const int64_t length = fo_rows_length(tensor);
    const fo_offsets at = fo_rows_offsets(tensor, j);
    prefetch((const char *)tensor->param + at.param,
             length * fo_size_of(layout->param_dtype));
    const int64_t size = fo_size_of(layout->state_dtype);
    for (int k = 0; k < FO_MAX_STATES && tensor->state[k]; k++)
        prefetch((const char *)tensor->state[k] + at.own * size, length * size);
    const int64_t row_bytes = length * fo_size_of(layout->grad_dtype);
    prefetch((const char *)tensor->grad +
                 tensor->rows->order[tensor->rows->start[j]] * row_bytes,
             row_bytes);
}

/* Least significant digit first, 11 bits at a time: stable, so that what touches a row
 * stays in its order. */
enum { DIGIT = 11, BUCKETS = 1 << DIGIT };

int64_t fo_rows_sort(const int64_t *index, int64_t n, int64_t n_rows, int64_t *work,
                     fo_rows *out)
{
    int64_t *row = work, *start = row + n, *order = start + n + 1, *spare = order + n;
    int64_t count[BUCKETS];
    for (int64_t i = 0; i < n; i++) {
        if (index[i] < 0 || index[i] >= n_rows)
            return i;
        order[i] = i;
    }
    for (int shift = 0; (n_rows - 1) >> shift > 0; shift += DIGIT) {
        memset(count, 0, sizeof count);
        for (int64_t i = 0; i < n; i++)
            count[index[i] >> shift & (BUCKETS - 1)]++;
        int64_t before = 0;
        for (int d = 0; d < BUCKETS; d++) {
            const int64_t here = count[d];
            count[d] = before;
            before += here;
        }
        for (int64_t i = 0; i < n; i++)
            spare[count[index[order[i]] >> shift & (BUCKETS - 1)]++] = order[i];
        memcpy(order, spare, (size_t)n * sizeof *order);
    }
    int64_t n_unique = 0;
    for (int64_t i = 0; i < n; i++)
        if (i == 0 || index[order[i]] != row[n_unique - 1]) {
            start[n_unique] = i;
            row[n_unique++] = index[order[i]];
        }
    start[n_unique] = n;
    *out = (fo_rows){n_unique, row, start, order};
    return -1;
}
