/* The one way to use several threads. */
#ifndef FO_PARALLEL_H
#define FO_PARALLEL_H

#include <stdint.h>

/* Calls body(context, begin, end) for parts of [0, n) of at most `grain` and returns
 * when all are done.  A thread that is free takes the next part, so that one that wakes
 * late delays nothing but its own.  One thread, or a forked process: one call for all.
 * n_threads 0: fo_max_threads(). */
typedef void fo_body(void *context, int64_t begin, int64_t end);
typedef void fo_parallel_loop(int64_t n, int64_t grain, fo_body *body, void *context,
                              int n_threads);
fo_parallel_loop fo_parallel_for;

#endif
