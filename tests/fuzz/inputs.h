/* Random inputs of fo_step, from the range that fastopt/_core.pyx may pass. */
#ifndef FUZZ_INPUTS_H
#define FUZZ_INPUTS_H

#include "simple.h"

/* One tensor, for fo_step and for the reference loop. */
typedef struct {
    simple_tensor simple;
    int32_t group;
    fo_layout *layout;
    int order[FO_MAX_AXES]; /* the parameter's axes in the order of the layout */
    fo_dtype state_dtype;
    int64_t *step;
    double *saved;
    fo_rows rows;
    int64_t *index, *work;
    int is_dense; /* whether the parameter has no gaps */
} tensor;

/* Choose hyperparameters; a rule uses the first few of group->hp. */
void pick_hyperparameters(choices *c, fo_group *group);
void pick_extras(choices *c, fo_extras *extras, uint64_t step);

void tensor_init(tensor *t, choices *c, const fo_group *groups, int64_t n_groups);
void tensor_free(tensor *t);

/* Give all arrays other memory, other strides and other dtypes, as a caller may between
 * steps. */
void tensor_move(tensor *t, choices *c);

fo_tensor tensor_description(const tensor *t); /* without its gradient */

/* Choose a gradient for the next step: dense, row-sparse or none. */
void tensor_pick_grad(tensor *t, choices *c, const fo_extras *extras, fo_tensor *d);

#endif
