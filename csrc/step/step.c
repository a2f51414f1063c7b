/* fo_step: one optimizer step for all tensors of a plan; and fo_norm, its norm alone.
 *
 * It computes the norm of all gradients if an option needs it (reduce.c), then the
 * coefficients of each group in double, with the sums that some rules need (sums.c),
 * then updates all work items in one parallel region, then increments the step counts.
 * Chunks without a layout go straight to the kernel, tensors with factored rules
 * through factored.c, all others through update_runs.c, update_tiles.c, update_blocks.c
 * or update_rows.c. */
#include "factored.h"
#include "factoring.h"
#include "parallel.h"
#include "reduce.h"
#include "rows.h"
#include "sums.h"
#include "update.h"

static int needs_prologue(const fo_group *group, const fo_step_context *s)
{
    return group->maximize || group->weight_decay != 0 || s->scale != 1.0 ||
           s->extras->max_grad_value < INFINITY;
}

static int needs_epilogue(const fo_group *group)
{
    return group->l1 != 0 || group->is_bounded ||
           (group->decay == FO_DECAY_PROXIMAL && group->weight_decay != 0);
}

/* Whether the saved scalars of a group are shared by all tensors with its rule. */
static int is_shared(const fo_group *group)
{
    const fo_summation *sums = &fo_kernels()->sums[group->rule][FO_F32];
    return sums->n && sums->scope == FO_OF_ALL;
}

static int some_shared(const fo_plan *plan)
{
    for (int64_t i = 0; i < plan->n_groups; i++)
        if (is_shared(&plan->groups[i]))
            return 1;
    return 0;
}

/* Sets latest[rule], for each rule whose scalars are shared, to a tensor that has taken
 * the most steps.  The scalars of a tensor that was added later are not up to date. */
static void find_latest(const fo_plan *plan, const fo_tensor *latest[FO_N_RULES])
{
    memset(latest, 0, FO_N_RULES * sizeof *latest);
    for (int64_t i = 0; i < plan->n_tensors; i++) {
        const fo_tensor *tensor = &plan->tensors[i];
        const fo_group *group = &plan->groups[tensor->group];
        if (!is_shared(group) || !tensor->step || !tensor->saved)
            continue;
        const fo_tensor **found = &latest[group->rule];
        if (!*found || *tensor->step > *(*found)->step)
            *found = tensor;
    }
}

/* latest: the tensor whose saved scalars are read. */
static void prepare(const fo_step_context *s, const fo_tensor *tensor,
                    const fo_tensor *latest, fo_recipe *recipe)
{
    const fo_kernel_table *table = fo_kernels();
    const fo_group *group = &s->plan->groups[tensor->group];
    const fo_kernel *kernel = &table->rule[group->rule][tensor->dtype];

    recipe->group = tensor->group;
    recipe->dtype = tensor->dtype;
    recipe->t = *tensor->step + 1;
    recipe->row = table->row[group->rule][tensor->dtype];
    recipe->summation = &table->sums[group->rule][tensor->dtype];
    recipe->factored = table->factored[group->rule][tensor->dtype];
    recipe->totals = (fo_totals){{0}, 0};
    memcpy(recipe->saved_before, tensor->saved, sizeof recipe->saved_before);
    memcpy(recipe->saved_after, latest->saved, sizeof recipe->saved_after);
    double own[FO_MAX_HP];
    const double *hp =
        recipe->factored ? fo_factored_hp(tensor, group, own) : group->hp;
    kernel->prepare(hp, recipe->t, recipe->saved_after, &recipe->rule);
    const int after = needs_epilogue(group), around = needs_prologue(group, s);
    if (after || around || tensor->row_state || recipe->factored ||
        recipe->summation->n)
        table->prologue[tensor->dtype](group, group->hp[0], s->scale,
                                       s->extras->max_grad_value, &recipe->prologue);
    recipe->has_epilogue = after;
    recipe->update = after    ? kernel->with_epilogue
                     : around ? kernel->with_prologue
                              : kernel->plain;
    recipe->update_bf16 = after    ? NULL
                          : around ? kernel->with_prologue_bf16
                                   : kernel->plain_bf16;
}

static int matches(const fo_recipe *recipe, const fo_tensor *tensor)
{
    const int is_alone =
        recipe->summation->n && recipe->summation->scope == FO_OF_TENSOR;
    return !is_alone && !recipe->factored && recipe->group == tensor->group &&
           recipe->dtype == tensor->dtype && recipe->t == *tensor->step + 1 &&
           memcmp(recipe->saved_before, tensor->saved, sizeof recipe->saved_before) ==
               0;
}

