/* Prints the thread that runs each part of some parallel loops, for test_loop.py.
 *
 * Usage: parts_of_a_loop N GRAIN THREADS MODE LOOPS.  With "together", all threads run
 * parts at the same pace: each waits in a part until every thread has begun as many.
 * With "one sleeps", the thread of part 0 waits in it until all other parts have been
 * run.  With "freely", no thread waits.
 *
 * Exits with status 1 if an index is not visited exactly once, or if a part is not of
 * `grain` elements, the last one excepted. */
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "parallel.h"

enum { MOST = 1 << 16 };

static int64_t n, grain;
static const char *mode;
static int n_threads;
static int thread_of[MOST];
static _Atomic int visits[MOST], done, is_wrong;

static void run(void *context, int64_t begin, int64_t end, int thread)
{
    (void)context;
    const int64_t part = begin / grain, n_parts = (n + grain - 1) / grain;
    const int is_part = begin % grain == 0 && (end - begin == grain || end == n);
    const int is_all = begin == 0 && end == n;
    if (end > n || !(is_part || is_all)) {
        is_wrong = 1;
        return;
    }
    for (int64_t i = begin; i < end; i++)
        visits[i]++;
    thread_of[part] = thread;
    if (!strcmp(mode, "together")) {
        const int earlier = done++ / n_threads;
        while (done < (earlier + 1) * n_threads)
            sched_yield();
    } else if (!strcmp(mode, "one sleeps")) {
        while (part == 0 && done < n_parts - 1)
            sched_yield();
        done++;
    }
}

int main(int argc, char **argv)
{
    if (argc != 6)
        return 2;
    n = atoll(argv[1]), grain = atoll(argv[2]), n_threads = atoi(argv[3]);
    mode = argv[4];
    for (int loop = 0; loop < atoi(argv[5]); loop++) {
        done = 0;
        memset(visits, 0, sizeof visits);
        fo_parallel_for_numbered(n, grain, run, NULL, n_threads);
        for (int64_t i = 0; i < n; i++)
            is_wrong |= visits[i] != 1;
        for (int64_t part = 0; part * grain < n; part++)
            printf("%d ", thread_of[part]);
        printf("\n");
    }
    return is_wrong;
}
