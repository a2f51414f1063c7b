/* The memory-bandwidth limit of a step: fo_limit of limit.h.
 *
 * It uses the same chunk size and the same parallel loop as fo_step, so that only the
 * arithmetic and the order of loads and stores differ. */
#include "limit.h"

#include "kernels/kernels.h"
#include "parallel.h"

enum { TILE = 1024 }; /* words per tile of FO_ONE_BY_ONE: a tile of g stays in L1 */

typedef struct {
    fo_move_fn *kernel, *state_kernel; /* state_kernel: for FO_ONE_BY_ONE, else NULL */
    const char *g;
    char *arrays[1 + FO_MAX_STATES];
    int n_states;
    int64_t n_words, param_size, chunk;
} move_job;

static void move_tile(const move_job *m, int64_t begin, int64_t n)
{
    const char *g = m->g + begin * m->param_size;
    void *at[1 + FO_MAX_STATES] = {m->arrays[0] + begin * m->param_size};
    for (int k = 1; k <= m->n_states; k++)
        at[k] = m->arrays[k] + begin * 4;
    m->kernel(g, at, n);
    for (int k = 1; m->state_kernel && k <= m->n_states; k++) {
        at[1] = m->arrays[k] + begin * 4;
        m->state_kernel(g, at, n);
    }
}

static void move_chunks(void *context, int64_t first, int64_t last)
{
    const move_job *m = context;
    const int64_t tile = m->state_kernel ? TILE : m->chunk;
    const int64_t end = last * m->chunk < m->n_words ? last * m->chunk : m->n_words;
    for (int64_t begin = first * m->chunk; begin < end; begin += tile)
        move_tile(m, begin, end - begin < tile ? end - begin : tile);
}

void fo_limit(fo_dtype dtype, fo_loop loop, const void *g, void *param,
              void *const state[FO_MAX_STATES], int n_states, int64_t n, int n_threads)
{
    const int64_t words = dtype == FO_F64 ? 2 : 1; /* 4-byte words per float64 */
    const int is_wide = dtype == FO_F32 || dtype == FO_F64;
    const fo_kernel_table *table = fo_kernels();
    move_job m = {.kernel = table->move[is_wide][n_states],
                  .g = g,
                  .arrays = {param},
                  .n_states = n_states,
                  .n_words = n * words,
                  .param_size = is_wide ? 4 : 2,
                  .chunk = FO_CHUNK * words};
    if (loop == FO_LOAD_FIRST)
        m.kernel = table->move_first[is_wide][n_states];
    else if (loop == FO_ONE_BY_ONE) {
        m.kernel = table->move[is_wide][0];
        m.state_kernel = table->move_one[is_wide];
    }
    for (int k = 0; k < n_states; k++)
        m.arrays[k + 1] = state[k];
    const int64_t n_chunks = (m.n_words + m.chunk - 1) / m.chunk;
    fo_parallel_for(n_chunks, 1, move_chunks, &m, n_threads);
}
