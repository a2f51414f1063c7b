/* Access to the rows of a row-sparse gradient (rows.h), and fo_rows_group (fastopt.h),
 * which finds the distinct rows of an index array. */
#include "rows.h"

int64_t fo_rows_length(const fo_tensor *tensor)
{
    const int64_t rows = tensor->layout->shape[tensor->layout->row_axis];
    return rows ? tensor->size / rows : 0;
}

int64_t fo_rows_per_item(const fo_tensor *tensor)
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

static fo_view view_of_values(const fo_tensor *tensor, int64_t k, const fo_tile *tile)
{
    fo_view view = fo_grad_view(tensor, tile);
    view.data +=
        tensor->rows->order[k] * tensor->layout->grad[tensor->layout->row_axis];
    return view;
}

const void *fo_rows_gradient(const fo_tensor *tensor, int64_t j, const fo_tile *tile,
                             void *scratch, void *scratch2)
{
    const int64_t first = tensor->rows->start[j], end = tensor->rows->start[j + 1];
    const fo_view view = view_of_values(tensor, first, tile);
    const void *g = fo_stage(tile, &view, tensor->dtype, scratch);
    for (int64_t k = first + 1; k < end; k++) {
        const fo_view next = view_of_values(tensor, k, tile);
        fo_kernels()->add[tensor->dtype](scratch, g,
                                         fo_stage(tile, &next, tensor->dtype, scratch2),
                                         tile->rows * tile->cols);
        g = scratch;
    }
    return g;
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

/* fo_rows_group uses a hash table with open addressing.  Rows are numbered in order of
 * first occurrence, so that a step reads the values sequentially.  At most a quarter of
 * the table is in use, because probing costs more than memory. */
typedef struct {
    int64_t row, group; /* row + 1, or 0 if the entry is free; the number of the row */
} entry;

static int table_bits(int64_t n)
{
    int bits = 1;
    while ((int64_t)1 << bits < 4 * n)
        bits++;
    return bits;
}

/* Fibonacci hashing: the high bits differ for rows at regular distances. */
static uint64_t hash(int64_t row, int bits)
{
    return (uint64_t)row * 0x9e3779b97f4a7c15 >> (64 - bits);
}

int64_t fo_rows_work(int64_t n)
{
    return 4 * n + 1 + ((int64_t)2 << table_bits(n));
}

int64_t fo_rows_group(const int64_t *index, int64_t n, int64_t n_rows, int64_t *work,
                      fo_rows *out)
{
    const int bits = table_bits(n);
    const uint64_t last = ((uint64_t)1 << bits) - 1;
    int64_t *row = work, *start = row + n, *order = start + n + 1, *group = order + n;
    entry *table = (entry *)(group + n);
    memset(start, 0, (size_t)(n + 1) * sizeof *start);
    memset(table, 0, (last + 1) * sizeof *table);
    int64_t n_unique = 0;
    for (int64_t i = 0; i < n; i++) {
        if (index[i] < 0 || index[i] >= n_rows)
            return i;
        uint64_t at = hash(index[i], bits);
        while (table[at].row && table[at].row != index[i] + 1)
            at = (at + 1) & last;
        if (!table[at].row) {
            table[at] = (entry){index[i] + 1, n_unique};
            row[n_unique++] = index[i];
        }
        group[i] = table[at].group;
        start[group[i]]++;
    }
    /* Counting sort.  start[u], at first the number of values of row u, becomes the end
     * and then the start of its range in `order`. */
    for (int64_t u = 1; u <= n_unique; u++)
        start[u] += start[u - 1];
    for (int64_t i = n - 1; i >= 0; i--)
        order[--start[group[i]]] = i;
    *out = (fo_rows){n_unique, row, start, order, 0};
    return -1;
}
