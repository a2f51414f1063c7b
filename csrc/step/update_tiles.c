/* Updates of tiles that need staging: the arrays have gaps, another memory order or a
 * dtype that kernels do not take (update.h).  Called by step.c and update_rows.c. */
#include "update.h"

/* A separate stream of random bits for each seed, step, tensor and array of the tensor.
 * Each number is mixed in before the next: seed ^ step would give seeds 0 and 1 the
 * same streams at steps 1 and 0. */
uint64_t fo_stream_of(const fo_extras *extras, int64_t tensor, int array)
{
    const uint64_t numbers[] = {extras->seed, extras->step, (uint64_t)tensor,
                                (uint64_t)array};
    uint64_t x = 0;
    for (int i = 0; i < 4; i++) {
        x = (x ^ numbers[i]) + 0x9e3779b97f4a7c15;
        x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9;
        x = (x ^ x >> 27) * 0x94d049bb133111eb;
        x ^= x >> 31;
    }
    return x;
}

/* Writes back a tile of array number `array` of tensor i.  random: whether dtypes of 16
 * bits are rounded stochastically. */
static void write_back(const fo_step_context *s, int64_t i, int array,
                       const fo_tile *tile, const fo_view *view, const void *from,
                       int random)
{
    const int is_16_bit = view->dtype == FO_F16 || view->dtype == FO_BF16;
    const uint64_t stream = random && is_16_bit ? fo_stream_of(s->extras, i, array) : 0;
    fo_write_back(tile, view, s->plan->tensors[i].dtype, from,
                  random && is_16_bit ? &stream : NULL);
}

int fo_looks_ahead(const fo_step_context *s, int64_t i)
{
    const int64_t period = s->extras->lookahead_steps;
    return period && s->plan->tensors[i].ema &&
           s->plan->recipes[s->plan->recipe_of[i]].t % period == 0;
}

void fo_look_ahead(const fo_step_context *s, int64_t i, void *slow, void *w, int64_t n)
{
    const fo_dtype real = s->plan->tensors[i].dtype;
    const fo_group *group = &s->plan->groups[s->plan->tensors[i].group];
    fo_kernels()->average[real](slow, w, n, s->extras->lookahead_alpha);
    if (group->is_bounded)
        fo_kernels()->clip[real](slow, n, group->low, group->high);
    memcpy(w, slow, (size_t)(n * fo_size_of(real)));
}

void fo_stage_tile(const fo_tensor *tensor, const fo_tile *tile, fo_scratch *scratch,
                   fo_staged *staged)
{
    const fo_dtype real = tensor->dtype;
    staged->param = fo_param_view(tensor, tile);
    if (tensor->master)
        staged->master = fo_own_view(tensor->master, real, tile);
    staged->w = fo_stage(tile, tensor->master ? &staged->master : &staged->param, real,
                         scratch->tile[0]);
    for (int k = 0; k < FO_MAX_STATES; k++) {
        staged->state[k] = NULL;
        if (!tensor->state[k] || fo_is_blocked(tensor))
            continue;
        staged->view[k] =
            fo_own_view(tensor->state[k], tensor->layout->state_dtype, tile);
        staged->state[k] = fo_stage(tile, &staged->view[k], real, scratch->tile[3 + k]);
    }
}

void fo_update_tile(const fo_step_context *s, int64_t i, const fo_tile *tile,
                    const void *g, const fo_coef *rule, fo_scratch *scratch)
{
    const fo_tensor *tensor = &s->plan->tensors[i];
    const fo_recipe *recipe = &s->plan->recipes[s->plan->recipe_of[i]];
    fo_staged staged;
    fo_stage_tile(tensor, tile, scratch, &staged);
    recipe->update(staged.w, g, staged.state, tile->rows * tile->cols, rule,
                   &recipe->prologue);
    fo_finish_tile(s, i, tile, &staged, scratch);
}

void fo_finish_tile(const fo_step_context *s, int64_t i, const fo_tile *tile,
                    const fo_staged *staged, fo_scratch *scratch)
{
    const fo_tensor *tensor = &s->plan->tensors[i];
    const fo_dtype real = tensor->dtype;
    const int64_t n = tile->rows * tile->cols;
    const fo_view *main = tensor->master ? &staged->master : &staged->param;
    if (fo_looks_ahead(s, i)) {
        const fo_view average = fo_own_view(tensor->ema, real, tile);
        void *slow = fo_stage(tile, &average, real, scratch->tile[1]);
        fo_look_ahead(s, i, slow, staged->w, n);
        fo_write_back(tile, &average, real, slow, NULL);
    }
    const int random = s->extras->stochastic;
    /* States are always rounded stochastically: rounded to nearest, they would stop
     * changing. */
    for (int k = 0; k < FO_MAX_STATES && tensor->state[k] && !fo_is_blocked(tensor);
         k++)
        write_back(s, i, 1 + k, tile, &staged->view[k], staged->state[k], 1);
    write_back(s, i, 0, tile, main, staged->w, random);
    if (tensor->master)
        write_back(s, i, 0, tile, &staged->param, staged->w, random);
    if (tensor->ema && !s->extras->lookahead_steps) {
        const fo_view average = fo_own_view(tensor->ema, real, tile);
        void *ema = fo_stage(tile, &average, real, scratch->tile[1]);
        /* The average is of the parameter as stored, after rounding. */
        fo_kernels()->average[real](ema, fo_stage(tile, main, real, scratch->tile[0]),
                                    n, 1.0 - s->extras->ema_decay);
        fo_write_back(tile, &average, real, ema, NULL);
    }
}

/* The gradient of a panel is transposed, so it is staged all at once; the other arrays
 * are staged in pieces of one row. */
void fo_each_piece(const fo_step_context *s, int64_t i, const fo_tile *tile,
                   fo_scratch *scratch, fo_piece_fn *call)
{
    const fo_dtype real = s->plan->tensors[i].dtype;
    const fo_view grad = fo_grad_view(&s->plan->tensors[i], tile);
    if (!s->plan->walks[i].is_panel) {
        call(s, i, tile, fo_stage(tile, &grad, real, scratch->tile[2]), scratch);
        return;
    }
    const char *g = fo_stage(tile, &grad, real, scratch->panel);
    for (int64_t r = 0; r < tile->rows; r++)
        for (int64_t c = 0; c < tile->cols; c += FO_TILE) {
            const fo_tile piece = fo_tile_piece(tile, r, c);
            call(s, i, &piece, g + (r * tile->cols + c) * fo_size_of(real), scratch);
        }
}
