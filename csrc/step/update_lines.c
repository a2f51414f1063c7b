/* Updates of lines: elements that have one stride in each array, such as those of a
 * chunk of a contiguous tensor (update.h).  Called by step.c for arrays of a dtype or
 * stride that kernels do not take.
 *
 * A line is staged, updated and written back in pieces so short that the CPU, which
 * has several hundred instructions in flight, converts the next piece while it divides
 * for this one.  What depends on the arrays alone is found once per line.  bfloat16
 * parameters with bfloat16 gradients are updated in place by a kernel for them. */
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
    int is_random;   /* whether it is rounded stochastically */
    uint64_t stream; /* of the random bits, if so */
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

/* Returns the number of states. */
static int find_strands(strands of, const fo_step_context *s, int64_t i,
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
    int n_states = 0;
    for (; n_states < FO_MAX_STATES && tensor->state[n_states]; n_states++) {
        strand *x = &of[STATE + n_states];
        const fo_view state =
            fo_own_view(tensor->state[n_states], tensor->layout->state_dtype, line);
        *x = strand_of(tensor, line, &state, scratch->tile[3 + n_states]);
        /* States of 16 bits, rounded to nearest, would stop changing. */
        randomise(x, s, i, 1 + n_states);
    }
    if (s->extras->stochastic) {
        randomise(&of[PARAM], s, i, 0);
        randomise(&of[COPY], s, i, 0);
    }
    return n_states;
}

/* Whether the kernel for bfloat16 applies: it takes the parameter and the gradient as
 * they are, and rounds to nearest. */
static int is_bf16(const strands of)
{
    for (int k = GRAD; k <= PARAM; k++)
        if (of[k].dtype != FO_BF16 || of[k].stride != sizeof(uint16_t) ||
            (uintptr_t)of[k].data % sizeof(uint16_t) || of[k].is_random)
            return 0;
    for (int k = STATE; k < N_STRANDS; k++)
        if (of[k].load)
            return 0;
    return !of[COPY].data && !of[AVERAGE].data;
}

static void update_bf16_strip(const void *context, const fo_arrays *strip, int64_t n)
{
    const fo_recipe *recipe = context;
    recipe->update_bf16(strip->param, strip->grad, strip->state, n, &recipe->rule,
                        &recipe->prologue);
}

static void update_in_place(const fo_step_context *s, const fo_recipe *recipe,
                            const strands of, int64_t n)
{
    const fo_sizes sizes = {sizeof(uint16_t), sizeof(float)};
    fo_arrays arrays = {.param = of[PARAM].data, .grad = of[GRAD].data};
    for (int k = 0; k < FO_MAX_STATES; k++)
        arrays.state[k] = of[STATE + k].data;
    fo_in_strips(&arrays, sizes, n, FO_FROM_CACHE_LINE, s->plan->prefetches,
                 update_bf16_strip, recipe);
}

static FO_INLINE void *load(const strand *of, const piece *p)
{
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

/* Prefetches the piece that begins at element `at`, if the array is contiguous.
 * Addresses after its end do no harm. */
static FO_INLINE void prefetch(const strand *of, int64_t at)
{
    enum { LINES = 4 };
    const int64_t size = of->stride;
    if (size <= 0 || size > (int64_t)sizeof(double))
        return;
    const char *from = of->data + at * size, *end = from + PIECE * size;
    for (; from < end; from += LINES * CACHE_LINE)
        for (int line = 0; line < LINES; line++)
            FO_PREFETCH(from + line * CACHE_LINE);
}

static FO_INLINE void update_piece(const fo_step_context *s, int64_t i,
                                   const strands of, int n_states, const piece *p)
{
    const fo_recipe *recipe = &s->plan->recipes[s->plan->recipe_of[i]];
    const int has_average = of[AVERAGE].data != NULL;
    void *w = load(&of[PARAM], p), *state[FO_MAX_STATES] = {NULL};
    for (int k = 0; k < n_states; k++)
        state[k] = load(&of[STATE + k], p);
    recipe->update(w, load(&of[GRAD], p), state, p->n, &recipe->rule,
                   &recipe->prologue);
    void *average = has_average ? load(&of[AVERAGE], p) : NULL;
    if (has_average && s->extras->lookahead_steps)
        fo_look_ahead(s, i, average, w, p->n);
    for (int k = 0; k < n_states; k++)
        store(&of[STATE + k], p, state[k]);
    store(&of[PARAM], p, w);
    store(&of[COPY], p, w);
    /* The average is of the parameter as stored, after rounding. */
    if (has_average && !s->extras->lookahead_steps)
        fo_kernels()->average[recipe->dtype](average, load(&of[PARAM], p), p->n,
                                             1.0 - s->extras->ema_decay);
    if (has_average)
        store(&of[AVERAGE], p, average);
}

void fo_update_line(const fo_step_context *s, int64_t i, const fo_tile *line,
                    fo_scratch *scratch)
{
    const fo_recipe *recipe = &s->plan->recipes[s->plan->recipe_of[i]];
    const int64_t n = line->cols, index_stride = line->col->index;
    strands of;
    const int n_states = find_strands(of, s, i, line, scratch);
    if (recipe->update_bf16 && is_bf16(of)) {
        update_in_place(s, recipe, of, n);
        return;
    }
    for (int64_t at = 0; at < n; at += PIECE) {
        const piece p = {at, fo_min(PIECE, n - at), line->at.index + at * index_stride,
                         index_stride};
        if (s->plan->prefetches && at + AHEAD < n)
            for (int k = 0; k < STATE + n_states; k++)
                prefetch(&of[k], at + AHEAD);
        update_piece(s, i, of, n_states, &p);
    }
}
