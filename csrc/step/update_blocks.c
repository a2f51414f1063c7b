/* Updates of tensors with FO_F8 states (update.h), called by step.c and update_rows.c.
 *
 * The states are unpacked and packed in groups of at most FO_TILE elements: one or more
 * whole rows, or two blocks of a row, so that no block belongs to two groups.  In
 * between, the group is updated in pieces that have constant strides in the parameter
 * and in the gradient; if both are contiguous, the group is one piece.  If they are
 * contiguous floats, they are updated in place and prefetched. */
#include "rows.h"
#include "update.h"

/* How a tensor is cut into groups. */
typedef struct {
    int64_t rows, length;   /* of the tensor; length: elements per row */
    int64_t rows_per_group; /* 0 if a row has several groups */
    int64_t groups_per_row; /* 0 if a group has several rows */
    int64_t blocks_per_row;
} cutting;

typedef struct {
    int64_t row, begin; /* the first row, and the first element within it */
    int64_t rows, length;
} group;

_Static_assert(FO_TILE % FO_BLOCK == 0, "a group of part of a row has whole blocks");

static cutting cut(const fo_tensor *tensor)
{
    const int64_t rows = tensor->layout->n_axes > 1 ? tensor->layout->shape[0] : 1;
    const int64_t length = tensor->size / rows;
    const int64_t in_group = FO_TILE / length;
    return (cutting){.rows = rows,
                     .length = length,
                     .rows_per_group = in_group,
                     .groups_per_row = in_group ? 0 : (length + FO_TILE - 1) / FO_TILE,
                     .blocks_per_row = (length + FO_BLOCK - 1) / FO_BLOCK};
}

static int64_t number_of_groups(const cutting *c)
{
    return c->rows_per_group ? (c->rows + c->rows_per_group - 1) / c->rows_per_group
                             : c->rows * c->groups_per_row;
}

static group group_at(const cutting *c, int64_t number)
{
    if (c->rows_per_group) {
        const int64_t row = number * c->rows_per_group;
        return (group){row, 0, fo_min(c->rows - row, c->rows_per_group), c->length};
    }
    const int64_t begin = number % c->groups_per_row * FO_TILE;
    return (group){number / c->groups_per_row, begin, 1,
                   fo_min(c->length - begin, FO_TILE)};
}

/* The gradient of a piece: of a dense gradient if j is -1, else of row j of a
 * row-sparse one. */
static const void *gradient_of(const fo_tensor *tensor, int64_t j, const fo_tile *piece,
                               fo_scratch *scratch)
{
    if (j >= 0)
        return fo_rows_gradient(tensor, j, piece, scratch->tile[FO_GRAD],
                                scratch->tile[FO_AVERAGE]);
    const fo_view view = fo_grad_view(tensor, piece);
    return fo_stage(piece, &view, tensor->dtype, scratch->tile[FO_GRAD]);
}

/* Updates the parameter and the unpacked states of a group whose first element has the
 * number `at` in the tensor.  (A walk over one row takes it modulo the row's length.)
 */
static void update_pieces(const fo_step_context *s, int64_t i, int64_t at, int64_t n,
                          const fo_offsets *from, int64_t j, fo_scratch *scratch)
{
    const fo_tensor *tensor = &s->plan->tensors[i];
    const fo_recipe *recipe = &s->plan->recipes[s->plan->recipe_of[i]];
    for (int64_t done = 0; done < n;) {
        const fo_tile piece =
            fo_walk_run(&s->plan->walks[i], at + done, n - done, from);
        const void *g = gradient_of(tensor, j, &piece, scratch);
        fo_staged staged;
        fo_stage_tile(&staged, s, i, &piece, scratch);
        for (int k = 0; k < FO_MAX_STATES && tensor->state[k]; k++)
            staged.state[k] = (float *)(void *)scratch->tile[FO_STATE + k] + done;
        recipe->update(staged.w, g, staged.state, piece.cols, &recipe->rule,
                       &recipe->prologue);
        fo_finish_arrays(s, &staged);
        if (j < 0 && s->extras->zero_grads)
            fo_clear_grad(tensor, &piece);
        done += piece.cols;
    }
}

/* What the groups of a tensor have in common. */
typedef struct {
    const fo_step_context *s;
    int64_t i; /* the tensor */
    cutting cutting;
    uint64_t stream[FO_MAX_STATES]; /* of random bits */
    fo_scratch *scratch;
    int is_direct; /* the parameter and the gradient need no staging */
    int64_t next;  /* the group to prefetch, or -1 */
} job;

static job job_of(const fo_step_context *s, int64_t i, fo_scratch *scratch)
{
    const fo_tensor *tensor = &s->plan->tensors[i];
    job found = {
        .s = s, .i = i, .cutting = cut(tensor), .scratch = scratch, .next = -1};
    for (int k = 0; k < FO_MAX_STATES && tensor->state[k]; k++)
        found.stream[k] = fo_stream_of(s->extras, i, 1 + k);
    return found;
}

