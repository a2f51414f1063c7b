/* Tensors cut into work: built once, used every step. */
#ifndef FO_PLAN_H
#define FO_PLAN_H

#include "stage.h"

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
    fo_update_fn *update, *update_bf16;
    fo_row_fn *row;
    fo_coef rule, prologue;
} fo_recipe;

/* What the gradients of a work item add to their norm. */
typedef struct {
    double squares;
    int64_t nonfinite; /* the first tensor with a NaN or infinity, or -1 */
} fo_part;

struct fo_plan {
    int64_t n_tensors, n_items, serial_below;
    fo_tensor *tensors;
    fo_group *groups;
    fo_chunk *chunks;
    int64_t *item;           /* work item i is chunks item[i] .. item[i + 1] - 1 */
    fo_recipe *recipes;      /* one a tensor at most */
    int64_t *recipe_of;      /* by tensor */
    fo_walk *walks;          /* by tensor, where it has a layout */
    int had_rows;            /* whether any tensor has_rows */
    unsigned char *has_rows; /* by tensor: it is not among the chunks */
    /* After the items of chunks come those of rows: row_tensor[k]'s begin at
     * row_item[k]. */
    int64_t n_row_tensors, *row_tensor, *row_item;
    fo_part *parts; /* by work item */
};

typedef struct {
    int64_t begin, end;
} fo_range;

/* A work item: chunks, or rows of one tensor. */
typedef struct {
    fo_range chunks, rows;
    int64_t tensor; /* of the rows, or -1 */
} fo_work;

/* Fits the items to the gradients, of which some are of rows, or have been. */
void fo_plan_fit(fo_plan *plan, int some_rows);
int64_t fo_plan_items(const fo_plan *plan);
fo_work fo_plan_work(const fo_plan *plan, int64_t item);

/* The tiles that a chunk stands for, where its tensor has a layout. */
fo_range fo_plan_tiles(const fo_plan *plan, const fo_chunk *chunk);

#endif
