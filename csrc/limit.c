/* The memory-bandwidth limit of a step: fo_limit of limit.h.
 *
 * It uses the same chunk size and the same parallel loop as fo_step, so that only the
 * arithmetic differs. */
#include "limit.h"

#include "kernels/kernels.h"
#include "parallel.h"

typedef struct {
    fo_move_fn *kernel;
    const char *g;
    char *arrays[1 + FO_MAX_STATES];
    int n_states;
    int64_t n_words, param_size, chunk;
} move_job;

static void move_chunks(void *context, int64_t first, int64_t last)
{
    const move_job *m = context;
    for (int64_t i = first; i < last; i++) {
        const int64_t begin = i * m->chunk, rest = m->n_words - begin;
        void *at[1 + FO_MAX_STATES] = {m->arrays[0] + begin * m->param_size};
        for (int k = 1; k <= m->n_states; k++)
            at[k] = m->arrays[k] + begin * 4;
        m->kernel(m->g + begin * m->param_size, at, rest < m->chunk ? rest : m->chunk);
    }
}

void fo_limit(fo_dtype dtype, const void *g, void *param,
              void *const state[FO_MAX_STATES], int n_states, int64_t n, int n_threads)
{
    const int64_t words = dtype == FO_F64 ? 2 : 1; /* 4-byte words per float64 */
    const int is_wide = dtype == FO_F32 || dtype == FO_F64;
    move_job m = {.kernel = fo_kernels()->move[is_wide][n_states],
                  .g = g,
                  .arrays = {param},
                  .n_states = n_states,
                  .n_words = n * words,
                  .param_size = is_wide ? 4 : 2,
                  .chunk = FO_CHUNK * words};
    for (int k = 0; k < n_states; k++)
        m.arrays[k + 1] = state[k];
    const int64_t n_chunks = (m.n_words + m.chunk - 1) / m.chunk;
    fo_parallel_for(n_chunks, 1, move_chunks, &m, n_threads);
}
