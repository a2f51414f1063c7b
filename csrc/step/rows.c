/* Access to the rows present in a row-sparse gradient (rows.h). */
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