/* Sets the recipe of every tensor that has a gradient.  A tensor shares the recipe of
 * the tensor before it if that recipe matches.  Returns the number of recipes. */
static int64_t prepare_all(const fo_step_context *s)
{
    fo_plan *plan = s->plan;
    const fo_tensor *latest[FO_N_RULES];
    const int are_shared = some_shared(plan);
    int64_t n_recipes = 0;
    if (are_shared)
        find_latest(plan, latest);
    for (int64_t i = 0; i < plan->n_tensors; i++) {
        const fo_tensor *tensor = &plan->tensors[i];
        if (!tensor->grad)
            continue;
        if (n_recipes == 0 || !matches(&plan->recipes[n_recipes - 1], tensor)) {
            const fo_tensor *found =
                are_shared ? latest[plan->groups[tensor->group].rule] : NULL;
            prepare(s, tensor, found ? found : tensor, &plan->recipes[n_recipes++]);
        }
        plan->recipe_of[i] = n_recipes - 1;
    }
    return n_recipes;
}

/* Estimated costs, as multiples of the cost of an element of a contiguous array: of an
 * element that may need staging, and of an element of a sparse row. */
enum { STAGED_COST = 2, ROW_COST = 8 };

/* An Adam step reads four numbers for each element and writes three. */
enum { MOVED_BY_ADAM = 7 };

/* The most threads of a step that costs serial_below; of one that costs twice as much,
 * twice as many.  More threads would take longer to wake than they save. */
enum { THREADS_AT_THRESHOLD = 16 };

/* The work of a step: elements, where one that may be staged counts as STAGED_COST
 * elements and one of a sparse row as ROW_COST; and the numbers that the rule reads or
 * writes for them.  Averages, masters and cleared gradients are not counted. */
typedef struct {
    int64_t elements, moved;
    int some_staged; /* whether any tensor may be staged */
} work_size;

static void add_tensor(work_size *total, const fo_plan *plan, const fo_tensor *tensor,
                       int64_t n)
{
    const fo_rule rule = plan->groups[tensor->group].rule;
    total->elements += n;
    total->moved += n * (3 + 2 * fo_rules[rule].n_states);
}

/* Prepares the walks of tensors that have a layout, and the work items.  Returns the
 * work of the step. */
static work_size prepare_walks(fo_plan *plan)
{
    work_size all = {0};
    int some_rows = 0;
    for (int64_t i = 0; i < plan->n_tensors; i++) {
        const fo_tensor *tensor = &plan->tensors[i];
        if (!tensor->grad)
            continue;
        if (!tensor->layout) {
            add_tensor(&all, plan, tensor, tensor->size);
            continue;
        }
        all.some_staged |= tensor->size > 0;
        if (tensor->size)
            fo_walk_prepare(&plan->walks[i], tensor->layout, tensor->dtype,
                            tensor->rows ? tensor->layout->row_axis : -1);
        some_rows |= tensor->rows != NULL;
        add_tensor(&all, plan, tensor,
                   tensor->rows ? ROW_COST * tensor->rows->n * fo_rows_length(tensor)
                                : STAGED_COST * tensor->size);
    }
    fo_plan_refresh(plan, some_rows);
    return all;
}

static void update_piece(const fo_step_context *s, int64_t i, const fo_tile *piece,
                         const void *g, fo_scratch *scratch)
{
    const fo_recipe *recipe = &s->plan->recipes[s->plan->recipe_of[i]];
    fo_update_tile(s, i, piece, g, &recipe->rule, scratch);
}

static void update_strip(const void *context, const fo_arrays *strip, int64_t n)
{
    const fo_recipe *recipe = context;
    recipe->update(strip->param, strip->grad, strip->state, n, &recipe->rule,
                   &recipe->prologue);
}

/* Sets the gradient of a chunk to zero. */
static void clear_chunk(const fo_plan *plan, const fo_chunk *chunk)
{
    const fo_tensor *tensor = &plan->tensors[chunk->tensor];
    if (!tensor->grad)
        return;
    if (!tensor->layout) {
        const int64_t size = fo_size_of(tensor->dtype);
        memset((char *)tensor->grad + chunk->begin * size, 0,
               (size_t)(chunk->length * size));
        return;
    }
    const fo_range tiles = fo_plan_tiles(plan, chunk);
    for (int64_t t = tiles.begin; t < tiles.end; t++) {
        const fo_tile tile =
            fo_walk_tile(&plan->walks[chunk->tensor], t, &(fo_offsets){0});
        fo_clear_grad(tensor, &tile);
    }
}

