/* The parallel loop of the library; all threads are started here.  The implementation,
 * parallel.c, is the only file that uses OpenMP. */
#ifndef FO_PARALLEL_H
#define FO_PARALLEL_H

#include <stdint.h>

/* Calls body(context, begin, end) for consecutive parts of [0, n), each of at most
 * `grain` elements, and returns when all calls have returned.  Each thread has a
 * contiguous range of the parts.  When it has finished its own, it takes parts of
 * others: a thread that wakes up late delays only the part it is working on.  With one
 * thread, or in a forked child, body is called once for all of [0, n).  n_threads = 0
 * means fo_max_threads(). */
typedef void fo_body(void *context, int64_t begin, int64_t end);
typedef void fo_parallel_loop(int64_t n, int64_t grain, fo_body *body, void *context,
                              int n_threads);
fo_parallel_loop fo_parallel_for;

/* The same for a body that needs separate memory for each thread.  The body also
 * receives the number of the thread that runs it, from 0 to
 * fo_threads_for(n, grain, n_threads) - 1. */
typedef void fo_numbered_body(void *context, int64_t begin, int64_t end, int thread);
void fo_parallel_for_numbered(int64_t n, int64_t grain, fo_numbered_body *body,
                              void *context, int n_threads);

/* Returns the largest number of threads that such a loop uses. */
int fo_threads_for(int64_t n, int64_t grain, int n_threads);

#endif
