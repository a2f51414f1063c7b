/* The arrays of a tile during its update (staged.h). */
#include "staged.h"

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

int fo_averages(const fo_step_context *s, int64_t i)
{
    return s->plan->tensors[i].ema && !s->extras->lookahead_steps;
}

void fo_average(const fo_step_context *s, int64_t i, void *average, const void *w,
                int64_t n)
{
    fo_kernels()->average[s->plan->tensors[i].dtype](average, w, n,
                                                     1.0 - s->extras->ema_decay);
}

/* scratch: where the array is staged; NULL if it is only written, and therefore never
 * used in place. */
static void find(fo_staged_array *found, const fo_tile *tile, const fo_view *view,
                 fo_dtype real, void *scratch)
{
    const int is_direct = scratch && fo_is_direct(tile, view, real);
    found->view = *view;
    found->load = is_direct ? NULL : fo_kernels()->load[real][view->dtype];
    found->store = is_direct ? NULL : fo_kernels()->store[real][view->dtype];
    found->scratch = scratch;
    found->is_random = 0;
}

/* Rounds an array stochastically, if it has 16 bits.  number: as for fo_stream_of. */
static void randomise(fo_staged_array *of, const fo_step_context *s, int64_t i,
                      int number)
{
    if (of->view.data && of->store && fo_kernels()->store_stochastic[of->view.dtype]) {
        of->is_random = 1;
        of->stream = fo_stream_of(s->extras, i, number);
    }
}

void fo_find_arrays(fo_staged *staged, const fo_step_context *s, int64_t i,
                    const fo_tile *tile, fo_scratch *scratch)
{
    const fo_tensor *tensor = &s->plan->tensors[i];
    const fo_dtype real = tensor->dtype;
    const fo_view grad = fo_grad_view(tensor, tile),
                  param = fo_param_view(tensor, tile);
    fo_staged_array *of = staged->of;
    staged->tile = tile;
    staged->tensor = i;
    staged->real = real;
    staged->looks_ahead = fo_looks_ahead(s, i);
    find(&of[FO_GRAD], tile, &grad, real, scratch->tile[FO_GRAD]);
    of[FO_COPY].view.data = of[FO_AVERAGE].view.data = NULL;
    if (tensor->master) {
        const fo_view master = fo_own_view(tensor->master, real, tile);
        find(&of[FO_PARAM], tile, &master, real, scratch->tile[FO_PARAM]);
        find(&of[FO_COPY], tile, &param, real, NULL);
    } else {
        find(&of[FO_PARAM], tile, &param, real, scratch->tile[FO_PARAM]);
    }
    if (staged->looks_ahead || fo_averages(s, i)) {
        const fo_view average = fo_own_view(tensor->ema, real, tile);
        find(&of[FO_AVERAGE], tile, &average, real, scratch->tile[FO_AVERAGE]);
    }
    int k = 0;
    for (; k < FO_MAX_STATES && tensor->state[k] && !fo_is_blocked(tensor); k++) {
        fo_staged_array *x = &of[FO_STATE + k];
        const fo_view state =
            fo_own_view(tensor->state[k], tensor->layout->state_dtype, tile);
        find(x, tile, &state, real, scratch->tile[FO_STATE + k]);
        /* States of 16 bits, rounded to nearest, would stop changing. */
        randomise(x, s, i, 1 + k);
    }
    staged->n_states = k;
    for (; k < FO_MAX_STATES; k++)
        staged->state[k] = NULL;
    if (s->extras->stochastic) {
        randomise(&of[FO_PARAM], s, i, 0);
        randomise(&of[FO_COPY], s, i, 0);
    }
}

void fo_store_rows(const fo_staged *staged, const fo_staged_array *of, const void *from)
{
    const fo_tile *tile = staged->tile;
    const int64_t row = staged->n * fo_size_of(staged->real);
    for (int64_t r = 0; r < tile->rows; r++)
        fo_store_row(staged, of, of->view.data + r * of->view.row,
                     (const char *)from + r * row,
                     tile->at.index + r * tile->row->index);
}
