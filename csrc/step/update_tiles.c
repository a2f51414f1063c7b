/* How a tile is updated whose arrays do not lie as a kernel takes them. */
#include "update.h"

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

/* Store a tile of a tensor's array; `random`: by random bits where bits are cut off. */
static void put(const fo_stepping *s, int64_t i, int array, const fo_tile *tile,
                const fo_place *place, const void *from, int random)
{
    const int cuts = place->dtype == FO_F16 || place->dtype == FO_BF16;
    const uint64_t stream = random && cuts ? stream_of(s->extras, i, array) : 0;
    fo_put(tile, place, s->plan->tensors[i].dtype, from,
           random && cuts ? &stream : NULL);
}

void fo_update_tile(const fo_stepping *s, int64_t i, const fo_tile *tile, const void *g,
                    const fo_coef *rule, fo_scratch *room)
{
    const fo_tensor *tensor = &s->plan->tensors[i];
    const fo_recipe *recipe = &s->plan->recipes[s->plan->recipe_of[i]];
    const fo_dtype real = tensor->dtype, state_dtype = tensor->layout->state_dtype;
    const int64_t n = tile->rows * tile->cols;

    const fo_place param = fo_place_of_param(tensor, tile);
    fo_place master;
    const fo_place *main = &param;
    if (tensor->master) {
        master = fo_place_of_own(tensor->master, real, tile);
        main = &master;
    }
    void *w = fo_fetch(tile, main, real, room->tile[0]), *state[FO_MAX_STATES] = {NULL};
    fo_place place[FO_MAX_STATES];
    for (int k = 0; k < FO_MAX_STATES && tensor->state[k]; k++) {
        place[k] = fo_place_of_own(tensor->state[k], state_dtype, tile);
        state[k] = fo_fetch(tile, &place[k], real, room->tile[3 + k]);
    }

    recipe->update(w, g, state, n, rule, &recipe->prologue);

    const int random = s->extras->stochastic;
    /* States at random whatever is asked for: to nearest, they would stall. */
    for (int k = 0; k < FO_MAX_STATES && tensor->state[k]; k++)
        put(s, i, 1 + k, tile, &place[k], state[k], 1);
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

int fo_update_bf16_tile(const fo_stepping *s, int64_t i, const fo_tile *tile)
{
    const fo_tensor *tensor = &s->plan->tensors[i];
    const fo_recipe *recipe = &s->plan->recipes[s->plan->recipe_of[i]];
    const fo_layout *layout = tensor->layout;
    const fo_place param = fo_place_of_param(tensor, tile);
    const fo_place grad = fo_place_of_grad(tensor, tile);
    if (!recipe->update_bf16 || s->extras->stochastic || tensor->master ||
        tensor->ema || !fo_is_ready(tile, &param, FO_BF16) ||
        !fo_is_ready(tile, &grad, FO_BF16))
        return 0;
    void *state[FO_MAX_STATES] = {NULL};
    for (int k = 0; k < FO_MAX_STATES && tensor->state[k]; k++) {
        const fo_place own =
            fo_place_of_own(tensor->state[k], layout->state_dtype, tile);
        if (!fo_is_ready(tile, &own, tensor->dtype))
            return 0;
        state[k] = own.data;
    }
    recipe->update_bf16(param.data, grad.data, state, tile->rows * tile->cols,
                        &recipe->rule, &recipe->prologue);
    return 1;
}

/* The gradient all at once, since it lies across; the rest piece by piece. */
void fo_update_panel(const fo_stepping *s, int64_t i, const fo_tile *panel,
                     const fo_place *grad, fo_scratch *room)
{
    const fo_dtype real = s->plan->tensors[i].dtype;
    const fo_coef *rule = &s->plan->recipes[s->plan->recipe_of[i]].rule;
    const char *g = fo_fetch(panel, grad, real, room->panel);
    for (int64_t r = 0; r < panel->rows; r++)
        for (int64_t c = 0; c < panel->cols; c += FO_TILE) {
            const fo_tile piece = fo_tile_piece(panel, r, c);
            fo_update_tile(s, i, &piece, g + (r * panel->cols + c) * fo_size_of(real),
                           rule, room);
        }
}
