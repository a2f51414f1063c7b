/* One optimizer step: coefficients, then every chunk through its kernel in one parallel
 * region, then the counters. */
#include "parallel.h"
#include "plan.h"

const fo_rule_info fo_rules[FO_N_RULES] = {
#define FO_RULE(name, n_states, ...) {#name, n_states, #__VA_ARGS__},
#include "rules.def"
#undef FO_RULE
};

static int needs_prologue(const fo_group *group)
{
    return group->maximize || group->weight_decay != 0;
}

static void prepare(const fo_plan *plan, const fo_tensor *tensor, fo_recipe *recipe)
{
    const fo_kernel_table *table = fo_kernels();
    const fo_group *group = &plan->groups[tensor->group];
    const fo_kernel *kernel = &table->rule[group->rule][tensor->dtype];

    recipe->group = tensor->group;
    recipe->dtype = tensor->dtype;
    recipe->t = *tensor->step + 1;
    recipe->saved_before = recipe->saved_after = *tensor->saved;
    kernel->prepare(group->hp, recipe->t, &recipe->saved_after, &recipe->rule);
    recipe->update = kernel->plain;
    if (needs_prologue(group)) {
        table->prologue[tensor->dtype](group, &recipe->prologue);
        recipe->update = kernel->with_prologue;
    }
}

static int fits(const fo_recipe *recipe, const fo_tensor *tensor)
{
    return recipe->group == tensor->group && recipe->dtype == tensor->dtype &&
           recipe->t == *tensor->step + 1 && recipe->saved_before == *tensor->saved;
}

/* Gives every active tensor a recipe, the previous one's where it fits; returns the
 * number of elements to update. */
static int64_t prepare_all(fo_plan *plan)
{
    int64_t active = 0, n_recipes = 0;
    for (int64_t i = 0; i < plan->n_tensors; i++) {
        const fo_tensor *tensor = &plan->tensors[i];
        if (!tensor->grad)
            continue;
        active += tensor->size;
        if (n_recipes == 0 || !fits(&plan->recipes[n_recipes - 1], tensor))
            prepare(plan, tensor, &plan->recipes[n_recipes++]);
        plan->recipe_of[i] = n_recipes - 1;
    }
    return active;
}

static void update_chunk(const fo_plan *plan, const fo_chunk *chunk)
{
    const fo_tensor *tensor = &plan->tensors[chunk->tensor];
    if (!tensor->grad)
        return;
    const fo_recipe *recipe = &plan->recipes[plan->recipe_of[chunk->tensor]];
    const int64_t offset = chunk->begin * (tensor->dtype == FO_F32 ? 4 : 8);
    void *state[FO_MAX_STATES];
    for (int k = 0; k < FO_MAX_STATES; k++)
        state[k] = tensor->state[k] ? (char *)tensor->state[k] + offset : NULL;
    recipe->update((char *)tensor->param + offset, (const char *)tensor->grad + offset,
                   state, chunk->length, &recipe->rule, &recipe->prologue);
}

static void update_items(void *context, int64_t begin, int64_t end)
{
    const fo_plan *plan = context;
    for (int64_t c = plan->item[begin]; c < plan->item[end]; c++)
        update_chunk(plan, &plan->chunks[c]);
}

void fo_step(fo_plan *plan, int n_threads)
{
    const int64_t active = prepare_all(plan);
    fo_parallel_for(plan->n_items, 1, update_items, plan,
                    active < plan->serial_below ? 1 : n_threads);
    for (int64_t i = 0; i < plan->n_tensors; i++) {
        const fo_tensor *tensor = &plan->tensors[i];
        if (tensor->grad) {
            ++*tensor->step;
            *tensor->saved = plan->recipes[plan->recipe_of[i]].saved_after;
        }
    }
}
