/* One optimizer step: what the gradients' norm asks for, coefficients, then every piece
 * of every tensor through its kernel in one parallel region, then the counters. */
#include "parallel.h"
#include "plan.h"
#include "reduce.h"
#include "rows.h"
#include "rowwise.h"

const fo_rule_info fo_rules[FO_N_RULES] = {
#define FO_RULE(name, n_states, ...) {#name, n_states, #__VA_ARGS__},
#include "rules.def"
#undef FO_RULE
};

typedef struct {
    fo_plan *plan;
    const fo_extras *extras;
    double scale; /* of the gradients */
} stepping;

static int needs_prologue(const fo_group *group, const stepping *s)
{
    return group->maximize || group->weight_decay != 0 || s->scale != 1.0 ||
           s->extras->max_grad_value < INFINITY;
}

static void prepare(const stepping *s, const fo_tensor *tensor, fo_recipe *recipe)
{
    const fo_kernel_table *table = fo_kernels();
    const fo_group *group = &s->plan->groups[tensor->group];
    const fo_kernel *kernel = &table->rule[group->rule][tensor->dtype];

    recipe->group = tensor->group;
    recipe->dtype = tensor->dtype;
    recipe->t = *tensor->step + 1;
    recipe->saved_before = recipe->saved_after = *tensor->saved;
    kernel->prepare(group->hp, recipe->t, &recipe->saved_after, &recipe->rule);
    recipe->update = kernel->plain;
    recipe->row = table->row[tensor->dtype];
    if (tensor->row_state || needs_prologue(group, s)) {
        table->prologue[tensor->dtype](group, s->scale, s->extras->max_grad_value,
                                       &recipe->prologue);
        recipe->update = kernel->with_prologue;
    }
}

static int fits(const fo_recipe *recipe, const fo_tensor *tensor)
{
    return recipe->group == tensor->group && recipe->dtype == tensor->dtype &&
           recipe->t == *tensor->step + 1 && recipe->saved_before == *tensor->saved;
}

/* Gives every active tensor a recipe, the previous one's where it fits. */
static void prepare_all(const stepping *s)
{
    fo_plan *plan = s->plan;
    int64_t n_recipes = 0;
    for (int64_t i = 0; i < plan->n_tensors; i++) {
        const fo_tensor *tensor = &plan->tensors[i];
        if (!tensor->grad)
            continue;
        if (n_recipes == 0 || !fits(&plan->recipes[n_recipes - 1], tensor))
            prepare(s, tensor, &plan->recipes[n_recipes++]);
        plan->recipe_of[i] = n_recipes - 1;
    }
}

/* An element that is brought to where a kernel works is about as dear as so many
 * others; of a touched row, whose memory lies apart, as so many more. */
enum { STAGED_COST = 2, ROW_COST = 8 };

/* Prepares the walks of tensors that have a layout; returns the number of elements to
 * update. */
static int64_t survey(fo_plan *plan)
{
    int64_t active = 0;
    int some_rows = 0;
    for (int64_t i = 0; i < plan->n_tensors; i++) {
        const fo_tensor *tensor = &plan->tensors[i];
        if (!tensor->grad)
            continue;
        if (!tensor->layout) {
            active += tensor->size;
            continue;
        }
        if (tensor->size)
            fo_walk_prepare(&plan->walks[i], tensor->layout, tensor->dtype,
                            tensor->rows ? tensor->layout->row_axis : -1);
        some_rows |= tensor->rows != NULL;
        active += tensor->rows ? ROW_COST * tensor->rows->n * fo_rows_length(tensor)
                               : STAGED_COST * tensor->size;
    }
    fo_plan_fit(plan, some_rows);
    return active;
}

/* Random bits of their own for each step, tensor and array of it. */
static uint64_t stream_of(const fo_extras *extras, int64_t tensor, int array)
{
    const uint64_t numbers[] = {extras->step, (uint64_t)tensor, (uint64_t)array};
    uint64_t x = extras->seed;
    for (int i = 0; i < 3; i++) {
        x = (x ^ numbers[i]) + 0x9e3779b97f4a7c15;
        x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9;
        x = (x ^ x >> 27) * 0x94d049bb133111eb;
        x ^= x >> 31;
    }
    return x;
}

