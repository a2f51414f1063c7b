/* Updates of lines: elements that have one stride in each array, such as those of a
 * chunk of a contiguous tensor (update.h).  Called by step.c for arrays of a dtype or
 * stride that kernels do not take.
 *
 * A line is staged, updated and written back in pieces so short that the CPU, which
 * has several hundred instructions in flight, converts the next piece while it divides
 * for this one.  What depends on the arrays alone is found once per line. */
#include "update.h"

/* Elements of a piece, and the distance in elements at which arrays are prefetched. */
enum { PIECE = 128, AHEAD = 4 * PIECE, CACHE_LINE = 64 };
_Static_assert((int)PIECE <= (int)FO_TILE,
               "the scratch memory of a tile holds a piece");

/* An array along a line. */
typedef struct {
    char *data;     /* NULL: the tensor has no such array */
    int64_t stride; /* in bytes */
    fo_dtype dtype;
    fo_load_fn *load; /* load and store are NULL if kernels use the array in place */
    fo_store_fn *store;
    void *scratch;
    int is_random;   /* whether it is rounded stochastically, with the random bits of */
    uint64_t stream; /* this stream */
} strand;

/* The arrays of a tensor along a line; the states are from STATE on. */
enum { GRAD, PARAM, COPY, AVERAGE, STATE, N_STRANDS = STATE + FO_MAX_STATES };
typedef strand strands[N_STRANDS];

/* n elements of a line, from element `at` on; `index` is the number of the first in a
 * stream of random bits. */
typedef struct {
    int64_t at, n, index, index_stride;
} piece;

/* scratch: where the array is staged; NULL if it is written only, so that it is not
 * used in place. */
static strand strand_of(const fo_tensor *tensor, const fo_tile *line,
                        const fo_view *view, void *scratch)
{
    const fo_kernel_table *table = fo_kernels();
    strand found = {.data = view->data,
                    .stride = view->col,
                    .dtype = view->dtype,
                    .scratch = scratch};
    if (!scratch || !fo_is_direct(line, view, tensor->dtype)) {
        found.load = table->load[tensor->dtype][view->dtype];
        found.store = table->store[tensor->dtype][view->dtype];
    }
    return found;
}

/* Rounds an array stochastically, if it has 16 bits.  array: its number, as for
 * fo_stream_of. */
static void randomise(strand *of, const fo_step_context *s, int64_t i, int array)
{
    if (of->store && fo_kernels()->store_stochastic[of->dtype]) {
        of->is_random = 1;
        of->stream = fo_stream_of(s->extras, i, array);
    }
}

static void find_strands(strands of, const fo_step_context *s, int64_t i,
                         const fo_tile *line, fo_scratch *scratch)
{
    const fo_tensor *tensor = &s->plan->tensors[i];
    const fo_view grad = fo_grad_view(tensor, line),
                  param = fo_param_view(tensor, line);
    memset(of, 0, sizeof(strands));
    of[GRAD] = strand_of(tensor, line, &grad, scratch->tile[2]);
    if (tensor->master) {
        const fo_view master = fo_own_view(tensor->master, tensor->dtype, line);
        of[PARAM] = strand_of(tensor, line, &master, scratch->tile[0]);
        of[COPY] = strand_of(tensor, line, &param, NULL);
    } else {
        of[PARAM] = strand_of(tensor, line, &param, scratch->tile[0]);
    }
    if (tensor->ema && (fo_looks_ahead(s, i) || !s->extras->lookahead_steps)) {
        const fo_view average = fo_own_view(tensor->ema, tensor->dtype, line);
        of[AVERAGE] = strand_of(tensor, line, &average, scratch->tile[1]);
    }
    for (int k = 0; k < FO_MAX_STATES && tensor->state[k]; k++) {
        const fo_view state =
            fo_own_view(tensor->state[k], tensor->layout->state_dtype, line);
        of[STATE + k] = strand_of(tensor, line, &state, scratch->tile[3 + k]);
        /* States of 16 bits, rounded to nearest, would stop changing. */
        randomise(&of[STATE + k], s, i, 1 + k);
    }
    if (s->extras->stochastic) {
        randomise(&of[PARAM], s, i, 0);
        randomise(&of[COPY], s, i, 0);
    }
}

static FO_INLINE void *load(const strand *of, const piece *p)
{
    if (!of->data)
        return NULL;
    char *data = of->data + p->at * of->stride;
    if (!of->load)
        return data;
    of->load(of->scratch, data, of->stride, p->n);
    return of->scratch;
}

static FO_INLINE void store(const strand *of, const piece *p, const void *x)
{
    if (!of->store)
        return;
    char *data = of->data + p->at * of->stride;
    if (of->is_random)
        fo_store_stochastic(data, of->stride, of->dtype, x, p->n, of->stream,
                            (uint64_t)p->index, (uint64_t)p->index_stride);
    else
        of->store(data, of->stride, x, p->n);
}

static FO_INLINE void prefetch(const strand *of, int64_t begin, int64_t end)
{
    const int64_t step = of->stride < CACHE_LINE ? CACHE_LINE : of->stride;
    for (int64_t byte = begin * of->stride; byte < end * of->stride; byte += step)
        FO_PREFETCH(of->data + byte);
}

static FO_INLINE void update_piece(const fo_step_context *s, int64_t i,
                                   const strands of, const piece *p)
{
    const fo_recipe *recipe = &s->plan->recipes[s->plan->recipe_of[i]];
    void *w = load(&of[PARAM], p), *average = load(&of[AVERAGE], p);
    void *state[FO_MAX_STATES];
    for (int k = 0; k < FO_MAX_STATES; k++)
        state[k] = load(&of[STATE + k], p);
    recipe->update(w, load(&of[GRAD], p), state, p->n, &recipe->rule,
                   &recipe->prologue);
    if (average && s->extras->lookahead_steps)
        fo_look_ahead(s, recipe->dtype, average, w, p->n);
    for (int k = 0; k < FO_MAX_STATES; k++)
        store(&of[STATE + k], p, state[k]);
    store(&of[PARAM], p, w);
    store(&of[COPY], p, w);
    /* The average is of the parameter as stored, after rounding. */
    if (average && !s->extras->lookahead_steps)
        fo_kernels()->average[recipe->dtype](average, load(&of[PARAM], p), p->n,
                                             1.0 - s->extras->ema_decay);
    store(&of[AVERAGE], p, average);
}

void fo_update_line(const fo_step_context *s, int64_t i, const fo_tile *line,
                    fo_scratch *scratch)
{
    strands of;
    find_strands(of, s, i, line, scratch);
    const int64_t n = line->cols, index_stride = line->col->index;
    for (int64_t at = 0; at < n; at += PIECE) {
        const piece p = {at, fo_min(PIECE, n - at), line->at.index + at * index_stride,
                         index_stride};
        for (int k = 0; k < N_STRANDS && s->plan->prefetches; k++)
            prefetch(&of[k], fo_min(at + AHEAD, n), fo_min(at + AHEAD + PIECE, n));
        update_piece(s, i, of, &p);
    }
}
