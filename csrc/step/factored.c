/* Updates of tensors with factored rules (factored.h).
 *
 * Statistics of rows and columns are computed for blocks, and combined in the order of
 * the blocks.  A rule that needs the new statistics for its update has three passes
 * over the elements: statistics, terms of its sums, update; others have one.  Nothing
 * is written before the last pass, except states, once their statistics are complete.
 *
 * Elements are visited in C order whatever their strides, so results have equal bits in
 * every layout; blocks depend on shapes alone. */
#include "factored.h"

/* ITEM: elements of a work item.  WIDE: the most columns of a tile that is not staged.
 * SEQUENCE: the most rows whose statistics are combined in sequence in a column.  TALL:
 * the most rows of a tile.  A tile whose columns, not rows, are contiguous has SQUARE
 * rows and NARROW columns. */
enum { ITEM = 262144, WIDE = 2048, SEQUENCE = 256, TALL = 64 };
enum { SQUARE = 16, NARROW = FO_TILE / SQUARE };

typedef enum { STATISTICS, TERMS, UPDATE } pass;

typedef struct {
    const fo_step_context *s;
    pass pass;
} job;

/* The arrays of a tensor in fo_plan.room. */
typedef struct {
    double *rows;      /* statistics: col_items arrays of all rows */
    double *cols;      /* statistics: an array for each unit */
    double *row, *col; /* factors */
    double *sums;      /* FO_MAX_SUMS for each item */
} arrays;

static int64_t all_rows(const fo_factoring *f)
{
    return f->matrices * f->rows;
}

static int64_t items_of(const fo_factoring *f)
{
    const int64_t units = f->matrices * f->units;
    return (units + f->item_units - 1) / f->item_units * f->col_items;
}

static arrays arrays_of(const fo_plan *plan, const fo_factoring *f)
{
    arrays a;
    a.rows = plan->room + f->room;
    a.cols = a.rows + all_rows(f) * f->col_items;
    a.row = a.cols + f->matrices * f->units * f->cols;
    a.col = a.row + all_rows(f);
    a.sums = a.col + f->matrices * f->cols;
    return a;
}

static int64_t room_of(const fo_factoring *f)
{
    return all_rows(f) * (f->col_items + 1) + f->matrices * (f->units + 1) * f->cols +
           items_of(f) * FO_MAX_SUMS;
}

/* Axis k of the parameter. */
static fo_axis axis_of(const fo_tensor *tensor, int k)
{
    return fo_axis_of(tensor->layout, tensor->factored->axis[k]);
}

/* Sets the axes: the last is `col`; adjacent others are merged, and the last of these
 * is `run`. */
static void set_axes(fo_factoring *f, const fo_tensor *tensor)
{
    const int n = tensor->layout->n_axes;
    f->n_axes = 0;
    f->run = (fo_axis){.length = 1};
    f->col = n ? axis_of(tensor, n - 1) : f->run;
    for (int k = 0; k < n - 1; k++) {
        fo_axis axis = axis_of(tensor, k);
        if (axis.length == 1)
            continue;
        if (f->run.length > 1 && fo_can_merge(&f->run, &axis))
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
    f->rows =
        n > 1 && has_matrices ? axis_of(tensor, n - 2).length : tensor->size / f->cols;
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
        TALL, at_least_1((f->is_direct ? SQUARE * WIDE : FO_TILE) / f->tile_cols));
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
        items += items_of(f);
    }
    plan->n_factored = n;
    plan->factored_item[n] = items;
    return room;
}

const double *fo_factored_hp(const fo_tensor *tensor, const fo_group *group, double *hp)
{
    static const double EPSILON[FO_N_DTYPES] = {
        [FO_F32] = 0x1p-23, [FO_F64] = 0x1p-52, [FO_F16] = 0x1p-10, [FO_BF16] = 0x1p-7};
    memcpy(hp, group->hp, sizeof group->hp);
    for (int k = 0; k < FO_MAX_HP; k++)
        if (isnan(hp[k]))
            hp[k] = EPSILON[tensor->layout->param_dtype];
    return hp;
}

/* The number of the first row of a unit. */
static int64_t first_row(const fo_factoring *f, int64_t unit)
{
    return unit / f->units * f->rows + unit % f->units * f->unit_rows;
}

/* The rows and columns of an item. */
typedef struct {
    int64_t number, unit, units;
    fo_range rows, cols;
} item;

