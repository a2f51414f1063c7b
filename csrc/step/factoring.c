/* How tensors with factored rules are cut into work items (factoring.h). */
#include "factoring.h"

/* ITEM: elements of a work item.  WIDE: the most columns of a tile that is not staged.
 * SEQUENCE: the most rows whose statistics are combined in sequence in a column.  A
 * tile whose columns, not rows, are contiguous has SQUARE rows and NARROW columns. */
enum { ITEM = 262144, WIDE = 2048, SEQUENCE = 256 };
enum { SQUARE = 16, NARROW = FO_TILE / SQUARE };

int64_t fo_factored_rows(const fo_factoring *f)
{
    return f->matrices * f->rows;
}

int64_t fo_factored_items(const fo_factoring *f)
{
    const int64_t units = f->matrices * f->units;
    return (units + f->item_units - 1) / f->item_units * f->col_items;
}

fo_factored_arrays fo_factored_arrays_of(const fo_plan *plan, const fo_factoring *f)
{
    fo_factored_arrays a;
    a.rows = plan->room + f->room;
    a.cols = a.rows + fo_factored_rows(f) * f->col_items;
    a.row = a.cols + f->matrices * f->units * f->cols;
    a.col = a.row + fo_factored_rows(f);
    a.sums = a.col + f->matrices * f->cols;
    return a;
}

static int64_t room_of(const fo_factoring *f)
{
    return fo_factored_rows(f) * (f->col_items + 1) +
           f->matrices * (f->units + 1) * f->cols + fo_factored_items(f) * FO_MAX_SUMS;
}

fo_axis fo_factored_axis(const fo_tensor *tensor, int k)
{
    return fo_axis_of(tensor->layout, tensor->factored->axis[k]);
}

/* Sets the axes: the last is `col`; adjacent others are merged, and the last of these
 * is `run`. */
static void set_axes(fo_factoring *f, const fo_tensor *tensor)
{
    const int n = tensor->layout->n_axes;
    f->n_axes = 0;
    f->run = (fo_axis){.length = 1}; /* strides of 0: never merged */
    f->col = n ? fo_factored_axis(tensor, n - 1) : f->run;
    for (int k = 0; k < n - 1; k++) {
        fo_axis axis = fo_factored_axis(tensor, k);
        if (axis.length == 1)
            continue;
        if (fo_can_merge(&f->run, &axis))
            axis.length *= f->run.length;
        else if (f->run.length > 1)
            f->axis[f->n_axes++] = f->run;
        f->run = axis;
    }
}

static int64_t at_least_1(int64_t n)
{
    return n > 1 ? n : 1;
}

/* Sets the shape of the matrices and of the items. */
static void set_shape(fo_factoring *f, const fo_tensor *tensor, int has_matrices)
{
    const int n = tensor->layout->n_axes;
    f->cols = f->col.length;
    f->rows = n > 1 && has_matrices ? fo_factored_axis(tensor, n - 2).length
                                    : tensor->size / f->cols;
    f->matrices = tensor->size / f->cols / f->rows;
    /* Columns of an item: a tile, or more if there are too few rows. */
    const int64_t wide = at_least_1(ITEM / WIDE / f->rows) * WIDE;
    f->item_cols = fo_min(f->cols, wide);
    f->col_items = (f->cols + f->item_cols - 1) / f->item_cols;
    f->unit_rows = fo_min(fo_min(f->rows, SEQUENCE), at_least_1(ITEM / f->item_cols));
    f->units = (f->rows + f->unit_rows - 1) / f->unit_rows;
    f->item_units = at_least_1(ITEM / (f->unit_rows * f->item_cols));
}

static int is_multiple(const fo_axis *axis, int64_t size)
{
    return axis->length == 1 || (axis->param % size == 0 && axis->grad % size == 0);
}

