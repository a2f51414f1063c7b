/* The total norm of all gradients, and whether they are finite (reduce.h).
 *
 * Equal bits on every machine and for any number of threads: element i of a chunk or
 * tile is added, in double, to lane i mod FO_LANES; chunks and tiles are added in
 * order; then the lanes of a tensor in a work item are summed in order, then the work
 * items. Chunks, tiles and items depend on shapes, strides and rows alone. */
#include "reduce.h"

#include "rows.h"

typedef struct {
    fo_sums sums;
    double squares;
    int64_t nonfinite;
    unsigned char *scratch, *scratch2; /* FO_PANEL bytes each */
} reduction;

static void finish_tensor(reduction *r, int64_t tensor)
{
    double probe = 0.0;
    for (int lane = 0; lane < FO_LANES; lane++) {
        r->squares += r->sums.squares[lane];
        probe += r->sums.probe[lane];
    }
    if (probe != 0.0 && r->nonfinite < 0)
        r->nonfinite = tensor;
    memset(&r->sums, 0, sizeof r->sums);
}

static void sum_chunk(const fo_plan *plan, const fo_chunk *chunk, reduction *r)
{
    const fo_tensor *tensor = &plan->tensors[chunk->tensor];
    if (!tensor->grad)
        return;
    fo_sum_fn *sum = fo_kernels()->sum[tensor->dtype];
    if (!tensor->layout) {
        sum(&r->sums,
            (const char *)tensor->grad + chunk->begin * fo_size_of(tensor->dtype),
            chunk->length);
    } else {
        const fo_walk *walk = &plan->walks[chunk->tensor];
        const fo_range tiles = fo_plan_tiles(plan, chunk);
        for (int64_t t = tiles.begin; t < tiles.end; t++) {
            const fo_tile tile = fo_walk_tile(walk, t, &(fo_offsets){0});
            const fo_view view = fo_grad_view(tensor, &tile);
            sum(&r->sums, fo_stage(&tile, &view, tensor->dtype, r->scratch),
                tile.rows * tile.cols);
        }
    }
    finish_tensor(r, chunk->tensor);
}

static void sum_rows(const fo_plan *plan, int64_t i, fo_range rows, reduction *r)
{
    const fo_tensor *tensor = &plan->tensors[i];
    const fo_walk *walk = &plan->walks[i];
    for (int64_t j = rows.begin; j < rows.end; j++)
        for (int64_t t = 0; t < walk->n_tiles; t++) {
            const fo_tile tile = fo_walk_tile(walk, t, &(fo_offsets){0});
            const void *g = fo_rows_gradient(tensor, j, &tile, r->scratch, r->scratch2);
            fo_kernels()->sum[tensor->dtype](&r->sums, g, tile.rows * tile.cols);
        }
    finish_tensor(r, i);
}

static void sum_items(void *context, int64_t begin, int64_t end)
{
    fo_plan *plan = context;
    _Alignas(64) unsigned char scratch[2][FO_PANEL];
    for (int64_t i = begin; i < end; i++) {
        reduction r = {.nonfinite = -1, .scratch = scratch[0], .scratch2 = scratch[1]};
        const fo_work work = fo_plan_work(plan, i);
        for (int64_t c = work.chunks.begin; c < work.chunks.end; c++)
            sum_chunk(plan, &plan->chunks[c], &r);
        if (work.tensor >= 0)
            sum_rows(plan, work.tensor, work.rows, &r);
        plan->parts[i] = (fo_part){r.squares, r.nonfinite};
    }
}

double fo_reduce(fo_plan *plan, int n_threads, int64_t *nonfinite)
{
    const int64_t n_items = fo_plan_items(plan);
    fo_parallel_for(n_items, 1, sum_items, plan, n_threads);
    double squares = 0.0;
    *nonfinite = -1;
    for (int64_t i = 0; i < n_items; i++) {
        const int64_t bad = plan->parts[i].nonfinite;
        squares += plan->parts[i].squares;
        if (bad >= 0 && (*nonfinite < 0 || bad < *nonfinite))
            *nonfinite = bad;
    }
    return sqrt(squares);
}
