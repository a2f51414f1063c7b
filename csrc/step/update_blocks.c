/* Updates of tensors with FO_F8 states (update.h), called by step.c and update_rows.c.
 *
 * The states are unpacked and packed in groups of at most FO_TILE elements: one or more
 * whole rows, or two blocks of a row, so that no block belongs to two groups.  In
 * between, the group is updated in pieces that have constant strides in the parameter
 * and in the gradient; if both are contiguous, the group is one piece. */
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
        return fo_rows_gradient(tensor, j, piece, scratch->tile[2], scratch->tile[1]);
    const fo_view view = fo_grad_view(tensor, piece);
    return fo_stage(piece, &view, tensor->dtype, scratch->tile[2]);
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
        fo_stage_tile(tensor, &piece, scratch, &staged);
        for (int k = 0; k < FO_MAX_STATES && tensor->state[k]; k++)
            staged.state[k] = (float *)(void *)scratch->tile[3 + k] + done;
        recipe->update(staged.w, g, staged.state, piece.cols, &recipe->rule,
                       &recipe->prologue);
        fo_finish_tile(s, i, &piece, &staged, scratch);
        if (j < 0 && s->extras->zero_grads) {
            const fo_view view = fo_grad_view(tensor, &piece);
            fo_clear(&piece, &view);
        }
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
} job;

static job job_of(const fo_step_context *s, int64_t i, fo_scratch *scratch)
{
    const fo_tensor *tensor = &s->plan->tensors[i];
    job found = {.s = s, .i = i, .cutting = cut(tensor), .scratch = scratch};
    for (int k = 0; k < FO_MAX_STATES && tensor->state[k]; k++)
        found.stream[k] = fo_stream_of(s->extras, i, 1 + k);
    return found;
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
    float *x[FO_MAX_STATES];
    for (int k = 0; k < FO_MAX_STATES && tensor->state[k]; k++) {
        codes[k] = (uint8_t *)tensor->state[k] + at;
        scale[k] = tensor->scale[k] + block;
        x[k] = (float *)(void *)job->scratch->tile[3 + k];
        table->unpack[tensor->layout->code[k]](x[k], codes[k], scale[k], all->rows,
                                               all->length);
    }

    update_pieces(job->s, job->i, at, all->rows * all->length, from, j, job->scratch);

    for (int k = 0; k < FO_MAX_STATES && tensor->state[k]; k++)
        table->pack[tensor->layout->code[k]](codes[k], scale[k], x[k], all->rows,
                                             all->length, &job->stream[k], block);
}

void fo_update_blocks(const fo_step_context *s, const fo_chunk *chunk,
                      fo_scratch *scratch)
{
    const job job = job_of(s, chunk->tensor, scratch);
    const fo_range range =
        fo_plan_share(s->plan, chunk, number_of_groups(&job.cutting));
    for (int64_t number = range.begin; number < range.end; number++) {
        const group all = group_at(&job.cutting, number);
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