/* Updates the tiles of a chunk of a tensor with a layout. */
static void update_with_layout(const fo_step_context *s, const fo_chunk *chunk,
                               fo_scratch *scratch)
{
    const fo_walk *walk = &s->plan->walks[chunk->tensor];
    const fo_range tiles = fo_plan_tiles(s->plan, chunk);
    for (int64_t t = tiles.begin; t < tiles.end;) {
        fo_tile tile;
        t = fo_walk_next(walk, t, tiles.end, &tile);
        if (tile.rows == 1 && !walk->is_panel)
            fo_update_run(s, chunk->tensor, &tile, scratch);
        else
            fo_each_piece(s, chunk->tensor, &tile, scratch, update_piece);
    }
}

/* Updates a chunk of a tensor without a layout. */
static void update_contiguous(const fo_step_context *s, const fo_chunk *chunk)
{
    const int64_t i = chunk->tensor;
    const fo_tensor *tensor = &s->plan->tensors[i];
    const fo_arrays arrays = fo_chunk_arrays(tensor, chunk);
    const int64_t size = fo_size_of(tensor->dtype);
    fo_in_strips(&arrays, (fo_sizes){size, size}, chunk->length, FO_FROM_CACHE_LINE,
                 s->plan->prefetches, update_strip,
                 &s->plan->recipes[s->plan->recipe_of[i]]);
    if (!tensor->ema)
        return;
    void *average = (char *)tensor->ema + chunk->begin * size;
    if (fo_looks_ahead(s, i))
        fo_look_ahead(s, i, average, arrays.param, chunk->length);
    if (fo_averages(s, i))
        fo_average(s, i, average, arrays.param, chunk->length);
}

static void update_chunk(const fo_step_context *s, const fo_chunk *chunk,
                         fo_scratch *scratch)
{
    const fo_tensor *tensor = &s->plan->tensors[chunk->tensor];
    if (!tensor->grad || tensor->factored)
        return;
    if (fo_is_blocked(tensor)) {
        fo_update_blocks(s, chunk, scratch);
        return;
    }
    if (tensor->layout)
        update_with_layout(s, chunk, scratch);
    else
        update_contiguous(s, chunk);
    if (s->extras->zero_grads)
        clear_chunk(s->plan, chunk);
}

static void update_items(void *context, int64_t begin, int64_t end, int thread)
{
    const fo_step_context *s = context;
    fo_scratch *scratch = fo_scratch_of(s->plan, thread);
    for (int64_t i = begin; i < end; i++) {
        const fo_work work = fo_plan_work(s->plan, i);
        for (int64_t c = work.chunks.begin; c < work.chunks.end; c++)
            update_chunk(s, &s->plan->chunks[c], scratch);
        if (work.tensor < 0)
            continue;
        fo_update_rows(s, work.tensor, work.rows, scratch);
        if (s->extras->zero_grads)
            fo_clear_rows(s->plan, work.tensor, work.rows);
    }
}

static void clear_items(void *context, int64_t begin, int64_t end)
{
    const fo_plan *plan = context;
    for (int64_t i = begin; i < end; i++) {
        const fo_work work = fo_plan_work(plan, i);
        for (int64_t c = work.chunks.begin; c < work.chunks.end; c++)
            clear_chunk(plan, &plan->chunks[c]);
        if (work.tensor >= 0)
            fo_clear_rows(plan, work.tensor, work.rows);
    }
}

/* Returns the factor of clipping by norm, with the formula of
 * torch.nn.utils.clip_grad_norm_.  It is NaN if the norm is NaN. */
static double clip_factor(const fo_extras *extras, const fo_total *norm, double scale)
{
    /* If the norm overflows but root does not, divide in steps; 1e-6 is negligible. */
    const double clip = extras->grad_norm == INFINITY && norm->root < INFINITY
                            ? extras->max_grad_norm / norm->unit / norm->root / scale
                            : extras->max_grad_norm / (extras->grad_norm + 1e-6);
    return clip > 1.0 ? 1.0 : clip;
}

/* Returns the number of threads of a step that costs as much as an Adam step of so many
 * elements. */
static int threads_for(const fo_plan *plan, int64_t cost, int n_threads)
{
    if (cost < plan->serial_below)
        return 1;
    const int64_t per_thread = plan->serial_below / THREADS_AT_THRESHOLD + 1;
    n_threads = fo_threads_for(cost, per_thread, n_threads);
    return fo_threads_for(fo_plan_items(plan), 1, n_threads);
}

