/* The parallel loop of parallel.h and the default number of threads.  The only file
 * that uses OpenMP; a build without OpenMP runs everything on the calling thread.
 *
 * The parts of a loop are divided into one contiguous range for each thread.  A thread
 * takes the parts of its range in order, and then parts that other threads have not
 * taken yet.  So if all threads are awake, each runs the same parts in each step, and
 * finds their memory in its cache, or on its socket.
 *
 * After fork(), the child has libgomp's records of its thread team but not the threads,
 * and would wait for them forever.  The team may belong to another library that shares
 * libgomp, so any forked child runs everything on the calling thread. */
#include "parallel.h"

#include "fastopt.h"
#include "kernels/cache.h"

#if defined(_OPENMP)
#include <omp.h>
#include <stdatomic.h>
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

int fo_threads_for(int64_t n, int64_t grain, int n_threads)
{
    const int64_t n_parts = (n + grain - 1) / grain;
    if (n_threads == 0 && n_parts > 1)
        n_threads = fo_max_threads();
    if (n_threads > n_parts)
        n_threads = (int)n_parts;
    return n_threads <= 1 || is_forked ? 1 : n_threads;
}

/* The next part to take of a range, and its end; alone on a cache line.  Threads share
 * ranges if there are more than MAX_RANGES of them, so that the ranges fit on a small
 * stack. */
enum { MAX_RANGES = 64 };
typedef struct {
    _Alignas(FO_CACHE_LINE) _Atomic int64_t next;
    int64_t end;
} part_range;

static void divide(int64_t n_parts, int n_ranges, part_range *ranges)
{
    for (int k = 0; k < n_ranges; k++) {
        atomic_init(&ranges[k].next, n_parts * k / n_ranges);
        ranges[k].end = n_parts * (k + 1) / n_ranges;
    }
}

/* Returns a part that no other thread takes, or -1 if none is left. */
static int64_t take(part_range *range)
{
    if (atomic_load_explicit(&range->next, memory_order_relaxed) >= range->end)
        return -1;
    const int64_t part =
        atomic_fetch_add_explicit(&range->next, 1, memory_order_relaxed);
    return part < range->end ? part : -1;
}

void fo_parallel_for_numbered(int64_t n, int64_t grain, fo_numbered_body *body,
                              void *context, int n_threads)
{
    n_threads = fo_threads_for(n, grain, n_threads);
    if (n_threads == 1) { /* number 0, also in a parallel region of the caller */
        body(context, 0, n, 0);
        return;
    }
    part_range ranges[MAX_RANGES];
    const int n_ranges = n_threads < MAX_RANGES ? n_threads : MAX_RANGES;
    divide((n + grain - 1) / grain, n_ranges, ranges);
#pragma omp parallel num_threads(n_threads)
    {
        const int thread = omp_get_thread_num();
        const int own = thread * n_ranges / omp_get_num_threads();
        for (int k = 0; k < n_ranges; k++) {
            part_range *range = &ranges[(own + k) % n_ranges];
            for (int64_t part; (part = take(range)) >= 0;) {
                const int64_t begin = part * grain, rest = n - begin;
                body(context, begin, begin + (rest < grain ? rest : grain), thread);
            }
        }
    }
}

static int limit;

void fo_limit_threads(int n_cpus)
{
    limit = n_cpus;
}

static int min_int(int a, int b)
{
    return a < b ? a : b;
}

int fo_max_threads(void)
{
    const int n_threads = omp_get_max_threads();
    return limit ? min_int(n_threads, min_int(limit, omp_get_num_procs())) : n_threads;
}

int fo_openmp_version(void)
{
    return _OPENMP;
}

#else

int fo_threads_for(int64_t n, int64_t grain, int n_threads)
{
    (void)n, (void)grain, (void)n_threads;
    return 1;
}

void fo_parallel_for_numbered(int64_t n, int64_t grain, fo_numbered_body *body,
                              void *context, int n_threads)
{
    (void)grain, (void)n_threads;
    body(context, 0, n, 0);
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

typedef struct {
    fo_body *body;
    void *context;
} unnumbered;

static void call(void *context, int64_t begin, int64_t end, int thread)
{
    const unnumbered *of = context;
    (void)thread;
    of->body(of->context, begin, end);
}

void fo_parallel_for(int64_t n, int64_t grain, fo_body *body, void *context,
                     int n_threads)
{
    fo_parallel_for_numbered(n, grain, call, &(unnumbered){body, context}, n_threads);
}