enum { ROOMS = FO_MAX_STATES + 3 };
typedef struct {
    _Alignas(64) unsigned char tile[ROOMS][FO_TILE * sizeof(double)];
    unsigned char panel[FO_PANEL];
} scratch;

/* Store a tile of a tensor's array, `random`: with random bits where bits are cut off.
 */
static void put(const stepping *s, int64_t i, int array, const fo_tile *tile,
                const fo_place *place, const void *from, int random)
{
    const int cuts = place->dtype == FO_F16 || place->dtype == FO_BF16;
    const uint64_t stream = random && cuts ? stream_of(s->extras, i, array) : 0;
    fo_put(tile, place, s->plan->tensors[i].dtype, from,
           random && cuts ? &stream : NULL);
}

/* Bring a tile to where the kernel works, update it, and put it back. */
static void update_tile(const stepping *s, int64_t i, const fo_tile *tile,
                        const void *g, const fo_coef *rule, scratch *room)
{
    const fo_tensor *tensor = &s->plan->tensors[i];
    const fo_recipe *recipe = &s->plan->recipes[s->plan->recipe_of[i]];
    const fo_dtype real = tensor->dtype, state_dtype = tensor->layout->state_dtype;
    const int64_t n = tile->rows * tile->cols;

    const fo_place param = fo_place_of_param(tensor, tile);
    const fo_place master = fo_place_of_own(tensor->master, real, tile);
    const fo_place *main = tensor->master ? &master : &param;
    void *w = fo_fetch(tile, main, real, room->tile[0]), *state[FO_MAX_STATES] = {NULL};
    fo_place place[FO_MAX_STATES];
    for (int k = 0; k < FO_MAX_STATES && tensor->state[k]; k++) {
        place[k] = fo_place_of_own(tensor->state[k], state_dtype, tile);
        state[k] = fo_fetch(tile, &place[k], real, room->tile[3 + k]);
    }

    recipe->update(w, g, state, n, rule, &recipe->prologue);

    const int random = s->extras->stochastic;
    for (int k = 0; k < FO_MAX_STATES && tensor->state[k]; k++)
        put(s, i, 1 + k, tile, &place[k], state[k],
            1); /* to nearest, they would stall */
    put(s, i, 0, tile, main, w, random);
    if (tensor->master)
        put(s, i, 0, tile, &param, w, random);
    if (tensor->ema) {
        const fo_place average = fo_place_of_own(tensor->ema, real, tile);
        void *ema = fo_fetch(tile, &average, real, room->tile[1]);
        /* What the parameter has become, rounded as it is. */
        fo_kernels()->average[real](ema, fo_fetch(tile, main, real, room->tile[0]), n,
                                    s->extras->ema_decay);
        fo_put(tile, &average, real, ema, NULL);
    }
}

/* The gradient all at once, since it lies across; the rest piece by piece. */
static void update_panel(const stepping *s, int64_t i, const fo_tile *panel,
                         const fo_place *grad, scratch *room)
{
    const fo_dtype real = s->plan->tensors[i].dtype;
    const fo_coef *rule = &s->plan->recipes[s->plan->recipe_of[i]].rule;
    const char *g = fo_fetch(panel, grad, real, room->panel);
    for (int64_t r = 0; r < panel->rows; r++)
        for (int64_t c = 0; c < panel->cols; c += FO_TILE) {
            const fo_tile piece = fo_tile_piece(panel, r, c);
            update_tile(s, i, &piece, g + (r * panel->cols + c) * fo_size_of(real),
                        rule, room);
        }
}

