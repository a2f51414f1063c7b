/* Threads: the only file that knows OpenMP.
 *
 * A child process inherits libgomp's records of a thread team but not the threads, and
 * would wait for them for ever: after a fork that follows a region, work is done by the
 * calling thread. */
#include "parallel.h"

#include "fastopt.h"

#if defined(_OPENMP)
#include <omp.h>
#if !defined(_WIN32)
#include <pthread.h>
#endif

static int used_threads, lost_threads;

#if !defined(_WIN32)
static pthread_once_t watch_fork = PTHREAD_ONCE_INIT;

static void in_child(void)
{
    lost_threads = used_threads;
}

static void install(void)
{
    pthread_atfork(NULL, NULL, in_child);
}
#endif

static int threads_for(int64_t n, int n_threads)
{
    if (n_threads > n)
        n_threads = (int)n;
    if (n_threads <= 1 || lost_threads)
        return 1;
#if !defined(_WIN32)
    pthread_once(&watch_fork, install);
#endif
    used_threads = 1;
    return n_threads;
}

void fo_parallel_for(int64_t n, fo_body *body, void *context, int n_threads)
{
    n_threads = threads_for(n, n_threads);
    if (n_threads == 1) {
        body(context, 0, n);
        return;
    }
#pragma omp parallel num_threads(n_threads)
    {
        const int64_t k = omp_get_thread_num(), of = omp_get_num_threads();
        body(context, n * k / of, n * (k + 1) / of);
    }
}

int fo_max_threads(void)
{
    return omp_get_max_threads();
}

int fo_openmp_version(void)
{
    return _OPENMP;
}

#else

void fo_parallel_for(int64_t n, fo_body *body, void *context, int n_threads)
{
    (void)n_threads;
    body(context, 0, n);
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
