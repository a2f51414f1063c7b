/* Measures the lower bound on the time of a step: a loop that reads and writes the same
 * bytes as a rule, with one integer addition per word.  `fastopt bench` and bench/
 * report steps as a share of its speed. */
#ifndef FO_LIMIT_H
#define FO_LIMIT_H

#include "fastopt.h"

/* Reads n elements of g, reads and writes n elements of param and of each of n_states
 * states, and adds the bits of g to each as integers.  g and param are of `dtype`;
 * states are float32 if dtype has two bytes, else of `dtype`. */
void fo_limit(fo_dtype dtype, const void *g, void *param,
              void *const state[FO_MAX_STATES], int n_states, int64_t n, int n_threads);

#endif
