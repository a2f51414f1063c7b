/* From tensors to chunks and work items, by their sizes alone.
 *
 * Large tensors are cut into chunks; small ones are gathered until they make up about a
 * chunk, so that work items weigh the same and a list of many small tensors is no
 * slower than a large one. */
#include "plan.h"

#include <stdlib.h>

static int64_t chunks_of(int64_t size)
{
    return (size + FO_CHUNK - 1) / FO_CHUNK;
}

static void cut(fo_plan *plan)
{
    int64_t chunk = 0, items = 0, room = 0;
    for (int64_t i = 0; i < plan->n_tensors; i++) {
        const int64_t size = plan->tensors[i].size;
        for (int64_t begin = 0; begin < size; begin += FO_CHUNK) {
            const int64_t rest = size - begin,
                          length = rest < FO_CHUNK ? rest : FO_CHUNK;
            if (room < length) {
                plan->item[items++] = chunk;
                room = FO_CHUNK;
            }
            plan->chunks[chunk++] = (fo_chunk){i, begin, length};
            room -= length;
        }
    }
    plan->item[items] = chunk;
    plan->n_items = items;
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
    plan->n_tensors = n_tensors;
    plan->n_groups = n_groups;
    plan->serial_below = serial_below;
    /* One more than needed: calloc(0) may be NULL without being a failure. */
    plan->tensors = calloc((size_t)n_tensors + 1, sizeof *plan->tensors);
    plan->groups = calloc((size_t)n_groups + 1, sizeof *plan->groups);
    plan->chunks = calloc((size_t)n_chunks + 1, sizeof *plan->chunks);
    plan->item = calloc((size_t)n_chunks + 1, sizeof *plan->item);
    plan->recipes = calloc((size_t)n_tensors + 1, sizeof *plan->recipes);
    plan->recipe_of = calloc((size_t)n_tensors + 1, sizeof *plan->recipe_of);
    if (!plan->tensors || !plan->groups || !plan->chunks || !plan->item ||
        !plan->recipes || !plan->recipe_of) {
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
    free(plan);
}

fo_tensor *fo_plan_tensors(fo_plan *plan)
{
    return plan->tensors;
}

fo_group *fo_plan_groups(fo_plan *plan)
{
    return plan->groups;
}
