/* The one way to use several threads. */
#ifndef FO_PARALLEL_H
#define FO_PARALLEL_H

#include <stdint.h>

/* Calls body(context, begin, end) on consecutive parts of [0, n), one part a thread,
 * and returns when all are done.  One thread, or a process forked after a parallel
 * region: one call. */
typedef void fo_body(void *context, int64_t begin, int64_t end);
void fo_parallel_for(int64_t n, fo_body *body, void *context, int n_threads);

#endif