/* Prepares the work items of a step.  Returns the number of threads to use, or 0 if the
 * plan has too little scratch memory for them, or less room than is needed. */
static int prepare_items(fo_plan *plan, int64_t needed_room, int n_threads)
{
    const work_size all = prepare_walks(plan);
    plan->prefetches = all.elements >= FO_PREFETCHED;
    n_threads = threads_for(plan, all.moved / MOVED_BY_ADAM, n_threads);
    plan->threads = n_threads;
    plan->needed_room = needed_room;
    const int has_scratch = !all.some_staged || plan->n_scratch >= n_threads;
    return has_scratch && plan->n_room >= plan->needed_room ? n_threads : 0;
}

/* Computes the norm and the first nonfinite tensor, and reports both. */
static fo_total measure(const fo_step_context *s, fo_extras *extras, int n_threads)
{
    const fo_total norm = fo_reduce(s, n_threads);
    extras->nonfinite = norm.nonfinite;
    extras->grad_norm = norm.root * s->scale * norm.unit;
    return norm;
}

int fo_norm(fo_plan *plan, fo_extras *extras, int n_threads)
{
    const fo_step_context s = {plan, extras, 1.0 / extras->grad_scale};
    /* Without fo_factored_prepare, because the groups may not be set yet; the number of
     * threads is then that of a step with the first rule of rules.def. */
    n_threads = prepare_items(plan, 0, n_threads);
    if (!n_threads)
        return FO_NO_SCRATCH;
    measure(&s, extras, n_threads);
    return FO_TAKEN;
}

/* Increments the step counts, and stores the scalars that rules keep. */
static void count_step(const fo_plan *plan)
{
    for (int64_t i = 0; i < plan->n_tensors; i++) {
        const fo_tensor *tensor = &plan->tensors[i];
        if (!tensor->grad)
            continue;
        ++*tensor->step;
        memcpy(tensor->saved, plan->recipes[plan->recipe_of[i]].saved_after,
               FO_MAX_SAVED * sizeof *tensor->saved);
    }
}

/* Stores the scalars of the first recipe of each rule whose scalars are shared for the
 * tensors without a gradient, too. */
static void share_scalars(const fo_plan *plan, int64_t n_recipes)
{
    const double *shared[FO_N_RULES] = {NULL};
    for (int64_t r = n_recipes - 1; r >= 0; r--) {
        const fo_group *group = &plan->groups[plan->recipes[r].group];
        if (is_shared(group))
            shared[group->rule] = plan->recipes[r].saved_after;
    }
    for (int64_t i = 0; i < plan->n_tensors; i++) {
        const fo_tensor *tensor = &plan->tensors[i];
        const double *saved = shared[plan->groups[tensor->group].rule];
        if (!tensor->grad && saved && tensor->saved)
            memcpy(tensor->saved, saved, FO_MAX_SAVED * sizeof *saved);
    }
}

int fo_step(fo_plan *plan, fo_extras *extras, int n_threads)
{
    fo_step_context s = {plan, extras, 1.0 / extras->grad_scale};
    n_threads = prepare_items(plan, fo_factored_prepare(plan), n_threads);
    if (!n_threads)
        return FO_NO_SCRATCH;
    const int64_t n_items = fo_plan_items(plan);
    if (extras->norm_is_given || extras->needs_norm || extras->needs_finite) {
        fo_total norm = {.root = extras->given_norm, .nonfinite = extras->nonfinite};
        if (extras->norm_is_given)
            extras->grad_norm = extras->given_norm;
        else
            norm = measure(&s, extras, n_threads);
        const int is_finite =
            norm.nonfinite < 0 && (!extras->norm_is_given || isfinite(norm.root));
        if (extras->needs_finite && !is_finite) {
            if (extras->zero_grads && extras->clears_skipped)
                fo_parallel_for(n_items, 1, clear_items, plan, n_threads);
            return FO_NONFINITE;
        }
        if (extras->max_grad_norm < INFINITY) {
            extras->clip = clip_factor(extras, &norm, s.scale);
            s.scale *= extras->clip;
        }
    }
    const int64_t n_recipes = prepare_all(&s);
    fo_finish_recipes(&s, n_recipes, n_threads);
    fo_factored_step(&s, n_threads);
    fo_parallel_for_numbered(n_items, 1, update_items, &s, n_threads);
    count_step(plan);
    if (some_shared(plan))
        share_scalars(plan, n_recipes);
    return FO_TAKEN;
}