/* Prefetches a quarter of the parameter and of the gradient of the next group.  All at
 * once would exceed the number of cache misses that a core has in flight. */
static void prefetch_quarter(const job *job, int quarter)
{
    if (job->next < 0)
        return;
    const fo_tensor *tensor = &job->s->plan->tensors[job->i];
    const group next = group_at(&job->cutting, job->next);
    const int64_t begin = next.row * job->cutting.length + next.begin;
    const int64_t n = next.rows * next.length;
    const fo_arrays arrays = {.param = tensor->param, .grad = (void *)tensor->grad};
    fo_prefetch_arrays(&arrays, (fo_sizes){sizeof(float), 1}, begin + n * quarter / 4,
                       begin + n * (quarter + 1) / 4);
}

static void update_in_place(const job *job, int64_t at, int64_t n,
                            float *const x[FO_MAX_STATES])
{
    const fo_plan *plan = job->s->plan;
    const fo_tensor *tensor = &plan->tensors[job->i];
    const fo_recipe *recipe = &plan->recipes[plan->recipe_of[job->i]];
    void *state[FO_MAX_STATES];
    memcpy(state, x, sizeof state);
    recipe->update((float *)tensor->param + at, (const float *)tensor->grad + at, state,
                   n, &recipe->rule, &recipe->prologue);
}

static void update_group(const job *job, const group *all, const fo_offsets *from,
                         int64_t j)
{
    const fo_tensor *tensor = &job->s->plan->tensors[job->i];
    const fo_kernel_table *table = fo_kernels();
    const int64_t at = all->row * job->cutting.length + all->begin;
    const int64_t block =
        all->row * job->cutting.blocks_per_row + all->begin / FO_BLOCK;
    uint8_t *codes[FO_MAX_STATES], *scale[FO_MAX_STATES];
    float *x[FO_MAX_STATES] = {NULL};
    prefetch_quarter(job, 0);
    for (int k = 0; k < FO_MAX_STATES && tensor->state[k]; k++) {
        codes[k] = (uint8_t *)tensor->state[k] + at;
        scale[k] = tensor->scale[k] + block;
        x[k] = (float *)(void *)job->scratch->tile[FO_STATE + k];
        table->unpack[tensor->layout->code[k]](x[k], codes[k], scale[k], all->rows,
                                               all->length);
    }
    prefetch_quarter(job, 1);

    const int64_t n = all->rows * all->length;
    if (job->is_direct)
        update_in_place(job, at, n, x);
    else
        update_pieces(job->s, job->i, at, n, from, j, job->scratch);

    prefetch_quarter(job, 2);
    for (int k = 0; k < FO_MAX_STATES && tensor->state[k]; k++)
        table->pack[tensor->layout->code[k]](codes[k], scale[k], x[k], all->rows,
                                             all->length, &job->stream[k], block);
    prefetch_quarter(job, 3);
}

/* Whether the parameter and the gradient are contiguous, aligned floats, and the rule
 * alone changes the parameter. */
static int is_direct(const fo_step_context *s, const fo_tensor *tensor)
{
    const fo_layout *layout = tensor->layout;
    int64_t stride = sizeof(float);
    for (int k = layout->n_axes - 1; k >= 0; stride *= layout->shape[k--])
        if (layout->param[k] != stride || layout->grad[k] != stride)
            return 0;
    return layout->param_dtype == FO_F32 && layout->grad_dtype == FO_F32 &&
           (uintptr_t)tensor->grad % sizeof(float) == 0 && !tensor->master &&
           !tensor->ema && !s->extras->zero_grads;
}

void fo_update_blocks(const fo_step_context *s, const fo_chunk *chunk,
                      fo_scratch *scratch)
{
    job job = job_of(s, chunk->tensor, scratch);
    const fo_range range =
        fo_plan_share(s->plan, chunk, number_of_groups(&job.cutting));
    job.is_direct = is_direct(s, &s->plan->tensors[chunk->tensor]);
    for (int64_t number = range.begin; number < range.end; number++) {
        const group all = group_at(&job.cutting, number);
        if (job.is_direct && s->plan->prefetches)
            job.next = number + 1 < range.end ? number + 1 : -1;
        update_group(&job, &all, &(fo_offsets){0}, -1);
    }
}

void fo_update_rows_in_blocks(const fo_step_context *s, int64_t i, fo_range rows,
                              fo_scratch *scratch)
{
    const fo_tensor *tensor = &s->plan->tensors[i];
    const job job = job_of(s, i, scratch);
    for (int64_t j = rows.begin; j < rows.end; j++) {
        const fo_offsets from = fo_rows_offsets(tensor, j);
        for (int64_t begin = 0; begin < job.cutting.length; begin += FO_TILE) {
            const group all = {tensor->rows->row[j], begin, 1,
                               fo_min(job.cutting.length - begin, FO_TILE)};
            update_group(&job, &all, &from, j);
        }
    }
}
