/* The memory-bandwidth limit of a step: fo_limit of limit.h.
 *
 * It uses the same chunks, prefetches and parallel loop as fo_step, so that only the
 * arithmetic and the order of loads and stores differ. */
#include "limit.h"

#include "kernels/kernels.h"
#include "parallel.h"
#include "step/stage.h"
#include "step/strips.h"

enum { TILE = 1024 }; /* words per tile of FO_ONE_BY_ONE: a tile of g stays in L1 */

typedef struct {
    fo_move_fn *kernel, *state_kernel; /* state_kernel: for FO_ONE_BY_ONE, else NULL */
    fo_arrays arrays;
    fo_sizes sizes;
    int64_t n_words, chunk;
} move_job;

static void move_strip(const void *context, const fo_arrays *strip, int64_t n)
{
    const move_job *m = context;
    void *at[1 + FO_MAX_STATES] = {strip->param};
    memcpy(at + 1, strip->state, sizeof strip->state);
    m->kernel(strip->grad, at, n);
    for (int k = 0; m->state_kernel && k < FO_MAX_STATES && strip->state[k]; k++) {
        at[1] = strip->state[k];
        m->state_kernel(strip->grad, at, n);
    }
}

static void move_chunks(void *context, int64_t first, int64_t last)
{
    const move_job *m = context;
    const int64_t tile = m->state_kernel ? TILE : m->chunk;
    const int64_t end = fo_min(last * m->chunk, m->n_words);
    for (int64_t begin = first * m->chunk; begin < end; begin += tile) {
        const fo_arrays arrays = fo_arrays_from(&m->arrays, m->sizes, begin);
        fo_in_strips(&arrays, m->sizes, fo_min(tile, end - begin), FO_FROM_CACHE_LINE,
                     m->n_words >= FO_PREFETCHED, move_strip, m);
    }
}

void fo_limit(fo_dtype dtype, fo_loop loop, const void *g, void *param,
              void *const state[FO_MAX_STATES], int n_states, int64_t n, int n_threads)
{
    const int64_t words = dtype == FO_F64 ? 2 : 1; /* 4-byte words per float64 */
    const int is_wide = dtype == FO_F32 || dtype == FO_F64;
    const fo_kernel_table *table = fo_kernels();
    move_job m = {.kernel = table->move[is_wide][n_states],
                  .arrays = {.param = param, .grad = (void *)g},
                  .sizes = {is_wide ? 4 : 2, 4},
                  .n_words = n * words,
                  .chunk = FO_CHUNK * words};
    if (loop == FO_LOAD_FIRST)
        m.kernel = table->move_first[is_wide][n_states];
    else if (loop == FO_ONE_BY_ONE) {
        m.kernel = table->move[is_wide][0];
        m.state_kernel = table->move_one[is_wide];
    }
    for (int k = 0; k < n_states; k++)
        m.arrays.state[k] = state[k];
    const int64_t n_chunks = (m.n_words + m.chunk - 1) / m.chunk;
    fo_parallel_for(n_chunks, 1, move_chunks, &m, n_threads);
}
