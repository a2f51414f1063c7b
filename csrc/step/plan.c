/* Builds plans (plan.h) and cuts tensors into chunks and work items, by their sizes
 * alone.  This is the only file that allocates memory: plans, and the scratch memory of
 * their steps.
 *
 * Large tensors are cut into chunks.  Small tensors are grouped until they have about
 * as many elements as a chunk, so that work items cost about the same and many small
 * tensors are as fast as one large tensor. */
#include "plan.h"

#include "rows.h"

#include <stdlib.h>

static int64_t chunks_of(int64_t size)
{
    return (size + FO_CHUNK - 1) / FO_CHUNK;
}

/* Cuts the tensors with dense gradients into chunks, and groups these into items. */
static void cut(fo_plan *plan)
{
    int64_t chunk = 0, items = 0, space = 0;
    for (int64_t i = 0; i < plan->n_tensors; i++) {
        const int64_t size = plan->has_rows[i] ? 0 : plan->tensors[i].size;
        for (int64_t begin = 0; begin < size; begin += FO_CHUNK) {
            const int64_t rest = size - begin,
                          length = rest < FO_CHUNK ? rest : FO_CHUNK;
            if (space < length) {
                plan->item[items++] = chunk;
                space = FO_CHUNK;
            }
            plan->chunks[chunk++] = (fo_chunk){i, begin, length};
            space -= length;
        }
    }
    plan->item[items] = chunk;
    plan->n_items = items;
    plan->n_row_tensors = 0;
    plan->row_item[0] = items;
}

void fo_plan_refresh(fo_plan *plan, int some_rows)
{
    if (!some_rows && !plan->had_rows)
        return;
    plan->had_rows = some_rows;
    int changed = 0;
    for (int64_t i = 0; i < plan->n_tensors; i++) {
        const unsigned char has_rows = plan->tensors[i].rows != NULL;
        changed |= has_rows ^ plan->has_rows[i];
        plan->has_rows[i] = has_rows;
    }
    if (changed)
        cut(plan);
    int64_t items = plan->n_items, n = 0;
    for (int64_t i = 0; i < plan->n_tensors; i++) {
        const fo_tensor *tensor = &plan->tensors[i];
        if (!tensor->grad || !tensor->rows || !tensor->size)
            continue;
        const int64_t per_item = fo_rows_per_item(tensor);
        plan->row_tensor[n] = i;
        plan->row_item[n++] = items;
        items += (tensor->rows->n + per_item - 1) / per_item;
    }
    plan->n_row_tensors = n;
    plan->row_item[n] = items;
}

int64_t fo_plan_items(const fo_plan *plan)
{
    return plan->row_item[plan->n_row_tensors];
}

fo_work fo_plan_work(const fo_plan *plan, int64_t item)
{
    if (item < plan->n_items)
        return (fo_work){.chunks = {plan->item[item], plan->item[item + 1]},
                         .tensor = -1};
    int64_t k = 0;
    while (plan->row_item[k + 1] <= item)
        k++;
    const fo_tensor *tensor = &plan->tensors[plan->row_tensor[k]];
    const int64_t per_item = fo_rows_per_item(tensor),
                  begin = (item - plan->row_item[k]) * per_item;
    const int64_t end =
        begin + per_item < tensor->rows->n ? begin + per_item : tensor->rows->n;
    return (fo_work){.rows = {begin, end}, .tensor = plan->row_tensor[k]};
}

fo_range fo_plan_share(const fo_plan *plan, const fo_chunk *chunk, int64_t n_parts)
{
    const int64_t of = chunks_of(plan->tensors[chunk->tensor].size);
    const int64_t number = chunk->begin / FO_CHUNK;
    return (fo_range){number * n_parts / of, (number + 1) * n_parts / of};
}

fo_range fo_plan_tiles(const fo_plan *plan, const fo_chunk *chunk)
{
    return fo_plan_share(plan, chunk, plan->walks[chunk->tensor].n_tiles);
}

