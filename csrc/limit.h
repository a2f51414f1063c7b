/* Measures the lower bound on the time of a step: the fastest of a few loops that read
 * and write the same bytes as a rule, with one integer addition per word.  `fastopt
 * bench` and bench/ report steps as a share of its speed. */
#ifndef FO_LIMIT_H
#define FO_LIMIT_H

#include "fastopt.h"

typedef enum {
    FO_STORE_AT_ONCE, /* stores to each array before it loads from the next one */
    FO_LOAD_FIRST,    /* loads from all arrays before it stores, as the rules do */
    FO_ONE_BY_ONE,    /* for each tile of g, updates the arrays one after another */
    FO_N_LOOPS
} fo_loop;

/* Reads n elements of g, reads and writes n elements of param and of each of n_states
 * states, and adds the bits of g to these as integers.  g and param are of `dtype`;
 * states are float32 if dtype has two bytes, else of `dtype`.  All loops give the same
 * result. */
void fo_limit(fo_dtype dtype, fo_loop loop, const void *g, void *param,
              void *const state[FO_MAX_STATES], int n_states, int64_t n, int n_threads);

#endif
