/* A plan: the caller's tensors and groups, cut into work items for threads.
 *
 * fo_plan_new (fastopt.h) builds a plan once; every step uses it.  Each work item is a
 * range of chunks, or of rows of one tensor with a row-sparse gradient.  Items depend
 * on shapes and on the rows present, never on the number of threads. */
#ifndef FO_PLAN_H
#define FO_PLAN_H

#include "stage.h"

/* At most FO_CHUNK consecutive elements of one tensor. */
typedef struct {
    int64_t tensor, begin, length;
} fo_chunk;

/* The sums that a rule needs before its update, and the number of elements summed. */
typedef struct {
    double sums[FO_MAX_SUMS];
    int64_t size;
} fo_totals;

/* The kernels and coefficients for a step of a tensor.  They depend on its group, step
 * count, saved scalars and precision; consecutive tensors that agree in these share a
 * recipe, unless the rule needs sums over each tensor. */
typedef struct {
    int32_t group;
    fo_dtype dtype;
    int64_t t; /* the step, counted from 1 */
    double saved_before[FO_MAX_SAVED], saved_after[FO_MAX_SAVED];
    fo_update_fn *update, *update_bf16;
    fo_row_fn *row;
    const fo_summation *summation;
    const fo_factored_kernel *factored; /* or NULL */
    int has_epilogue;
    fo_totals totals; /* over the tensors that share the recipe */
    fo_coef rule, prologue;
} fo_recipe;

/* The sum of squares of the gradients of a work item, for the norm. */
typedef struct {
    double squares;
    int64_t nonfinite; /* the first tensor with a NaN or infinity, or -1 */
} fo_part;

/* How a tensor with a factored rule is cut into work items (factoring.h).  Its rows,
 * the indices of all axes but the last, are numbered in C order; rows that are
 * consecutive in memory belong to one run.  A unit is a block of rows of a matrix. */
typedef struct {
    int64_t matrices, rows, cols; /* rows: of each matrix */
    int64_t unit_rows, units;     /* units: of each matrix */
    int64_t item_units, item_cols, col_items;
    int n_axes; /* of `axis`, along which runs are enumerated */
    fo_axis axis[FO_MAX_AXES], run, col;
    int is_direct; /* kernels can use the arrays without staging */
    int64_t tile_rows, tile_cols;
    int64_t room; /* where its arrays begin in fo_plan.room */
} fo_factoring;

/* The arrays of a tensor.  FO_PARAM is the master of a tensor that has one, and FO_COPY
 * is then its parameter, which is only written. */
enum {
    FO_GRAD,
    FO_PARAM,
    FO_AVERAGE,
    FO_STATE, /* and those after it: the states */
    FO_COPY = FO_STATE + FO_MAX_STATES,
    FO_N_ARRAYS
};

/* The scratch memory of a thread: a tile of each array but FO_COPY, a panel of the
 * gradient, and the lanes of sums.  It belongs to the plan because the stack of a
 * thread may be small. */
typedef struct {
    _Alignas(FO_CACHE_LINE) unsigned char tile[FO_COPY][FO_TILE * sizeof(double)];
    unsigned char panel[FO_PANEL];
    fo_lanes lanes[FO_MAX_SUMS];
} fo_scratch;

struct fo_plan {
    int64_t n_tensors, n_groups, n_items, serial_below;
    fo_tensor *tensors;
    fo_group *groups;
    fo_chunk *chunks;
    int64_t *item;           /* work item i is chunks item[i] .. item[i + 1] - 1 */
    fo_recipe *recipes;      /* at most one per tensor */
    int64_t *recipe_of;      /* by tensor: index into recipes */
    fo_walk *walks;          /* by tensor; used if it has a layout */
    int had_rows;            /* whether any tensor had rows in the previous step */
    int prefetches;          /* whether this step prefetches contiguous arrays */
    unsigned char *has_rows; /* by tensor: has rows, and therefore no chunks */
    /* Items of rows follow the items of chunks: those of tensor row_tensor[k] are
     * row_item[k] .. row_item[k + 1] - 1. */
    int64_t n_row_tensors, *row_tensor, *row_item;
    fo_part *parts;              /* by work item */
    double (*sums)[FO_MAX_SUMS]; /* by chunk: sums of terms, for rules that need them */
    /* Scratch memory of n_scratch threads; NULL until a step stages a tensor.  The last
     * step that returned FO_NO_SCRATCH needs it for `threads` threads. */
    fo_scratch *scratch;
    int n_scratch, threads;
    /* Tensors with a factored rule: the first n_factored numbers of factored_tensor;
     * the items of number k are factored_item[k] .. factored_item[k + 1] - 1.  `room`
     * is for statistics and factors of the step. */
    fo_factoring *factorings; /* by tensor */
    int64_t n_factored, *factored_tensor, *factored_item;
    double *room;
    int64_t n_room, needed_room;
    void *allocated; /* the allocation that contains `scratch`, which is aligned */
};

/* Whether the tensor has FO_F8 states.  Then all its updates go through
 * update_blocks.c. */
static inline int fo_is_blocked(const fo_tensor *tensor)
{
    return tensor->layout && tensor->layout->state_dtype == FO_F8;
}

/* Returns the scratch memory of a thread, or NULL if it has none.  fo_step has checked
 * that a step without scratch memory does not need it. */
static inline fo_scratch *fo_scratch_of(const fo_plan *plan, int thread)
{
    return thread < plan->n_scratch ? &plan->scratch[thread] : NULL;
}

typedef struct {
    int64_t begin, end;
} fo_range;

/* A work item: chunks, or rows of one tensor; the other range is empty. */
typedef struct {
    fo_range chunks, rows;
    int64_t tensor; /* of the rows, or -1 */
} fo_work;

/* Recomputes the work items from the gradients of this step.  some_rows: whether any of
 * them is row-sparse. */
void fo_plan_refresh(fo_plan *plan, int some_rows);

/* The number of work items, and work item number `item`. */
int64_t fo_plan_items(const fo_plan *plan);
fo_work fo_plan_work(const fo_plan *plan, int64_t item);

/* The parts of a tensor that belong to a chunk, if the tensor has n_parts parts. */
fo_range fo_plan_share(const fo_plan *plan, const fo_chunk *chunk, int64_t n_parts);

/* The tiles of a chunk, for a tensor that has a layout. */
fo_range fo_plan_tiles(const fo_plan *plan, const fo_chunk *chunk);

/* What all parts of a step share. */
typedef struct {
    fo_plan *plan;
    const fo_extras *extras;
    double scale; /* the gradients are multiplied by it */
} fo_step_context;

#endif
