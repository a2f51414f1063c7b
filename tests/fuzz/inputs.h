/* Random inputs of steps, as the boundary could give them to csrc. */
#ifndef FUZZ_INPUTS_H
#define FUZZ_INPUTS_H

#include "simple.h"

/* One tensor as csrc and as the simple loop see it. */
typedef struct {
    simple_tensor simple;
    int32_t group;
    fo_layout *layout;
    int order[FO_MAX_AXES]; /* the parameter's axes in the order of work */
    fo_dtype state_dtype;
    int64_t *step;
    double *saved;
    fo_rows rows;
    int64_t *index, *work;
    int is_dense; /* the parameter: without gaps */
} tensor;

/* The hyperparameters, of which a rule takes the first few. */
void pick_rates(choices *c, fo_group *group);
void pick_extras(choices *c, fo_extras *extras, uint64_t step);

void tensor_init(tensor *t, choices *c, const fo_group *groups, int64_t n_groups);
void tensor_free(tensor *t);
fo_tensor tensor_described(const tensor *t); /* but for its gradient */

/* A gradient of any form, or none, for the next step. */
void tensor_pick_grad(tensor *t, choices *c, const fo_extras *extras, fo_tensor *d);

#endif
