/* Tensors cut into work: built once, used every step. */
#ifndef FO_PLAN_H
#define FO_PLAN_H

#include "kernels.h"

/* At most FO_CHUNK consecutive elements of one tensor. */
typedef struct {
    int64_t tensor, begin, length;
} fo_chunk;

/* What one (group, step, saved scalar, precision) needs; tensors that agree in these
 * share one. */
typedef struct {
    int32_t group;
    fo_dtype dtype;
    int64_t t;
    double saved_before, saved_after;
    fo_update_fn *update;
    fo_coef rule, prologue;
} fo_recipe;

struct fo_plan {
    int64_t n_tensors, n_groups, n_items, serial_below;
    fo_tensor *tensors;
    fo_group *groups;
    fo_chunk *chunks;
    int64_t *item;      /* work item i is chunks item[i] .. item[i + 1] - 1 */
    fo_recipe *recipes; /* one a tensor at most */
    int64_t *recipe_of; /* by tensor */
};

#endif
