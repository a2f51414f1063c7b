/* The total norm of all gradients, and whether they are finite (reduce.h).
 *
 * Equal bits on every machine and for any number of threads: element i of a chunk or
 * tile is added, in double, to lane i mod FO_LANES; chunks and tiles are added in
 * order; then the lanes of a tensor in a work item are summed in order, then the work
 * items.  Chunks, tiles and items depend on shapes, strides and rows alone.
 *
 * The squares of float64 gradients may overflow or underflow.  The sum is then computed
 * again, from gradients that are multiplied by a power of two. */
#include "reduce.h"

#include "rows.h"

typedef struct {
    const fo_step_context *s;
    double unit; /* sum the squares of unit * g */
} job;

typedef struct {
    const job *job;
    fo_sums sums;
    double squares;
    int64_t nonfinite;
    fo_scratch *scratch; /* NULL if no gradient needs staging */
} reduction;

static void sum(reduction *r, fo_dtype dtype, const void *g, int64_t n)
{
    if (r->job->unit == 1.0)
        fo_kernels()->sum[dtype](&r->sums, g, n, r->job->s->scale);
    else
        fo_kernels()->sum_in_units[dtype](r->sums.squares, g, n, r->job->unit);
}

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
    if (!tensor->layout) {
        sum(r, tensor->dtype,
            (const char *)tensor->grad + chunk->begin * fo_size_of(tensor->dtype),
            chunk->length);
    } else {
        const fo_walk *walk = &plan->walks[chunk->tensor];
        const fo_range tiles = fo_plan_tiles(plan, chunk);
        for (int64_t t = tiles.begin; t < tiles.end; t++) {
            const fo_tile tile = fo_walk_tile(walk, t, &(fo_offsets){0});
            const fo_view view = fo_grad_view(tensor, &tile);
            sum(r, tensor->dtype,
                fo_stage(&tile, &view, tensor->dtype, r->scratch->panel),
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
            const void *g =
                fo_rows_gradient(tensor, j, &tile, r->scratch->tile[FO_GRAD],
                                 r->scratch->tile[FO_AVERAGE]);
            sum(r, tensor->dtype, g, tile.rows * tile.cols);
        }
    finish_tensor(r, i);
}

static void sum_items(void *context, int64_t begin, int64_t end, int thread)
{
    const job *of = context;
    fo_plan *plan = of->s->plan;
    fo_scratch *scratch = fo_scratch_of(plan, thread);
    for (int64_t i = begin; i < end; i++) {
        reduction r = {.job = of, .nonfinite = -1, .scratch = scratch};
        const fo_work work = fo_plan_work(plan, i);
        for (int64_t c = work.chunks.begin; c < work.chunks.end; c++)
            sum_chunk(plan, &plan->chunks[c], &r);
        if (work.tensor >= 0)
            sum_rows(plan, work.tensor, work.rows, &r);
        plan->parts[i] = (fo_part){r.squares, r.nonfinite};
    }
}

static double sum_all(const fo_step_context *s, double unit, int n_threads)
{
    job of = {s, unit};
    const int64_t n_items = fo_plan_items(s->plan);
    fo_parallel_for_numbered(n_items, 1, sum_items, &of, n_threads);
    double squares = 0.0;
    for (int64_t i = 0; i < n_items; i++)
        squares += s->plan->parts[i].squares;
    return squares;
}

static int64_t first_nonfinite(const fo_plan *plan)
{
    int64_t first = -1;
    const int64_t n_items = fo_plan_items(plan);
    for (int64_t i = 0; i < n_items; i++) {
        const int64_t bad = plan->parts[i].nonfinite;
        if (bad >= 0 && (first < 0 || bad < first))
            first = bad;
    }
    return first;
}

static int some_in_double(const fo_plan *plan)
{
    for (int64_t i = 0; i < plan->n_tensors; i++)
        if (plan->tensors[i].grad && plan->tensors[i].dtype == FO_F64)
            return 1;
    return 0;
}

/* If a sum of squares is below SMALL, some squares may have underflowed.  The gradients
 * are then multiplied by 2^600, after which no square underflows or overflows.  If the
 * sum is infinite, they are multiplied by 2^-600: no square then overflows, and those
 * that underflow are too small to affect the sum. */
#define SMALL 0x1p-900

fo_total fo_reduce(const fo_step_context *s, int n_threads)
{
    const double squares = sum_all(s, 1.0, n_threads);
    const int64_t nonfinite = first_nonfinite(s->plan);
    /* In double, the squares of floats neither overflow nor underflow. */
    if (!(squares == INFINITY || squares < SMALL) || !some_in_double(s->plan))
        return (fo_total){sqrt(squares), 1.0, nonfinite};
    const double unit = squares == INFINITY ? 0x1p-600 : 0x1p600;
    return (fo_total){sqrt(sum_all(s, unit, n_threads)), 1.0 / unit, nonfinite};
}
