/* Threads: the only file that knows OpenMP.
 *
 * A child process inherits libgomp's records of a thread team but not the threads, and
 * would wait for them for ever.  The team may be another library's that uses the same
 * libgomp: after any fork, work is done by the calling thread. */
#include "parallel.h"

#include "fastopt.h"

#if defined(_OPENMP)
#include <omp.h>
#if !defined(_WIN32)
#include <pthread.h>
#endif

static int is_forked;

#if !defined(_WIN32)
static void in_child(void)
{
    is_forked = 1;
}

__attribute__((constructor)) static void watch_forks(void)
{
    pthread_atfork(NULL, NULL, in_child);
}
#endif

static int threads_for(int64_t n_parts, int n_threads)
{
    if (n_threads == 0 && n_parts > 1)
        n_threads = fo_max_threads();
    if (n_threads > n_parts)
        n_threads = (int)n_parts;
    return n_threads <= 1 || is_forked ? 1 : n_threads;
}

void fo_parallel_for(int64_t n, int64_t grain, fo_body *body, void *context,
                     int n_threads)
{
    const int64_t n_parts = (n + grain - 1) / grain;
    n_threads = threads_for(n_parts, n_threads);
    if (n_threads == 1) {
        body(context, 0, n);
        return;
    }
    int64_t part; /* declared here for MSVC (C3015) */
#pragma omp parallel for schedule(dynamic, 1) num_threads(n_threads)
    for (part = 0; part < n_parts; part++) {
        const int64_t begin = part * grain, rest = n - begin;
        body(context, begin, begin + (rest < grain ? rest : grain));
    }
}

static int limit;

void fo_limit_threads(int n_cpus)
{
    limit = n_cpus;
}

static int least(int a, int b)
{
    return a < b ? a : b;
}

int fo_max_threads(void)
{
    const int n_threads = omp_get_max_threads();
    return limit ? least(n_threads, least(limit, omp_get_num_procs())) : n_threads;
}

int fo_openmp_version(void)
{
    return _OPENMP;
}

#else

void fo_parallel_for(int64_t n, int64_t grain, fo_body *body, void *context,
                     int n_threads)
{
    (void)grain, (void)n_threads;
    body(context, 0, n);
}

void fo_limit_threads(int n_cpus)
{
    (void)n_cpus;
}

int fo_max_threads(void)
{
    return 1;
}

int fo_openmp_version(void)
{
    return 0;
}

#endif
