/* The memory limit: a loop that moves a rule's bytes with trivial arithmetic. */
#ifndef FO_LIMIT_H
#define FO_LIMIT_H

#include "fastopt.h"

/* Reads n elements of g; reads and writes as many of a parameter and n_states states,
 * adding the bits of g to each.  A parameter of two bytes has states of four, any other
 * those of its own size. */
void fo_limit(fo_dtype dtype, const void *g, void *param,
              void *const state[FO_MAX_STATES], int n_states, int64_t n, int n_threads);

#endif
