/* How the rows that a gradient touches are updated. */
#include "rows.h"
#include "rowwise.h"
#include "update.h"

/* What row j's elements need: `own` where the row has coefficients of its own. */
static const fo_coef *rule_of_row(const fo_tensor *tensor, const fo_recipe *recipe,
                                  int64_t j, fo_scratch *room, fo_coef *own)
{
    if (!tensor->row_state)
        return &recipe->rule;
    fo_rowwise(tensor, recipe, j, room->tile[2], room->tile[1], room->tile[0], own);
    return own;
}

/* Rows of one tensor that need no staging. */
typedef struct {
    const fo_rows *touched;
    const char *values;
    char *param, *state[FO_MAX_STATES];
    int64_t values_row, param_row, state_row; /* bytes from one to the next */
    int64_t size, length;                     /* bytes of an element; elements */
} direct;

enum { CACHE_LINE = 64, MOST_LINES = 16 };

static FO_INLINE void ask_for(const void *from, int64_t bytes)
{
    for (int64_t at = 0; at < bytes && at < MOST_LINES * CACHE_LINE; at += CACHE_LINE)
        FO_PREFETCH((const char *)from + at);
}

/* Ask for what row j's update will read, but for values that lie one after the other:
 * the hardware asks for those. */
static FO_INLINE void ask_for_row(const direct *d, int64_t j)
{
    const int64_t row = d->touched->row[j], bytes = d->length * d->size;
    ask_for(d->param + row * d->param_row, bytes);
    for (int k = 0; k < FO_MAX_STATES && d->state[k]; k++)
        ask_for(d->state[k] + row * d->state_row, bytes);
    for (int64_t k = d->touched->start[j] + 1; k < d->touched->start[j + 1]; k++)
        ask_for(d->values + d->touched->order[k] * d->values_row, bytes);
}

/* More would be asked for than one core can wait for at a time. */
enum { ROWS_AHEAD = 12 };

/* What is left of their update is a call of the kernel for each tile. */
static void update_direct_rows(const fo_stepping *s, int64_t i, fo_range rows,
                               fo_scratch *room)
{
    const fo_tensor *tensor = &s->plan->tensors[i];
    const fo_walk *walk = &s->plan->walks[i];
    const fo_recipe *recipe = &s->plan->recipes[s->plan->recipe_of[i]];
    const fo_layout *layout = tensor->layout;
    const int axis = layout->row_axis;
    const int64_t size = fo_size_of(tensor->dtype);
    const direct d = {
        .touched = tensor->rows,
        .values = tensor->grad,
        .param = tensor->param,
        .state = {tensor->state[0], tensor->state[1], tensor->state[2]},
        .values_row = layout->grad[axis],
        .param_row = layout->param[axis],
        .state_row = layout->own[axis] * size,
        .size = size,
        .length = fo_rows_length(tensor),
    };
    for (int64_t j = rows.begin; j < rows.begin + ROWS_AHEAD && j < rows.end; j++)
        ask_for_row(&d, j);
    for (int64_t j = rows.begin; j < rows.end; j++) {
        if (j + ROWS_AHEAD < rows.end)
            ask_for_row(&d, j + ROWS_AHEAD);
        const int64_t row = d.touched->row[j], first = d.touched->start[j];
        const int is_sum = d.touched->start[j + 1] - first > 1;
        const char *values = d.values + d.touched->order[first] * d.values_row;
        char *param = d.param + row * d.param_row;
        fo_coef of_row;
        const fo_coef *rule = &of_row;
        if (tensor->row_state && !is_sum)
            fo_rowwise_direct(recipe, param, values, d.length,
                              (char *)tensor->row_state + row * size, &of_row);
        else
            rule = rule_of_row(tensor, recipe, j, room, &of_row);
        for (int64_t t = 0; t < walk->n_tiles; t++) {
            const int64_t at = t * FO_TILE, n = fo_least(d.length - at, FO_TILE);
            const void *g = values + at * size;
            if (is_sum) {
                const fo_tile tile = fo_walk_tile(walk, t, &(fo_offsets){0});
                g = fo_rows_fetch(tensor, j, &tile, room->tile[2], room->tile[1]);
            }
            void *state[FO_MAX_STATES];
            for (int k = 0; k < FO_MAX_STATES; k++)
                state[k] =
                    d.state[k] ? d.state[k] + row * d.state_row + at * size : NULL;
            recipe->update(param + at * size, g, state, n, rule, &recipe->prologue);
        }
    }
}

void fo_update_rows(const fo_stepping *s, int64_t i, fo_range rows, fo_scratch *room)
{
    const fo_tensor *tensor = &s->plan->tensors[i];
    const fo_walk *walk = &s->plan->walks[i];
    if (fo_rows_are_direct(tensor, walk)) {
        update_direct_rows(s, i, rows, room);
        return;
    }
    const fo_recipe *recipe = &s->plan->recipes[s->plan->recipe_of[i]];
    for (int64_t j = rows.begin; j < rows.end; j++) {
        fo_coef of_row;
        const fo_coef *rule = rule_of_row(tensor, recipe, j, room, &of_row);
        const fo_offsets first = fo_rows_offsets(tensor, j);
        for (int64_t t = 0; t < walk->n_tiles; t++) {
            const fo_tile tile = fo_walk_tile(walk, t, &first);
            const void *g =
                fo_rows_fetch(tensor, j, &tile, room->tile[2], room->tile[1]);
            fo_update_tile(s, i, &tile, g, rule, room);
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
            const fo_place place = fo_place_of_grad(tensor, &tile);
            fo_clear(&tile, &place);
        }
}
