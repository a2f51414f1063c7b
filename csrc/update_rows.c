/* How the rows that a gradient touches are updated. */
#include "rows.h"
#include "rowwise.h"
#include "update.h"

/* What row j's elements need: `own` where the row has coefficients of its own. */
static const fo_coef *rule_of_row(const fo_stepping *s, int64_t i, int64_t j,
                                  fo_scratch *room, fo_coef *own)
{
    const fo_tensor *tensor = &s->plan->tensors[i];
    const fo_recipe *recipe = &s->plan->recipes[s->plan->recipe_of[i]];
    if (!tensor->row_state)
        return &recipe->rule;
    *own = fo_rowwise(tensor, recipe, j, room->tile[2], room->tile[1], room->tile[0]);
    return own;
}

/* Rows whose memory is asked for at once, before those before them are updated.  One
 * by one they would wait for each other: a page's address takes as long to find as the
 * memory to come. */
enum { ROWS_AHEAD = 4 };

static void ask_for_rows(const fo_tensor *tensor, fo_range rows)
{
    const fo_rows *touched = tensor->rows;
    const fo_layout *layout = tensor->layout;
    const int axis = layout->row_axis;
    const int64_t size = fo_size_of(tensor->dtype);
    const int64_t bytes = fo_rows_length(tensor) * size;
    const char *param = tensor->param, *values = tensor->grad;
    for (int64_t j = rows.begin; j < rows.end; j++)
        fo_prefetch(param + touched->row[j] * layout->param[axis], bytes);
    for (int k = 0; k < FO_MAX_STATES && tensor->state[k]; k++) {
        const char *state = tensor->state[k];
        for (int64_t j = rows.begin; j < rows.end; j++)
            fo_prefetch(state + touched->row[j] * layout->own[axis] * size, bytes);
    }
    for (int64_t j = rows.begin; j < rows.end; j++)
        fo_prefetch(values + touched->order[touched->start[j]] * layout->grad[axis],
                    bytes);
}

/* Rows that need no staging: what is left is a call of the kernel for each tile. */
static void update_direct_rows(const fo_stepping *s, int64_t i, fo_range rows,
                               fo_scratch *room)
{
    const fo_tensor *tensor = &s->plan->tensors[i];
    const fo_walk *walk = &s->plan->walks[i];
    const fo_recipe *recipe = &s->plan->recipes[s->plan->recipe_of[i]];
    const fo_rows *touched = tensor->rows;
    const fo_layout *layout = tensor->layout;
    const int axis = layout->row_axis;
    const int64_t size = fo_size_of(tensor->dtype), length = fo_rows_length(tensor);
    for (int64_t j = rows.begin; j < rows.end; j++) {
        if ((j - rows.begin) % ROWS_AHEAD == 0)
            ask_for_rows(tensor, (fo_range){j == rows.begin ? j : j + ROWS_AHEAD,
                                            fo_least(j + 2 * ROWS_AHEAD, rows.end)});
        const int64_t row = touched->row[j], first = touched->start[j];
        const int is_sum = touched->start[j + 1] - first > 1;
        const int64_t values = touched->order[first] * layout->grad[axis];
        fo_coef of_row;
        const fo_coef *rule = rule_of_row(s, i, j, room, &of_row);
        for (int64_t t = 0; t < walk->n_tiles; t++) {
            const int64_t at = t * FO_TILE, n = fo_least(length - at, FO_TILE);
            const void *g = (const char *)tensor->grad + values + at * size;
            if (is_sum) {
                const fo_tile tile = fo_walk_tile(walk, t, &(fo_offsets){0});
                g = fo_rows_fetch(tensor, j, &tile, room->tile[2], room->tile[1]);
            }
            void *state[FO_MAX_STATES];
            for (int k = 0; k < FO_MAX_STATES; k++)
                state[k] = tensor->state[k] ? (char *)tensor->state[k] +
                                                  (row * layout->own[axis] + at) * size
                                            : NULL;
            recipe->update((char *)tensor->param + row * layout->param[axis] +
                               at * size,
                           g, state, n, rule, &recipe->prologue);
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
    for (int64_t j = rows.begin; j < rows.end; j++) {
        fo_coef of_row;
        const fo_coef *rule = rule_of_row(s, i, j, room, &of_row);
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
