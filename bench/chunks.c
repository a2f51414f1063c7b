/* A step that records the thread of each chunk, for bench/chunks.py. */
#include "../csrc/parallel.c"

#include <math.h>

enum { CHUNK = 16384 }; /* elements, FO_CHUNK of csrc/ */

typedef struct {
    const float *g;
    float *w, *m, *v;
    int32_t *thread;
} job;

static void update(void *context, int64_t begin, int64_t end, int thread)
{
    const job *of = context;
    for (int64_t chunk = begin; chunk < end; chunk++)
        of->thread[chunk] = thread;
    for (int64_t i = begin * CHUNK; i < end * CHUNK; i++) {
        of->m[i] += 0.1f * (of->g[i] - of->m[i]);
        of->v[i] += 0.001f * (of->g[i] * of->g[i] - of->v[i]);
        of->w[i] -= 0.001f * of->m[i] / (sqrtf(of->v[i]) + 1e-8f);
    }
}

/* Updates n_chunks chunks, and sets thread[i] to the thread that updated chunk i. */
void step(const float *g, float *w, float *m, float *v, int64_t n_chunks, int n_threads,
          int32_t *thread)
{
    fo_parallel_for_numbered(n_chunks, 1, update, &(job){g, w, m, v, thread},
                             n_threads);
}
