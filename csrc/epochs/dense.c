/* One step on dense rows: every coefficient is updated.
 *
 * L2 is part of the gradient.  L1: for SGD soft thresholding by lr * l1 after the step
 * (Duchi & Singer 2009); for FTRL its own; for the other rules the subgradient, and a
 * coefficient that would change its sign becomes 0 (Andrew & Gao 2007).
 *
 * L2 of a column with a small deviation is large if rows are standardised.  SGD would
 * diverge at lr * l2 > 2; so a step in which lr * l2 >= 1 for any column takes the
 * proximal operator of L1 and L2 instead.
 *
 * The rows of a mini-batch are cut by columns for the gradient, so that each sum has
 * the order of the rows for any number of threads. */
#include "parallel.h"
#include "steps.h"

enum { COLUMNS = 64, NUMBERS = 16384 }; /* that a thread takes at a time */

/* Returns row i as doubles, standardised; `work` has room for it. */
static const double *row_of(const fo_epoch *e, const fo_table *table, int64_t i,
                            double *work, int64_t first, int64_t n)
{
    const int64_t at = i * table->ldx + first;
    if (e->mean) {
        const void *x = table->dtype == FO_F32
                            ? (const void *)((const float *)table->x + at)
                            : (const void *)((const double *)table->x + at);
        fo_kernels()->epoch.standardise[table->dtype](work, x, e->mean + first,
                                                      e->factor + first, n);
        return work;
    }
    if (table->dtype == FO_F64)
        return (const double *)table->x + at;
    const float *x = (const float *)table->x + at;
    fo_kernels()->load[FO_F64][FO_F32](work, (const char *)x, sizeof *x, n);
    return work;
}

static double predictor(const fo_epoch *e, const fo_table *table, int64_t i,
                        const double *x)
{
    const double xw = fo_kernels()->epoch.dot(x, e->w, e->p);
    const double z = e->has_intercept ? xw + e->w[e->p] : xw;
    return table->offset ? z + table->offset[i] : z;
}

typedef struct {
    fo_epoch *e;
    const fo_batch *batch;
} work;

static void predict(void *context, int64_t begin, int64_t end, int thread)
{
    const work *of = context;
    fo_epoch *e = of->e;
    for (int64_t k = begin; k < end; k++) {
        const int64_t i = fo_batch_row(of->batch, k);
        const double *x =
            row_of(e, of->batch->table, i, e->row + thread * e->p, 0, e->p);
        of->batch->z[k] = predictor(e, of->batch->table, i, x);
        e->scores[k] = fo_epoch_slope(e, of->batch->table, i, of->batch->z[k]);
    }
}

static void accumulate(void *context, int64_t begin, int64_t end)
{
    const work *of = context;
    fo_epoch *e = of->e;
    for (int64_t j = begin; j < end; j += COLUMNS) {
        double part[COLUMNS];
        const int64_t n = end - j < COLUMNS ? end - j : COLUMNS;
        memset(e->row + j, 0, (size_t)n * sizeof *e->row);
        for (int64_t k = 0; k < of->batch->n; k++) {
            const int64_t i = fo_batch_row(of->batch, k);
            const double *x = row_of(e, of->batch->table, i, part, j, n);
            fo_kernels()->epoch.add_row(e->row + j, x, e->scores[k], n);
        }
    }
}

/* Computes the scores of a mini-batch, divided by its size, their sum, and the gradient
 * of the loss in e->row.  Returns as fo_dense_step. */
static int64_t batch_gradient(fo_epoch *e, const fo_batch *batch, double *sum)
{
    work of = {e, batch};
    const int64_t grain = 1 + NUMBERS / (e->p + 1);
    *sum = 0.0;
    fo_parallel_for_numbered(batch->n, grain, predict, &of, e->n_threads);
    for (int64_t k = 0; k < batch->n; k++) {
        if (!isfinite(e->scores[k]))
            return k;
        e->scores[k] /= (double)batch->n;
        *sum += e->scores[k];
    }
    fo_parallel_for(e->p, COLUMNS, accumulate, &of,
                    batch->n * e->p < NUMBERS ? 1 : e->n_threads);
    return -1;
}

/* Whether L2 can be part of the gradient of SGD. */
static int is_stable(const fo_epoch *e, double lr)
{
    return !e->l2_of || lr * e->most_l2 < 1.0;
}

/* Updates the coefficients by the gradient a x of the loss, with the same penalty for
 * all columns. */
