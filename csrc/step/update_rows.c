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
    fo_rowwise(tensor, recipe, j, scratch->tile[2], scratch->tile[1], scratch->tile[0],
               of_row);
    return of_row;
}

/* A tensor whose rows need no staging. */
typedef struct {
    const fo_rows *rows;
    const char *values;
    char *param, *state[FO_MAX_STATES];
    int64_t values_row, param_row, state_row; /* strides of rows, in bytes */
    int64_t size, length;                     /* bytes per element; elements per row */
} direct;

enum { CACHE_LINE = 64, MAX_LINES = 16 };

static FO_INLINE void prefetch(const void *from, int64_t bytes)
{
    for (int64_t at = 0; at < bytes && at < MAX_LINES * CACHE_LINE; at += CACHE_LINE)
        FO_PREFETCH((const char *)from + at);
}

/* Prefetches what the update of row j reads, except the first value of the row.  The
 * hardware prefetches the first values, because their addresses increase with j. */
static FO_INLINE void prefetch_row(const direct *d, int64_t j)
{
    const int64_t row = d->rows->row[j], bytes = d->length * d->size;
    prefetch(d->param + row * d->param_row, bytes);
    for (int k = 0; k < FO_MAX_STATES && d->state[k]; k++)
        prefetch(d->state[k] + row * d->state_row, bytes);
    for (int64_t k = d->rows->start[j] + 1; k < d->rows->start[j + 1]; k++)
        prefetch(d->values + d->rows->order[k] * d->values_row, bytes);
}

/* The prefetch distance.  A larger one exceeds the number of cache misses that a core
 * can have outstanding. */
enum { ROWS_AHEAD = 12 };

/* Updates rows in place: one call of the kernel per tile. */
static void update_direct_rows(const fo_step_context *s, int64_t i, fo_range rows,
                               fo_scratch *scratch)
{
    const fo_tensor *tensor = &s->plan->tensors[i];
    const fo_walk *walk = &s->plan->walks[i];
    const fo_recipe *recipe = &s->plan->recipes[s->plan->recipe_of[i]];
    const fo_layout *layout = tensor->layout;
    const int axis = layout->row_axis;
    const int64_t size = fo_size_of(tensor->dtype);
    const direct d = {
        .rows = tensor->rows,
        .values = tensor->grad,
        .param = tensor->param,
        .state = {tensor->state[0], tensor->state[1], tensor->state[2],
                  tensor->state[3]},
        .values_row = layout->grad[axis],
        .param_row = layout->param[axis],
        .state_row = layout->own[axis] * size,
        .size = size,
        .length = fo_rows_length(tensor),
    };
    for (int64_t j = rows.begin; j < rows.begin + ROWS_AHEAD && j < rows.end; j++)
        prefetch_row(&d, j);
    for (int64_t j = rows.begin; j < rows.end; j++) {
        if (j + ROWS_AHEAD < rows.end)
            prefetch_row(&d, j + ROWS_AHEAD);
        const int64_t row = d.rows->row[j], first = d.rows->start[j];
        const int is_sum = d.rows->start[j + 1] - first > 1;
        const char *values = d.values + d.rows->order[first] * d.values_row;
        char *param = d.param + row * d.param_row;
        fo_coef of_row;
        const fo_coef *rule = &of_row;
        if (tensor->row_state && !is_sum)
            fo_rowwise_direct(recipe, param, values, d.length,
                              (char *)tensor->row_state + row * size, &of_row);
        else
            rule = rule_of_row(tensor, recipe, j, scratch, &of_row);
        for (int64_t t = 0; t < walk->n_tiles; t++) {
            const int64_t at = t * FO_TILE, n = fo_min(d.length - at, FO_TILE);
            const void *g = values + at * size;
            if (is_sum) {
                const fo_tile tile = fo_walk_tile(walk, t, &(fo_offsets){0});
                g = fo_rows_gradient(tensor, j, &tile, scratch->tile[2],
                                     scratch->tile[1]);
            }
            void *state[FO_MAX_STATES];
            for (int k = 0; k < FO_MAX_STATES; k++)
                state[k] =
                    d.state[k] ? d.state[k] + row * d.state_row + at * size : NULL;
            recipe->update(param + at * size, g, state, n, rule, &recipe->prologue);
        }
    }
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
        update_direct_rows(s, i, rows, scratch);
        return;
    }
    const fo_recipe *recipe = &s->plan->recipes[s->plan->recipe_of[i]];
    for (int64_t j = rows.begin; j < rows.end; j++) {
        fo_coef of_row;
        const fo_coef *rule = rule_of_row(tensor, recipe, j, scratch, &of_row);
        const fo_offsets first = fo_rows_offsets(tensor, j);
        for (int64_t t = 0; t < walk->n_tiles; t++) {
            const fo_tile tile = fo_walk_tile(walk, t, &first);
            const void *g =
                fo_rows_gradient(tensor, j, &tile, scratch->tile[2], scratch->tile[1]);
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
            const fo_view view = fo_grad_view(tensor, &tile);
            fo_clear(&tile, &view);
        }
}