static item item_of(const fo_factoring *f, int64_t number)
{
    const int64_t unit = number / f->col_items * f->item_units;
    const int64_t left = f->matrices * f->units - unit;
    const int64_t units = fo_min(f->item_units, left);
    const int64_t col = number % f->col_items * f->item_cols;
    return (item){number,
                  unit,
                  units,
                  {first_row(f, unit), first_row(f, unit + units)},
                  {col, fo_min(col + f->item_cols, f->cols)}};
}

/* The tile of n rows, from row number `row` on, and m columns. */
static fo_tile tile_at(const fo_factoring *f, int64_t row, int64_t n, int64_t col,
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

/* Points a block at the arrays of a tile. */
static void set_direct(const fo_tensor *tensor, const fo_tile *tile, fo_block *b)
{
    const int64_t size = fo_size_of(tensor->dtype);
    b->w = (char *)tensor->param + tile->at.param;
    b->g = (const char *)tensor->grad + tile->at.grad;
    b->w_stride = tile->row->param / size;
    b->g_stride = tile->row->grad / size;
    b->state_stride = tile->row->own;
    for (int k = 0; k < FO_MAX_STATES; k++)
        b->state[k] =
            tensor->state[k] ? (char *)tensor->state[k] + tile->at.own * size : NULL;
}

/* Points a block at a staged copy of the gradient of a tile. */
static void set_gradient(const fo_tensor *tensor, const fo_tile *tile, fo_block *b,
                         fo_scratch *scratch)
{
    const fo_view grad = fo_grad_view(tensor, tile);
    b->g = fo_stage(tile, &grad, tensor->dtype, scratch->tile[2]);
    b->g_stride = tile->cols;
}

/* Points a block at staged copies of the arrays of a tile. */
static void set_staged(const fo_tensor *tensor, const fo_tile *tile, fo_block *b,
                       fo_staged *staged, fo_scratch *scratch)
{
    fo_stage_tile(tensor, tile, scratch, staged);
    set_gradient(tensor, tile, b, scratch);
    b->w = staged->w;
    b->w_stride = b->state_stride = tile->cols;
    memcpy(b->state, staged->state, sizeof b->state);
}

/* Whether the gradient after the prologue depends on the parameter. */
static int needs_param(const fo_plan *plan, const fo_recipe *recipe)
{
    const fo_group *group = &plan->groups[recipe->group];
    return group->decay == FO_DECAY_COUPLED && group->weight_decay != 0;
}

static void clear_gradient(const fo_tensor *tensor, const fo_factoring *f,
                           const fo_tile *tile)
{
    const fo_view view = fo_grad_view(tensor, tile);
    if (!f->is_direct) {
        fo_clear(tile, &view);
        return;
    }
    for (int64_t r = 0; r < tile->rows; r++)
        memset(view.data + r * view.row, 0,
               (size_t)(tile->cols * fo_size_of(tensor->dtype)));
}

/* The number of rows of a tile of an item.  It ends with its unit, unless units are
 * whole matrices. */
static int64_t rows_of_tile(const fo_factoring *f, const item *it, int64_t row)
{
    const int64_t left = it->rows.end - row,
                  of_run = f->run.length - row % f->run.length;
    const int64_t n = fo_min(f->tile_rows, fo_min(left, of_run)), i = row % f->rows;
    if (f->units == 1)
        return n;
    return fo_min(n, fo_min(f->rows - i, f->unit_rows - i % f->unit_rows));
}

/* Takes one pass over a tile of an item. */
static void visit_tile(const job *of, int64_t i, const item *it, int64_t row, int64_t n,
                       int64_t col, fo_lanes *lanes, fo_scratch *scratch)
{
    fo_plan *plan = of->s->plan;
    const fo_tensor *tensor = &plan->tensors[i];
    const fo_factoring *f = &plan->factorings[i];
    const fo_recipe *recipe = &plan->recipes[plan->recipe_of[i]];
    const fo_factored_kernel *kernel = recipe->factored;
    const arrays a = arrays_of(plan, f);
    const int64_t size = fo_size_of(tensor->dtype);
    const int64_t matrix = row / f->rows, i_row = row % f->rows;
    const int64_t unit = matrix * f->units + i_row / f->unit_rows;
    const fo_tile tile =
        tile_at(f, row, n, col, fo_min(f->tile_cols, it->cols.end - col));
    fo_block block = {.rows = n,
                      .cols = tile.cols,
                      .rows_left = f->rows - i_row,
                      .matrix_rows = f->rows,
                      .row = (char *)a.row + row * size,
                      .col = (char *)a.col + (matrix * f->cols + col) * size,
                      .col_stride = f->cols};
    fo_staged staged;
    if (f->is_direct)
        set_direct(tensor, &tile, &block);
    else if (of->pass == STATISTICS && !needs_param(plan, recipe))
        set_gradient(tensor, &tile, &block, scratch);
    else
        set_staged(tensor, &tile, &block, &staged, scratch);
    if (of->pass == STATISTICS && !needs_param(plan, recipe)) {
        block.w = (void *)(uintptr_t)block.g; /* it is loaded, but not used */
        block.w_stride = block.g_stride;
    }
    if (of->pass == TERMS) {
        kernel->add_terms(&block, lanes, &recipe->rule, &recipe->prologue);
        return;
    }
    if (of->pass == STATISTICS || !kernel->add_terms)
        kernel->add_statistics(&block, lanes, a.cols + unit * f->cols + col,
                               &recipe->rule, &recipe->prologue);
    if (of->pass == STATISTICS)
        return;
    if (recipe->has_epilogue)
        kernel->update_with_epilogue(&block, &recipe->rule, &recipe->prologue);
    else
        kernel->update(&block, &recipe->rule, &recipe->prologue);
    if (!f->is_direct)
        fo_finish_tile(of->s, i, &tile, &staged, scratch);
    if (of->s->extras->zero_grads)
        clear_gradient(tensor, f, &tile);
}

static double total(const double *lanes, int n)
{
    double sum = 0.0;
    for (int lane = 0; lane < n; lane++)
        sum += lanes[lane];
    return sum;
}

static void visit_item(const job *of, int64_t i, int64_t number, fo_scratch *scratch)
{
    fo_plan *plan = of->s->plan;
    const fo_factoring *f = &plan->factorings[i];
    const fo_factored_kernel *kernel = plan->recipes[plan->recipe_of[i]].factored;
    const arrays a = arrays_of(plan, f);
    const item it = item_of(f, number);
    const int has_statistics =
        of->pass == STATISTICS || (of->pass == UPDATE && !kernel->add_terms);
    const int used = (int)fo_min(FO_LANES, it.cols.end - it.cols.begin);
    double *of_rows = a.rows + number % f->col_items * all_rows(f);
    /* The panel holds the lanes; the gradient is staged in a tile. */
    fo_lanes *lanes = (fo_lanes *)scratch->panel, sums[FO_MAX_SUMS] = {{0}};
    _Static_assert(TALL * FO_MAX_SUMS * sizeof *lanes <= FO_PANEL, "lanes of a tile");
    for (int64_t u = it.unit; u < it.unit + it.units && has_statistics; u++)
        memset(a.cols + u * f->cols + it.cols.begin, 0,
               (size_t)(it.cols.end - it.cols.begin) * sizeof *a.cols);
    for (int64_t n, row = it.rows.begin; row < it.rows.end; row += n) {
        n = rows_of_tile(f, &it, row);
        for (int64_t k = 0; k < n * FO_MAX_SUMS; k++)
            memset(lanes[k], 0, (size_t)used * sizeof lanes[k][0]);
        for (int64_t col = it.cols.begin; col < it.cols.end; col += f->tile_cols)
            visit_tile(of, i, &it, row, n, col, lanes, scratch);
        if (has_statistics)
            kernel->reduce(of_rows + row, lanes, n, used);
        for (int64_t k = 0; k < n * FO_MAX_SUMS && of->pass == TERMS; k++)
            sums[k % FO_MAX_SUMS][(row + k / FO_MAX_SUMS) % FO_LANES] +=
                total(lanes[k], used);
    }
    for (int k = 0; k < FO_MAX_SUMS; k++)
        a.sums[number * FO_MAX_SUMS + k] = total(sums[k], FO_LANES);
}

static void visit_items(void *context, int64_t begin, int64_t end, int thread)
{
    const job *of = context;
    const fo_plan *plan = of->s->plan;
    for (int64_t number = begin; number < end; number++) {
        int64_t low = 0, high = plan->n_factored - 1;
        while (low < high) { /* the last tensor whose first item is at most `number` */
            const int64_t middle = (low + high + 1) / 2;
            if (plan->factored_item[middle] <= number)
                low = middle;
            else
                high = middle - 1;
        }
        const int64_t i = plan->factored_tensor[low];
        const fo_recipe *recipe = &plan->recipes[plan->recipe_of[i]];
        if (of->pass == UPDATE || recipe->factored->add_terms)
            visit_item(of, i, number - plan->factored_item[low],
                       fo_scratch_of(plan, thread));
    }
}

/* The factors and statistics of tensor i, for the kernels that compute them. */
static fo_margins margins_of(const fo_plan *plan, int64_t i, int64_t *shape)
{
    const fo_tensor *tensor = &plan->tensors[i];
    const fo_factoring *f = &plan->factorings[i];
    const arrays a = arrays_of(plan, f);
    for (int k = 0; k < tensor->layout->n_axes; k++)
        shape[k] = axis_of(tensor, k).length;
    return (fo_margins){.n_axes = tensor->layout->n_axes,
                        .shape = shape,
                        .matrices = f->matrices,
                        .rows = f->rows,
                        .cols = f->cols,
                        .of_rows = a.rows,
                        .of_cols = a.cols,
                        .row = a.row,
                        .col = a.col,
                        .state = tensor->factored->state};
}

/* Combines the statistics of the blocks of a tensor, in order: those of rows into the
 * first array of rows; those of columns into one array for each matrix. */
static void combine(const fo_plan *plan, int64_t i, const fo_factored_kernel *kernel)
{
    const fo_factoring *f = &plan->factorings[i];
    const arrays a = arrays_of(plan, f);
    const int64_t rows = all_rows(f);
    for (int64_t k = 1; k < f->col_items; k++)
        kernel->combine(a.rows, a.rows + k * rows, rows);
    for (int64_t k = 0; k < f->matrices && f->units > 1; k++) {
        double *unit = a.cols + k * f->units * f->cols;
        for (int64_t u = 1; u < f->units; u++)
            kernel->combine(unit, unit + u * f->cols, f->cols);
        memmove(a.cols + k * f->cols, unit, (size_t)f->cols * sizeof *unit);
    }
}

static void compute_factors(void *context, int64_t begin, int64_t end)
{
    const fo_plan *plan = context;
    for (int64_t k = begin; k < end; k++) {
        const int64_t i = plan->factored_tensor[k];
        const fo_recipe *recipe = &plan->recipes[plan->recipe_of[i]];
        int64_t shape[FO_MAX_AXES];
        const fo_margins margins = margins_of(plan, i, shape);
        if (recipe->factored->before)
            recipe->factored->before(&margins, &recipe->rule);
    }
}

static void finish_statistics(void *context, int64_t begin, int64_t end)
{
    const job *of = context;
    const fo_plan *plan = of->s->plan;
    for (int64_t k = begin; k < end; k++) {
        const int64_t i = plan->factored_tensor[k];
        const fo_recipe *recipe = &plan->recipes[plan->recipe_of[i]];
        if ((of->pass == STATISTICS) != (recipe->factored->add_terms != NULL))
            continue;
        int64_t shape[FO_MAX_AXES];
        combine(plan, i, recipe->factored);
        const fo_margins margins = margins_of(plan, i, shape);
        recipe->factored->after(&margins, &recipe->rule);
    }
}

static void finish_terms(const fo_plan *plan)
{
    for (int64_t k = 0; k < plan->n_factored; k++) {
        const int64_t i = plan->factored_tensor[k];
        const fo_tensor *tensor = &plan->tensors[i];
        const fo_factoring *f = &plan->factorings[i];
        fo_recipe *recipe = &plan->recipes[plan->recipe_of[i]];
        const double *of_items = arrays_of(plan, f).sums;
        double sums[FO_MAX_SUMS] = {0};
        if (!recipe->factored->add_terms)
            continue;
        for (int64_t n = 0; n < items_of(f) * FO_MAX_SUMS; n++)
            sums[n % FO_MAX_SUMS] += of_items[n];
        recipe->factored->finish(sums, tensor->size, plan->groups[recipe->group].hp,
                                 recipe->saved_after, &recipe->rule);
    }
}

static int needs_terms(const fo_plan *plan)
{
    int needs = 0;
    for (int64_t k = 0; k < plan->n_factored; k++)
        needs |= plan->recipes[plan->recipe_of[plan->factored_tensor[k]]]
                     .factored->add_terms != NULL;
    return needs;
}

static void take(const fo_step_context *s, pass pass, int n_threads)
{
    const int64_t n = s->plan->n_factored;
    job of = {s, pass};
    fo_parallel_for_numbered(s->plan->factored_item[n], 1, visit_items, &of, n_threads);
    if (pass == TERMS)
        finish_terms(s->plan);
    else
        fo_parallel_for(n, 1, finish_statistics, &of, n_threads);
}

void fo_factored_step(const fo_step_context *s, int n_threads)
{
    if (!s->plan->n_factored)
        return;
    fo_parallel_for(s->plan->n_factored, 1, compute_factors, s->plan, n_threads);
    if (needs_terms(s->plan)) {
        take(s, STATISTICS, n_threads);
        take(s, TERMS, n_threads);
    }
    take(s, UPDATE, n_threads);
}
