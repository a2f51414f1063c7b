/* Updates of tensors with factored rules (factored.h).
 *
 * Statistics of rows and columns are computed for blocks, and combined in the order of
 * the blocks.  A rule that needs the new statistics for its update has three passes
 * over the elements: statistics, terms of its sums, update; others have one.  Nothing
 * is written before the last pass, except states, once their statistics are complete.
 *
 * Elements are visited in C order whatever their strides, so results have equal bits in
 * every layout. */
#include "factored.h"

#include "factoring.h"

typedef enum { STATISTICS, TERMS, UPDATE } pass;

typedef struct {
    const fo_step_context *s;
    pass pass;
} job;

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
    b->g = fo_stage(tile, &grad, tensor->dtype, scratch->tile[FO_GRAD]);
    b->g_stride = tile->cols;
}

/* Points a block at staged copies of the arrays of a tile. */
static void set_staged(const fo_step_context *s, int64_t i, const fo_tile *tile,
                       fo_block *b, fo_staged *staged, fo_scratch *scratch)
{
    fo_stage_tile(staged, s, i, tile, scratch);
    set_gradient(&s->plan->tensors[i], tile, b, scratch);
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

/* Takes one pass over a tile of an item. */
static void visit_tile(const job *of, int64_t i, const fo_factored_item *it,
                       int64_t row, int64_t n, int64_t col, fo_lanes *lanes,
                       fo_scratch *scratch)
{
    fo_plan *plan = of->s->plan;
    const fo_tensor *tensor = &plan->tensors[i];
    const fo_factoring *f = &plan->factorings[i];
    const fo_recipe *recipe = &plan->recipes[plan->recipe_of[i]];
    const fo_factored_kernel *kernel = recipe->factored;
    const fo_factored_arrays a = fo_factored_arrays_of(plan, f);
    const int64_t size = fo_size_of(tensor->dtype);
    const int64_t matrix = row / f->rows, i_row = row % f->rows;
    const int64_t unit = matrix * f->units + i_row / f->unit_rows;
    const fo_tile tile =
        fo_factored_tile(f, row, n, col, fo_min(f->tile_cols, it->cols.end - col));
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
        set_staged(of->s, i, &tile, &block, &staged, scratch);
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
        fo_finish_arrays(of->s, &staged);
    if (of->s->extras->zero_grads)
        fo_clear_grad(tensor, &tile);
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
    const fo_factored_arrays a = fo_factored_arrays_of(plan, f);
    const fo_factored_item it = fo_factored_item_of(f, number);
    const int has_statistics =
        of->pass == STATISTICS || (of->pass == UPDATE && !kernel->add_terms);
    const int used = (int)fo_min(FO_LANES, it.cols.end - it.cols.begin);
    double *of_rows = a.rows + number % f->col_items * fo_factored_rows(f);
    /* The panel holds the lanes; the gradient is staged in a tile. */
    fo_lanes *lanes = (fo_lanes *)scratch->panel, sums[FO_MAX_SUMS] = {{0}};
    _Static_assert(FO_TALL * FO_MAX_SUMS * sizeof *lanes <= FO_PANEL,
                   "lanes of a tile");
    for (int64_t u = it.unit; u < it.unit + it.units && has_statistics; u++)
        memset(a.cols + u * f->cols + it.cols.begin, 0,
               (size_t)(it.cols.end - it.cols.begin) * sizeof *a.cols);
    for (int64_t n, row = it.rows.begin; row < it.rows.end; row += n) {
        n = fo_factored_tile_rows(f, &it, row);
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
    const fo_factored_arrays a = fo_factored_arrays_of(plan, f);
    for (int k = 0; k < tensor->layout->n_axes; k++)
        shape[k] = fo_factored_axis(tensor, k).length;
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
    const fo_factored_arrays a = fo_factored_arrays_of(plan, f);
    const int64_t rows = fo_factored_rows(f);
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
        const double *of_items = fo_factored_arrays_of(plan, f).sums;
        double sums[FO_MAX_SUMS] = {0};
        if (!recipe->factored->add_terms)
            continue;
        for (int64_t n = 0; n < fo_factored_items(f) * FO_MAX_SUMS; n++)
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
