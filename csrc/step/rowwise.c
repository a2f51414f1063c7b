/* See rowwise.h.
 *
 * A row is read in the C order of its elements however it lies, a tile at a time, so
 * that its sum of squares has the same bits in every layout. */
#include "rowwise.h"

#include "rows.h"

/* Elements from a place of the row on that lie at equal distances. */
typedef struct {
    int64_t at, stride, length;
} run;

static run run_at(const fo_layout *layout, const int64_t *strides, int64_t place)
{
    run found = {0, 0, 1};
    for (int k = 0; k < layout->n_axes; k++) {
        if (k == layout->row_axis || layout->shape[k] == 1)
            continue;
        const int64_t i = place / layout->index[k] % layout->shape[k];
        found.at += i * strides[k];
        if (layout->index[k] == 1) {
            found.stride = strides[k];
            found.length = layout->shape[k] - i;
        }
    }
    return found;
}

/* n reals from a place of the row on: where they lie, or loaded into `out`. */
static const void *fetch(const fo_layout *layout, const char *data,
                         const int64_t *strides, int64_t unit, fo_dtype dtype,
                         fo_dtype real, int64_t place, int64_t n, char *out)
{
    const int64_t size = fo_size_of(real);
    for (int64_t done = 0; done < n;) {
        const run r = run_at(layout, strides, place + done);
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

static void finish(const fo_recipe *recipe, const double *lanes, int64_t length,
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
    finish(recipe, lanes, length, state, of_row);
}

void fo_rowwise(const fo_tensor *tensor, const fo_recipe *recipe, int64_t j, void *room,
                void *other, void *param, fo_coef *of_row)
{
    const fo_layout *layout = tensor->layout;
    const fo_rows *rows = tensor->rows;
    const fo_dtype real = tensor->dtype;
    const int64_t length = fo_rows_length(tensor), size = fo_size_of(real);
    const fo_offsets at = fo_rows_offsets(tensor, j);
    double lanes[FO_LANES] = {0};
    for (int64_t place = 0; place < length; place += FO_TILE) {
        const int64_t n = length - place < FO_TILE ? length - place : FO_TILE;
        const char *first = values_of(tensor, rows->start[j]);
        const void *g = fetch(layout, first, layout->grad, 1, layout->grad_dtype, real,
                              place, n, room);
        for (int64_t k = rows->start[j] + 1; k < rows->start[j + 1]; k++) {
            fo_kernels()->add[real](room, g,
                                    fetch(layout, values_of(tensor, k), layout->grad, 1,
                                          layout->grad_dtype, real, place, n, other),
                                    n);
            g = room;
        }
        const void *w =
            tensor->master
                ? fetch(layout, (const char *)tensor->master + at.own * size,
                        layout->own, size, real, real, place, n, param)
                : fetch(layout, (const char *)tensor->param + at.param, layout->param,
                        1, layout->param_dtype, real, place, n, param);
        fo_kernels()->squares[real](lanes, w, g, n, &recipe->prologue);
    }
    finish(recipe, lanes, length, (char *)tensor->row_state + rows->row[j] * size,
           of_row);
}
