/* Updates of the rows present in a row-sparse gradient (update.h), called by step.c.
 *
 * Rows whose arrays are contiguous are updated in place, with prefetching; all others
 * are staged.  Both give the same bits. */
#include "rows.h"
#include "rowwise.h"
#include "update.h"

/* Returns the coefficients for the elements of row j: those of the rule, or, for a
 * row-wise rule, those of the row, which are computed into *of_row. */
static const fo_coef *rule_of_row(const fo_tensor *tensor, const fo_recipe *recipe,
                                  int64_t j, fo_scratch *scratch, fo_coef *of_row)
{
    if (!tensor->row_state)
        return &recipe->rule;
    fo_rowwise(tensor, recipe, j, scratch->tile[FO_GRAD], scratch->tile[FO_AVERAGE],
               scratch->tile[FO_PARAM], of_row);
    return of_row;
}

/* A tensor whose rows need no staging. */
typedef struct {
    const fo_tensor *tensor;
    const fo_recipe *recipe;
    const fo_rows *rows;
    const char *values;
    char *param, *state[FO_MAX_STATES];
    int64_t values_row, param_row, state_row; /* strides of rows, in bytes */
    int64_t size, length;                     /* bytes per element; elements per row */
    int64_t prefetched;                       /* bytes of a row that are prefetched */
} direct;

static FO_INLINE const char *value_at(const direct *d, int64_t k)
{
    return d->values + d->rows->order[k] * d->values_row;
}

/* Prefetches what the update of row j reads, except the first value of the row.  The
 * hardware prefetches the first values, because their addresses increase with j. */
static FO_INLINE void prefetch_row(const direct *d, int64_t j)
{
    const int64_t row = d->rows->row[j], *start = d->rows->start + j;
    fo_prefetch(d->param + row * d->param_row, 0, d->prefetched);
    for (int k = 0; k < FO_MAX_STATES && d->state[k]; k++)
        fo_prefetch(d->state[k] + row * d->state_row, 0, d->prefetched);
    for (int64_t k = start[0] + 1; k < start[1]; k++)
        fo_prefetch(value_at(d, k), 0, d->prefetched);
}

/* The prefetch distance.  A larger one exceeds the number of cache misses that a core
 * can have outstanding. */
enum { ROWS_AHEAD = 12 };

/* Sets the states from byte `begin` of a row on. */
static FO_INLINE void point_at_states(const direct *d, int64_t row, int64_t begin,
                                      void *state[FO_MAX_STATES])
{
    for (int k = 0; k < FO_MAX_STATES && d->state[k]; k++)
        state[k] = d->state[k] + row * d->state_row + begin;
}

/* Updates a row whose gradient is the sum of several values: one call of the kernel per
 * tile. */
static FO_NOINLINE void update_sum(const direct *d, int64_t j, fo_scratch *scratch)
{
    const int64_t row = d->rows->row[j], *start = d->rows->start + j;
    fo_add_fn *add = fo_kernels()->add[d->tensor->dtype];
    fo_coef of_row;
    const fo_coef *rule = rule_of_row(d->tensor, d->recipe, j, scratch, &of_row);
    void *state[FO_MAX_STATES] = {NULL};
    for (int64_t at = 0; at < d->length; at += FO_TILE) {
        const int64_t n = fo_min(d->length - at, FO_TILE), begin = at * d->size;
        const void *g = value_at(d, start[0]) + begin;
        for (int64_t k = start[0] + 1; k < start[1]; k++) {
            add(scratch->tile[FO_GRAD], g, value_at(d, k) + begin, n);
            g = scratch->tile[FO_GRAD];
        }
        point_at_states(d, row, begin, state);
        d->recipe->update(d->param + row * d->param_row + begin, g, state, n, rule,
                          &d->recipe->prologue);
    }
}

/* Updates rows in place: one call of the kernel for each row that has one value. */
static void update_direct_rows(const direct *d, fo_range range, fo_scratch *scratch)
{
    const fo_rows *rows = d->rows;
    const fo_recipe *recipe = d->recipe;
    char *row_state = d->tensor->row_state;
    const fo_coef *rule = &recipe->rule;
    void *state[FO_MAX_STATES] = {NULL};
    fo_coef of_row;
    for (int64_t j = range.begin; j < range.begin + ROWS_AHEAD && j < range.end; j++)
        prefetch_row(d, j);
    for (int64_t j = range.begin; j < range.end; j++) {
        if (j + ROWS_AHEAD < range.end)
            prefetch_row(d, j + ROWS_AHEAD);
        const int64_t row = rows->row[j], first = rows->start[j];
        if (rows->start[j + 1] - first > 1) {
            update_sum(d, j, scratch);
            continue;
        }
        char *param = d->param + row * d->param_row;
        const char *g = value_at(d, first);
        if (row_state) {
            fo_rowwise_direct(recipe, param, g, d->length, row_state + row * d->size,
                              &of_row);
            rule = &of_row;
        }
        point_at_states(d, row, 0, state);
        recipe->update(param, g, state, d->length, rule, &recipe->prologue);
    }
}

static direct direct_of(const fo_step_context *s, int64_t i)
{
    const fo_tensor *tensor = &s->plan->tensors[i];
    const fo_layout *layout = tensor->layout;
    const int axis = layout->row_axis;
    const int64_t size = fo_size_of(tensor->dtype), length = fo_rows_length(tensor);
    return (direct){
        .tensor = tensor,
        .recipe = &s->plan->recipes[s->plan->recipe_of[i]],
        .rows = tensor->rows,
        .values = tensor->grad,
        .param = tensor->param,
        .state = {tensor->state[0], tensor->state[1], tensor->state[2],
                  tensor->state[3]},
        .values_row = layout->grad[axis],
        .param_row = layout->param[axis],
        .state_row = layout->own[axis] * size,
        .size = size,
        .length = length,
        .prefetched = fo_min(length * size, 16 * FO_CACHE_LINE),
    };
}

void fo_update_rows(const fo_step_context *s, int64_t i, fo_range rows,
                    fo_scratch *scratch)
{
    const fo_tensor *tensor = &s->plan->tensors[i];
    const fo_walk *walk = &s->plan->walks[i];
    if (fo_is_blocked(tensor)) {
        fo_update_rows_in_blocks(s, i, rows, scratch);
        return;
    }
    if (fo_rows_are_direct(tensor, walk)) {
        const direct d = direct_of(s, i);
        update_direct_rows(&d, rows, scratch);
        return;
    }
    const fo_recipe *recipe = &s->plan->recipes[s->plan->recipe_of[i]];
    for (int64_t j = rows.begin; j < rows.end; j++) {
        fo_coef of_row;
        const fo_coef *rule = rule_of_row(tensor, recipe, j, scratch, &of_row);
        const fo_offsets first = fo_rows_offsets(tensor, j);
        for (int64_t t = 0; t < walk->n_tiles; t++) {
            const fo_tile tile = fo_walk_tile(walk, t, &first);
            const void *g = fo_rows_gradient(tensor, j, &tile, scratch->tile[FO_GRAD],
                                             scratch->tile[FO_AVERAGE]);
            fo_update_tile(s, i, &tile, g, rule, scratch);
        }
    }
}

void fo_clear_rows(const fo_plan *plan, int64_t i, fo_range rows)
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
            fo_clear_grad(tensor, &tile);
        }
}