static void update(fo_epoch *e, const double *x, double a, double lr,
                   const fo_coef *rule)
{
    if (e->rule == FO_RULE_sgd) {
        fo_kernels()->epoch.sgd(e->w, x, a, e->l2, NULL, rule, e->p);
        if (e->l1_of)
            fo_kernels()->epoch.soften(e->w, e->l1_of, lr, e->p);
        return;
    }
    fo_coef prologue;
    const double l2 = e->rule == FO_RULE_ftrl ? 0.0 : e->l2;
    const fo_group group = {.decay = FO_DECAY_COUPLED, .weight_decay = l2};
    fo_kernels()->prologue[FO_F64](&group, 0.0, a, INFINITY, &prologue);
    fo_kernels()->rule[e->rule][FO_F64].with_prologue(e->w, x, (void *const *)e->state,
                                                      e->p, rule, &prologue);
}

/* The same with a penalty for each column. */
static void update_columns(fo_epoch *e, const double *x, double a, double lr,
                           const fo_coef *rule)
{
    const fo_epoch_kernels *kernels = &fo_kernels()->epoch;
    if (e->rule == FO_RULE_sgd) {
        if (is_stable(e, lr)) {
            kernels->sgd(e->w, x, a, 0.0, e->l2_of, rule, e->p);
            if (e->l1 > 0.0)
                kernels->soften(e->w, e->l1_of, lr, e->p);
        } else {
            kernels->sgd(e->w, x, a, 0.0, NULL, rule, e->p);
            kernels->shrink(e->w, e->l1_of, e->l2_of, lr, e->p);
        }
        return;
    }
    kernels->gradient(e->g, x, e->w, e->l2_of, a, e->p);
    if (e->l1_of) {
        kernels->add_l1(e->g, e->w, e->l1_of, e->p);
        memcpy(e->before, e->w, (size_t)e->p * sizeof *e->w);
    }
    fo_kernels()->rule[e->rule][FO_F64].plain(e->w, e->g, (void *const *)e->state, e->p,
                                              rule, NULL);
    if (e->l1_of)
        kernels->stop_at_0(e->w, e->before, e->p);
}

int64_t fo_dense_step(fo_epoch *e, const fo_batch *batch, double lr)
{
    fo_coef rule;
    double a = 1.0, sum;
    const double *x = e->row;
    if (batch->n == 1) {
        const int64_t i = fo_batch_row(batch, 0);
        x = row_of(e, batch->table, i, e->row, 0, e->p);
        batch->z[0] = predictor(e, batch->table, i, x);
        a = sum = fo_epoch_slope(e, batch->table, i, batch->z[0]);
        if (!isfinite(a))
            return 0;
    } else {
        const int64_t bad = batch_gradient(e, batch, &sum);
        if (bad >= 0)
            return bad;
    }
    fo_epoch_begin(e, lr, &rule);
    (e->l2_of ? update_columns : update)(e, x, a, lr, &rule);
    fo_epoch_intercept(e, sum, &rule);
    if (fo_epoch_averages(e))
        fo_kernels()->average[FO_F64](e->average, e->w, e->p + 1,
                                      1.0 / (double)++e->averaged);
    return -1;
}

typedef struct {
    const fo_epoch *e;
    const fo_table *table;
} scored;

static double slope(const void *context, int64_t row, double z, double *out)
{
    const scored *of = context;
    *out = of->table->offset ? z + of->table->offset[row] : z;
    return fo_epoch_slope(of->e, of->table, row, *out);
}

int fo_dense_is_plain(const fo_epoch *e, const fo_table *table, int64_t batch,
                      const double *lr, int64_t n_lr)
{
    if (batch != 1 || e->rule != FO_RULE_sgd || e->average || e->l1 > 0.0 ||
        (table->dtype != FO_F64 && !e->mean))
        return 0;
    int are_stable = 1;
    for (int64_t k = 0; k < n_lr; k++)
        are_stable &= is_stable(e, lr[k]);
    return are_stable;
}

int64_t fo_dense_steps(fo_epoch *e, const fo_batch *rows, const double *lr,
                       int64_t lr_stride)
{
    const scored of = {e, rows->table};
    const fo_row_steps steps = {rows->table->x,
                                rows->table->dtype == FO_F32,
                                rows->table->ldx,
                                e->p,
                                rows->order,
                                rows->first,
                                e->has_intercept,
                                e->w,
                                e->l2,
                                e->l2_of,
                                e->mean,
                                e->factor,
                                {e->row, e->before},
                                lr,
                                lr_stride,
                                rows->z,
                                slope,
                                &of};
    const int64_t taken = fo_kernels()->epoch.sgd_steps(&steps, rows->n);
    e->t += taken;
    return taken < rows->n ? taken : -1;
}
