/* The state and the coefficients of a row, for row-wise rules (rowwise.h).
 *
 * The elements of a row are read in C order whatever their strides, one tile at a time,
 * so that the sum of squares has the same bits in every layout. */
#include "rowwise.h"

#include "rows.h"

/* A part of a row with a constant stride: the offset of its first element in the row,
 * the stride, and the number of elements. */
typedef struct {
    int64_t at, stride, length;
} run;

/* The run that begins at element number `position` of a row, in C order. */
static run run_at(const fo_layout *layout, const int64_t *strides, int64_t position)
{
    run found = {0, 0, 1};
    for (int k = 0; k < layout->n_axes; k++) {
        if (k == layout->row_axis || layout->shape[k] == 1)
            continue;
        const int64_t i = position / layout->index[k] % layout->shape[k];
        found.at += i * strides[k];
        if (layout->index[k] == 1) {
            found.stride = strides[k];
            found.length = layout->shape[k] - i;
        }
    }
    return found;
}

/* Returns n elements of a row, beginning with element `position`, as contiguous reals:
 * a pointer into the array if possible, else a copy in `out`.  The strides are in units
 * of `unit` bytes. */
static const void *stage(const fo_layout *layout, const char *data,
                         const int64_t *strides, int64_t unit, fo_dtype dtype,
                         fo_dtype real, int64_t position, int64_t n, char *out)
{
    const int64_t size = fo_size_of(real);
    for (int64_t done = 0; done < n;) {
        const run r = run_at(layout, strides, position + done);
        const int64_t m = r.length < n - done ? r.length : n - done;
        const char *from = data + r.at * unit;
        if (m == n && dtype == real && (r.stride * unit == size || n == 1) &&
            (uintptr_t)from % (uintptr_t)size == 0)
            return from;
        fo_kernels()->load[real][dtype](out + done * size, from, r.stride * unit, m);
        done += m;
    }
    return out;
}

static const char *values_of(const fo_tensor *tensor, int64_t k)
{
    return (const char *)tensor->grad +
           tensor->rows->order[k] * tensor->layout->grad[tensor->layout->row_axis];
}

static void finish_row(const fo_recipe *recipe, const double *lanes, int64_t length,
                       void *state, fo_coef *of_row)
{
    double squares = 0.0;
    for (int lane = 0; lane < FO_LANES; lane++)
        squares += lanes[lane];
    recipe->row(squares / (double)length, state, &recipe->rule, of_row);
}

void fo_rowwise_direct(const fo_recipe *recipe, const void *w, const void *g,
                       int64_t length, void *state, fo_coef *of_row)
{
    double lanes[FO_LANES] = {0};
    fo_kernels()->squares[recipe->dtype](lanes, w, g, length, &recipe->prologue);
    finish_row(recipe, lanes, length, state, of_row);
}

void fo_rowwise(const fo_tensor *tensor, const fo_recipe *recipe, int64_t j,
                void *scratch, void *scratch2, void *param_scratch, fo_coef *of_row)
{
    const fo_layout *layout = tensor->layout;
    const fo_rows *rows = tensor->rows;
    const fo_dtype real = tensor->dtype;
    const int64_t length = fo_rows_length(tensor), size = fo_size_of(real);
    const fo_offsets at = fo_rows_offsets(tensor, j);
    double lanes[FO_LANES] = {0};
    for (int64_t position = 0; position < length; position += FO_TILE) {
        const int64_t n = length - position < FO_TILE ? length - position : FO_TILE;
        const char *first = values_of(tensor, rows->start[j]);
        const void *g = stage(layout, first, layout->grad, 1, layout->grad_dtype, real,
                              position, n, scratch);
        for (int64_t k = rows->start[j] + 1; k < rows->start[j + 1]; k++) {
            fo_kernels()->add[real](scratch, g,
                                    stage(layout, values_of(tensor, k), layout->grad, 1,
                                          layout->grad_dtype, real, position, n,
                                          scratch2),
                                    n);
            g = scratch;
        }
        const void *w =
            tensor->master
                ? stage(layout, (const char *)tensor->master + at.own * size,
                        layout->own, size, real, real, position, n, param_scratch)
                : stage(layout, (const char *)tensor->param + at.param, layout->param,
                        1, layout->param_dtype, real, position, n, param_scratch);
        fo_kernels()->squares[real](lanes, w, g, n, &recipe->prologue);
    }
    finish_row(recipe, lanes, length, (char *)tensor->row_state + rows->row[j] * size,
               of_row);
}