static void update_chunk(const stepping *s, const fo_chunk *chunk, scratch *room)
{
    const fo_plan *plan = s->plan;
    const int64_t i = chunk->tensor;
    const fo_tensor *tensor = &plan->tensors[i];
    if (!tensor->grad)
        return;
    if (tensor->layout) {
        const fo_range tiles = fo_plan_tiles(plan, chunk);
        for (int64_t t = tiles.begin; t < tiles.end; t++) {
            const fo_tile tile = fo_walk_tile(&plan->walks[i], t, &(fo_offsets){0});
            const fo_place place = fo_place_of_grad(tensor, &tile);
            if (plan->walks[i].is_panel)
                update_panel(s, i, &tile, &place, room);
            else
                update_tile(s, i, &tile,
                            fo_fetch(&tile, &place, tensor->dtype, room->tile[2]),
                            &plan->recipes[plan->recipe_of[i]].rule, room);
            if (s->extras->zero_grads)
                fo_clear(&tile, &place);
        }
        return;
    }
    const fo_recipe *recipe = &plan->recipes[plan->recipe_of[i]];
    const int64_t size = fo_size_of(tensor->dtype), offset = chunk->begin * size;
    void *state[FO_MAX_STATES], *w = (char *)tensor->param + offset;
    char *g = (char *)tensor->grad + offset;
    for (int k = 0; k < FO_MAX_STATES; k++)
        state[k] = tensor->state[k] ? (char *)tensor->state[k] + offset : NULL;
    recipe->update(w, g, state, chunk->length, &recipe->rule, &recipe->prologue);
    if (tensor->ema)
        fo_kernels()->average[tensor->dtype]((char *)tensor->ema + offset, w,
                                             chunk->length, s->extras->ema_decay);
    if (s->extras->zero_grads)
        memset(g, 0, (size_t)(chunk->length * size));
}

/* What row j's elements need: `own` where the row has coefficients of its own. */
static const fo_coef *rule_of_row(const stepping *s, int64_t i, int64_t j,
                                  scratch *room, fo_coef *own)
{
    const fo_tensor *tensor = &s->plan->tensors[i];
    const fo_recipe *recipe = &s->plan->recipes[s->plan->recipe_of[i]];
    if (!tensor->row_state)
        return &recipe->rule;
    *own = fo_rowwise(tensor, recipe, j, room->tile[2], room->tile[1], room->tile[0]);
    return own;
}

enum { ROWS_AHEAD = 8 }; /* whose memory is asked for */

/* Rows that need no staging: what is left is a call of the kernel for each. */
static void update_direct_rows(const stepping *s, int64_t i, fo_range rows,
                               scratch *room)
{
    const fo_tensor *tensor = &s->plan->tensors[i];
    const fo_recipe *recipe = &s->plan->recipes[s->plan->recipe_of[i]];
    const fo_rows *touched = tensor->rows;
    const int64_t size = fo_size_of(tensor->dtype), length = fo_rows_length(tensor);
    const int64_t bytes = length * size;
    const int axis = tensor->layout->row_axis;
    const int64_t param = tensor->layout->param[axis];
    const int64_t values = tensor->layout->grad[axis];
    const int64_t own = tensor->layout->own[axis] * size;
    int n_states = 0;
    while (n_states < FO_MAX_STATES && tensor->state[n_states])
        n_states++;
    for (int64_t j = rows.begin; j < rows.end; j++) {
        if (j + ROWS_AHEAD < rows.end) {
            const int64_t ahead = touched->row[j + ROWS_AHEAD];
            const int64_t first = touched->order[touched->start[j + ROWS_AHEAD]];
            fo_prefetch((char *)tensor->param + ahead * param, bytes);
            for (int k = 0; k < n_states; k++)
                fo_prefetch((char *)tensor->state[k] + ahead * own, bytes);
            fo_prefetch((const char *)tensor->grad + first * values, bytes);
        }
        const int64_t row = touched->row[j], begin = touched->start[j];
        const char *g = (const char *)tensor->grad + touched->order[begin] * values;
        const int64_t repeats = touched->start[j + 1] - begin;
        fo_coef of_row;
        const fo_coef *rule = rule_of_row(s, i, j, room, &of_row);
        const int64_t most = repeats > 1 && length > FO_TILE ? FO_TILE : length;
        for (int64_t at = 0; at < length; at += most) {
            const int64_t n = length - at < most ? length - at : most;
            const void *sum = g + at * size;
            if (repeats > 1) {
                memcpy(room->tile[2], sum, (size_t)(n * size));
                for (int64_t k = begin + 1; k < begin + repeats; k++)
                    fo_kernels()->add[tensor->dtype](room->tile[2],
                                                     (const char *)tensor->grad +
                                                         touched->order[k] * values +
                                                         at * size,
                                                     n);
                sum = room->tile[2];
            }
            void *state[FO_MAX_STATES] = {NULL};
            for (int k = 0; k < n_states; k++)
                state[k] = (char *)tensor->state[k] + row * own + at * size;
            recipe->update((char *)tensor->param + row * param + at * size, sum, state,
                           n, rule, &recipe->prologue);
        }
    }
}