static void set_tiles(fo_factoring *f, const fo_tensor *tensor)
{
    const fo_layout *layout = tensor->layout;
    const fo_dtype real = tensor->dtype;
    const int64_t size = fo_size_of(real);
    const uintptr_t address = (uintptr_t)tensor->param | (uintptr_t)tensor->grad;
    const int is_adjacent = f->cols == 1 || (f->col.param == size &&
                                             f->col.grad == size && f->col.own == 1);
    f->is_direct = !tensor->master && !tensor->ema && layout->param_dtype == real &&
                   layout->grad_dtype == real && layout->state_dtype == real &&
                   is_adjacent && address % (uintptr_t)size == 0 &&
                   is_multiple(&f->run, size);
    for (int k = 0; k < f->n_axes; k++)
        f->is_direct &= is_multiple(&f->axis[k], size);
    const int transposed =
        f->run.length > 1 && (fo_is_nearer(f->run.param, f->col.param) ||
                              fo_is_nearer(f->run.grad, f->col.grad));
    const int64_t most = f->is_direct ? WIDE : FO_TILE;
    f->tile_cols = fo_min(f->cols, transposed ? NARROW : most);
    f->tile_rows = fo_min(
        FO_TALL, at_least_1((f->is_direct ? SQUARE * WIDE : FO_TILE) / f->tile_cols));
}

/* The number of the first row of a unit. */
static int64_t first_row(const fo_factoring *f, int64_t unit)
{
    return unit / f->units * f->rows + unit % f->units * f->unit_rows;
}

fo_factored_item fo_factored_item_of(const fo_factoring *f, int64_t number)
{
    const int64_t unit = number / f->col_items * f->item_units;
    const int64_t left = f->matrices * f->units - unit;
    const int64_t units = fo_min(f->item_units, left);
    const int64_t col = number % f->col_items * f->item_cols;
    return (fo_factored_item){number,
                              unit,
                              units,
                              {first_row(f, unit), first_row(f, unit + units)},
                              {col, fo_min(col + f->item_cols, f->cols)}};
}

fo_tile fo_factored_tile(const fo_factoring *f, int64_t row, int64_t n, int64_t col,
                         int64_t m)
{
    fo_tile tile = {.rows = n, .cols = m, .row = &f->run, .col = &f->col};
    int64_t number = row / f->run.length;
    fo_advance(&tile.at, &f->run, row % f->run.length);
    fo_advance(&tile.at, &f->col, col);
    for (int k = f->n_axes - 1; k >= 0; k--) {
        fo_advance(&tile.at, &f->axis[k], number % f->axis[k].length);
        number /= f->axis[k].length;
    }
    return tile;
}

int64_t fo_factored_tile_rows(const fo_factoring *f, const fo_factored_item *it,
                              int64_t row)
{
    const int64_t left = it->rows.end - row,
                  of_run = f->run.length - row % f->run.length;
    const int64_t n = fo_min(f->tile_rows, fo_min(left, of_run)), i = row % f->rows;
    if (f->units == 1)
        return n;
    return fo_min(n, fo_min(f->rows - i, f->unit_rows - i % f->unit_rows));
}

int64_t fo_factored_prepare(fo_plan *plan)
{
    int64_t n = 0, items = 0, room = 0;
    for (int64_t i = 0; i < plan->n_tensors; i++) {
        const fo_tensor *tensor = &plan->tensors[i];
        if (!tensor->grad || !tensor->factored || !tensor->size)
            continue;
        const fo_rule rule = plan->groups[tensor->group].rule;
        fo_factoring *f = &plan->factorings[i];
        set_axes(f, tensor);
        set_shape(f, tensor, fo_kernels()->factored[rule][tensor->dtype]->has_matrices);
        set_tiles(f, tensor);
        f->room = room;
        room += room_of(f);
        plan->factored_tensor[n] = i;
        plan->factored_item[n++] = items;
        items += fo_factored_items(f);
    }
    plan->n_factored = n;
    plan->factored_item[n] = items;
    return room;
}
