/* Updates of runs: elements that have one stride in each array, such as those of a
 * chunk of a contiguous tensor (update.h).  Called by step.c for arrays of a dtype or
 * stride that kernels do not take.
 *
 * A run is staged, updated and written back in pieces so short that the CPU, which has
 * several hundred instructions in flight, converts the next piece while it divides for
 * this one.  bfloat16 parameters with bfloat16 gradients are updated in place by a
 * kernel for them. */
#include "update.h"

/* Elements of a piece, and the distance in elements at which arrays are prefetched. */
enum { PIECE = 128, AHEAD = 4 * PIECE };
_Static_assert((int)PIECE <= (int)FO_TILE,
               "the scratch memory of a tile holds a piece");

/* Whether the kernel for bfloat16 applies: it takes the parameter and the gradient as
 * they are, and rounds to nearest. */
static int is_bf16(const fo_staged *staged)
{
    const fo_staged_array *of = staged->of;
    for (int k = FO_GRAD; k <= FO_PARAM; k++)
        if (of[k].view.dtype != FO_BF16 || of[k].view.col != sizeof(uint16_t) ||
            (uintptr_t)of[k].view.data % sizeof(uint16_t) || of[k].is_random)
            return 0;
    for (int k = 0; k < staged->n_states; k++)
        if (of[FO_STATE + k].load)
            return 0;
    return !of[FO_COPY].view.data && !of[FO_AVERAGE].view.data;
}

static void update_bf16_strip(const void *context, const fo_arrays *strip, int64_t n)
{
    const fo_recipe *recipe = context;
    recipe->update_bf16(strip->param, strip->grad, strip->state, n, &recipe->rule,
                        &recipe->prologue);
}

static void update_in_place(const fo_step_context *s, const fo_recipe *recipe,
                            const fo_staged *staged)
{
    const fo_sizes sizes = {sizeof(uint16_t), sizeof(float)};
    fo_arrays arrays = {.param = staged->of[FO_PARAM].view.data,
                        .grad = staged->of[FO_GRAD].view.data};
    for (int k = 0; k < staged->n_states; k++)
        arrays.state[k] = staged->of[FO_STATE + k].view.data;
    fo_in_strips(&arrays, sizes, staged->tile->cols, FO_FROM_CACHE_LINE,
                 s->plan->prefetches, update_bf16_strip, recipe);
}

/* Prefetches the piece that begins at element `at`, if the array has a positive stride
 * of at most 8 bytes.  Four lines a turn: with fo_prefetch, a step of 1e6 bfloat16
 * elements with float32 gradients takes 1.01 to 1.03 times as long. */
static FO_INLINE void prefetch_piece(const fo_staged_array *of, int64_t at)
{
    enum { LINES = 4 };
    const int64_t size = of->view.col;
    if (!of->view.data || size <= 0 || size > (int64_t)sizeof(double))
        return;
    const char *from = of->view.data + at * size, *end = from + PIECE * size;
    for (; from < end; from += LINES * FO_CACHE_LINE)
        for (int line = 0; line < LINES; line++)
            FO_PREFETCH(from + line * FO_CACHE_LINE);
}

void fo_update_run(const fo_step_context *s, int64_t i, const fo_tile *run,
                   fo_scratch *scratch)
{
    const fo_recipe *recipe = &s->plan->recipes[s->plan->recipe_of[i]];
    fo_staged staged;
    fo_find_arrays(&staged, s, i, run, scratch);
    if (recipe->update_bf16 && is_bf16(&staged)) {
        update_in_place(s, recipe, &staged);
        return;
    }
    for (int64_t at = 0; at < run->cols; at += PIECE) {
        const int64_t n = fo_min(PIECE, run->cols - at);
        if (s->plan->prefetches && at + AHEAD < run->cols) {
            for (int k = 0; k < FO_STATE + staged.n_states; k++)
                prefetch_piece(&staged.of[k], at + AHEAD);
            prefetch_piece(&staged.of[FO_COPY], at + AHEAD);
        }
        fo_load_arrays(&staged, at, n);
        recipe->update(staged.w, fo_load_array(&staged, FO_GRAD, at, n), staged.state,
                       n, &recipe->rule, &recipe->prologue);
        fo_finish_arrays(s, &staged);
    }
}
