/* Sums of terms before the update of a rule (sums.h).
 *
 * Equal bits on every machine and for any number of threads: element i of a chunk or
 * tile is added, in double, to lane i mod FO_LANES; tiles are added in order; the lanes
 * of a chunk are summed in order, then the chunks of a tensor or of all tensors. */
#include "sums.h"

static void sum_piece(const fo_step_context *s, int64_t i, const fo_tile *piece,
                      const void *g, fo_scratch *scratch)
{
    const fo_recipe *recipe = &s->plan->recipes[s->plan->recipe_of[i]];
    fo_staged staged;
    fo_stage_tile(&staged, s, i, piece, scratch);
    recipe->summation->add_terms(scratch->lanes, staged.w, g, staged.state,
                                 piece->rows * piece->cols, &recipe->rule,
                                 &recipe->prologue);
}

typedef struct {
    const fo_recipe *recipe;
    fo_lanes *lanes;
} strip_sums;

static void sum_strip(const void *context, const fo_arrays *strip, int64_t n)
{
    const strip_sums *sums = context;
    const fo_recipe *recipe = sums->recipe;
    recipe->summation->add_terms(sums->lanes, strip->param, strip->grad, strip->state,
                                 n, &recipe->rule, &recipe->prologue);
}

static void sum_chunk(const fo_step_context *s, int64_t number, fo_lanes *lanes,
                      fo_scratch *scratch)
{
    const fo_plan *plan = s->plan;
    const fo_chunk *chunk = &plan->chunks[number];
    const int64_t i = chunk->tensor;
    const fo_tensor *tensor = &plan->tensors[i];
    const fo_recipe *recipe = &plan->recipes[plan->recipe_of[i]];
    if (tensor->layout) {
        const fo_range tiles = fo_plan_tiles(plan, chunk);
        memset(scratch->lanes, 0, sizeof scratch->lanes);
        for (int64_t t = tiles.begin; t < tiles.end; t++) {
            const fo_tile tile = fo_walk_tile(&plan->walks[i], t, &(fo_offsets){0});
            fo_each_piece(s, i, &tile, scratch, sum_piece);
        }
        memcpy(lanes, scratch->lanes, sizeof scratch->lanes);
        return;
    }
    const fo_arrays arrays = fo_chunk_arrays(tensor, chunk);
    const int64_t size = fo_size_of(tensor->dtype);
    const strip_sums sums = {recipe, lanes};
    fo_in_strips(&arrays, (fo_sizes){size, size}, chunk->length, FO_FROM_THE_START,
                 s->plan->prefetches, sum_strip, &sums);
}

static int needs_sums(const fo_plan *plan, int64_t i)
{
    return plan->tensors[i].grad && plan->recipes[plan->recipe_of[i]].summation->n > 0;
}

static void sum_items(void *context, int64_t begin, int64_t end, int thread)
{
    const fo_step_context *s = context;
    fo_plan *plan = s->plan;
    fo_scratch *scratch = fo_scratch_of(plan, thread);
    for (int64_t i = begin; i < end; i++) {
        const fo_work work = fo_plan_work(plan, i);
        for (int64_t c = work.chunks.begin; c < work.chunks.end; c++) {
            if (!needs_sums(plan, plan->chunks[c].tensor))
                continue;
            fo_lanes lanes[FO_MAX_SUMS] = {{0}};
            sum_chunk(s, c, lanes, scratch);
            for (int k = 0; k < FO_MAX_SUMS; k++) {
                plan->sums[c][k] = 0.0;
                for (int lane = 0; lane < FO_LANES; lane++)
                    plan->sums[c][k] += lanes[k][lane];
            }
        }
    }
}

static void add_chunk(fo_totals *totals, int64_t length, const double *sums)
{
    totals->size += length;
    for (int k = 0; k < FO_MAX_SUMS; k++)
        totals->sums[k] += sums[k];
}

/* Completes the coefficients of a recipe. */
static void finish(const fo_step_context *s, fo_recipe *recipe, const fo_totals *totals)
{
    const fo_group *group = &s->plan->groups[recipe->group];
    const double lr = recipe->summation->finish(totals->sums, totals->size, group->hp,
                                                recipe->saved_after, &recipe->rule);
    fo_kernels()->prologue[recipe->dtype](group, lr, s->scale,
                                          s->extras->max_grad_value, &recipe->prologue);
}

void fo_finish_recipes(const fo_step_context *s, int64_t n_recipes, int n_threads)
{
    fo_plan *plan = s->plan;
    int some = 0;
    for (int64_t r = 0; r < n_recipes; r++)
        some |= plan->recipes[r].summation->n > 0;
    if (!some)
        return;
    fo_totals of_all[FO_N_RULES] = {{{0}, 0}};
    const int64_t n_items = fo_plan_items(plan);
    fo_parallel_for_numbered(n_items, 1, sum_items, (void *)s, n_threads);
    for (int64_t c = 0; c < plan->item[plan->n_items]; c++) {
        const fo_chunk *chunk = &plan->chunks[c];
        if (!needs_sums(plan, chunk->tensor))
            continue;
        fo_recipe *recipe = &plan->recipes[plan->recipe_of[chunk->tensor]];
        add_chunk(&recipe->totals, chunk->length, plan->sums[c]);
        add_chunk(&of_all[plan->groups[recipe->group].rule], chunk->length,
                  plan->sums[c]);
    }
    for (int64_t r = 0; r < n_recipes; r++) {
        fo_recipe *recipe = &plan->recipes[r];
        if (recipe->summation->n)
            finish(s, recipe,
                   recipe->summation->scope == FO_OF_ALL
                       ? &of_all[plan->groups[recipe->group].rule]
                       : &recipe->totals);
    }
}