static void update_rows(const stepping *s, int64_t i, fo_range rows, scratch *room)
{
    const fo_tensor *tensor = &s->plan->tensors[i];
    const fo_walk *walk = &s->plan->walks[i];
    if (fo_rows_are_direct(tensor, walk)) {
        update_direct_rows(s, i, rows, room);
        return;
    }
    for (int64_t j = rows.begin; j < rows.end; j++) {
        fo_coef of_row;
        const fo_coef *rule = rule_of_row(s, i, j, room, &of_row);
        const fo_offsets first = fo_rows_offsets(tensor, j);
        for (int64_t t = 0; t < walk->n_tiles; t++) {
            const fo_tile tile = fo_walk_tile(walk, t, &first);
            const void *g =
                fo_rows_fetch(tensor, j, &tile, room->tile[2], room->tile[1]);
            update_tile(s, i, &tile, g, rule, room);
        }
    }
}

static void clear_rows(const fo_plan *plan, int64_t i, fo_range rows)
{
    const fo_tensor *tensor = &plan->tensors[i];
    const fo_walk *walk = &plan->walks[i];
    if (!tensor->rows->clears)
        return;
    for (int64_t j = rows.begin; j < rows.end; j++)
        for (int64_t t = 0; t < walk->n_tiles; t++) {
            const fo_offsets row = {
                .grad = j * tensor->layout->grad[tensor->layout->row_axis]};
            const fo_tile tile = fo_walk_tile(walk, t, &row);
            const fo_place place = fo_place_of_grad(tensor, &tile);
            fo_clear(&tile, &place);
        }
}

static void update_items(void *context, int64_t begin, int64_t end)
{
    const stepping *s = context;
    scratch room;
    for (int64_t i = begin; i < end; i++) {
        const fo_work work = fo_plan_work(s->plan, i);
        for (int64_t c = work.chunks.begin; c < work.chunks.end; c++)
            update_chunk(s, &s->plan->chunks[c], &room);
        if (work.tensor >= 0)
            update_rows(s, work.tensor, work.rows, &room);
        if (work.tensor >= 0 && s->extras->zero_grads)
            clear_rows(s->plan, work.tensor, work.rows);
    }
}

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
        const fo_place place = fo_place_of_grad(tensor, &tile);
        fo_clear(&tile, &place);
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
            clear_rows(plan, work.tensor, work.rows);
    }
}

int fo_step(fo_plan *plan, fo_extras *extras, int n_threads)
{
    stepping s = {plan, extras, 1.0 / extras->grad_scale};
    const int64_t active = survey(plan), n_items = fo_plan_items(plan);
    if (active < plan->serial_below)
        n_threads = 1;
    if (extras->needs_norm || extras->needs_finite) {
        extras->grad_norm = fo_reduce(plan, n_threads, &extras->nonfinite) * s.scale;
        if (extras->needs_finite && extras->nonfinite >= 0) {
            if (extras->zero_grads && extras->clears_skipped)
                fo_parallel_for(n_items, 1, clear_items, plan, n_threads);
            return 1;
        }
        /* As torch.nn.utils.clip_grad_norm_; a NaN stays one. */
        const double clip = extras->max_grad_norm / (extras->grad_norm + 1e-6);
        if (extras->max_grad_norm < INFINITY)
            s.scale *= clip > 1.0 ? 1.0 : clip;
    }
    prepare_all(&s);
    fo_parallel_for(n_items, 1, update_items, &s, n_threads);
    for (int64_t i = 0; i < plan->n_tensors; i++) {
        const fo_tensor *tensor = &plan->tensors[i];
        if (tensor->grad) {
            ++*tensor->step;
            *tensor->saved = plan->recipes[plan->recipe_of[i]].saved_after;
        }
    }
    return 0;
}