fo_plan *fo_plan_new(const fo_tensor *tensors, int64_t n_tensors, int64_t n_groups,
                     int64_t serial_below)
{
    int64_t n_chunks = 0;
    for (int64_t i = 0; i < n_tensors; i++)
        n_chunks += chunks_of(tensors[i].size);

    fo_plan *plan = calloc(1, sizeof *plan);
    if (!plan)
        return NULL;
    plan->n_groups = n_groups;
    plan->n_tensors = n_tensors;
    plan->serial_below = serial_below;
    /* One element more than needed, because calloc(0) may return NULL on success. */
    plan->tensors = calloc((size_t)n_tensors + 1, sizeof *plan->tensors);
    plan->groups = calloc((size_t)n_groups + 1, sizeof *plan->groups);
    plan->chunks = calloc((size_t)n_chunks + 1, sizeof *plan->chunks);
    plan->item = calloc((size_t)n_chunks + 1, sizeof *plan->item);
    plan->recipes = calloc((size_t)n_tensors + 1, sizeof *plan->recipes);
    plan->recipe_of = calloc((size_t)n_tensors + 1, sizeof *plan->recipe_of);
    plan->walks = calloc((size_t)n_tensors + 1, sizeof *plan->walks);
    plan->has_rows = calloc((size_t)n_tensors + 1, sizeof *plan->has_rows);
    plan->row_tensor = calloc((size_t)n_tensors + 1, sizeof *plan->row_tensor);
    plan->row_item = calloc((size_t)n_tensors + 1, sizeof *plan->row_item);
    /* Items of rows have at least FO_CHUNK elements, except the last one of a tensor,
     * so there are at most n_chunks + n_tensors items. */
    plan->parts = calloc((size_t)(n_chunks + n_tensors) + 1, sizeof *plan->parts);
    plan->sums = calloc((size_t)n_chunks + 1, sizeof *plan->sums);
    plan->factorings = calloc((size_t)n_tensors + 1, sizeof *plan->factorings);
    plan->factored_tensor =
        calloc((size_t)n_tensors + 1, sizeof *plan->factored_tensor);
    plan->factored_item = calloc((size_t)n_tensors + 1, sizeof *plan->factored_item);
    if (!plan->tensors || !plan->groups || !plan->chunks || !plan->item ||
        !plan->recipes || !plan->recipe_of || !plan->walks || !plan->has_rows ||
        !plan->row_tensor || !plan->row_item || !plan->parts || !plan->sums ||
        !plan->factorings || !plan->factored_tensor || !plan->factored_item) {
        fo_plan_free(plan);
        return NULL;
    }
    if (n_tensors)
        memcpy(plan->tensors, tensors, (size_t)n_tensors * sizeof *tensors);
    cut(plan);
    return plan;
}

void fo_plan_free(fo_plan *plan)
{
    if (!plan)
        return;
    free(plan->tensors);
    free(plan->groups);
    free(plan->chunks);
    free(plan->item);
    free(plan->recipes);
    free(plan->recipe_of);
    free(plan->walks);
    free(plan->has_rows);
    free(plan->row_tensor);
    free(plan->row_item);
    free(plan->parts);
    free(plan->sums);
    free(plan->factorings);
    free(plan->factored_tensor);
    free(plan->factored_item);
    free(plan->room);
    free(plan->allocated);
    free(plan);
}

static int reserve_scratch(fo_plan *plan)
{
    enum { ALIGNMENT = _Alignof(fo_scratch) };
    if (plan->n_scratch >= plan->threads)
        return 0;
    void *allocated = malloc((size_t)plan->threads * sizeof(fo_scratch) + ALIGNMENT);
    if (!allocated)
        return 1;
    free(plan->allocated);
    plan->allocated = allocated;
    const uintptr_t misaligned = (uintptr_t)allocated % ALIGNMENT;
    plan->scratch =
        (fo_scratch *)((char *)allocated + (ALIGNMENT - misaligned) % ALIGNMENT);
    plan->n_scratch = plan->threads;
    return 0;
}

static int reserve_room(fo_plan *plan)
{
    if (plan->n_room >= plan->needed_room)
        return 0;
    double *room = malloc((size_t)plan->needed_room * sizeof *room);
    if (!room)
        return 1;
    free(plan->room);
    plan->room = room;
    plan->n_room = plan->needed_room;
    return 0;
}

int fo_plan_reserve(fo_plan *plan)
{
    return reserve_scratch(plan) || reserve_room(plan);
}

fo_tensor *fo_plan_tensors(fo_plan *plan)
{
    return plan->tensors;
}

fo_group *fo_plan_groups(fo_plan *plan)
{
    return plan->groups;
}
