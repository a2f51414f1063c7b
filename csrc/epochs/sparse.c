/* One step on CSR rows: only the columns present in the rows of the step are updated.
 *
 * SGD: the coefficients are scale * w, so that L2 is one multiplication, and L1 is done
 * when a column is used next: `due` is the sum of lr * l1 / scale, done[j] its value
 * when column j was used last.  This equals a step on dense rows, up to rounding.
 *
 * FTRL: w is a function of the states and of t, computed when a column is used.  This
 * equals a step on dense rows, too.
 *
 * Other rules: the states of columns that are not present do not change.  Without a
 * penalty this equals a dense step of AdaGrad.  The penalty of a column counts once for
 * each step since the column was last updated, at most MOST_LR / (lr * l2) times.
 *
 * The average: with `scales` the sum of scale over the steps so far, and a change d of
 * w_j, missed[j] += scales * d; the sum of scale * w_j over the steps is then scales *
 * w_j - missed[j] (Bottou 2012). */
#include "parallel.h"
#include "steps.h"

#define MOST_LR 0.1
#define LEAST_SCALE 1e-9
enum { ROWS = 64 }; /* that a thread takes at a time */

typedef struct {
    const char *x;
    const int32_t *column;
    int64_t n;
} sparse_row;

static sparse_row row_of(const fo_table *table, int64_t i)
{
    const int64_t first = table->start[i], size = table->dtype == FO_F32 ? 4 : 8;
    return (sparse_row){(const char *)table->x + first * size, table->column + first,
                        table->start[i + 1] - first};
}

static double predictor(const fo_epoch *e, const fo_table *table, int64_t i)
{
    const sparse_row row = row_of(table, i);
    const double xw = e->scale * fo_kernels()->epoch.sparse_dot[table->dtype](
                                     row.x, row.column, e->w, row.n);
    const double z = e->has_intercept ? xw + e->w[e->p] : xw;
    return table->offset ? z + table->offset[i] : z;
}

typedef struct {
    fo_epoch *e;
    const fo_batch *batch;
} work;

static void predict(void *context, int64_t begin, int64_t end)
{
    const work *of = context;
    fo_epoch *e = of->e;
    for (int64_t k = begin; k < end; k++) {
        const int64_t i = fo_batch_row(of->batch, k);
        of->batch->z[k] = predictor(e, of->batch->table, i);
        e->scores[k] = fo_epoch_slope(e, of->batch->table, i, of->batch->z[k]);
    }
}

/* Computes the scores of the step, divided by its number of rows, and their sum.
 * Returns as fo_sparse_step. */
static int64_t slopes(fo_epoch *e, const fo_batch *batch, double *sum)
{
    work of = {e, batch};
    *sum = 0.0;
    if (batch->n == 1)
        predict(&of, 0, 1);
    else
        fo_parallel_for(batch->n, ROWS, predict, &of, e->n_threads);
    for (int64_t k = 0; k < batch->n; k++) {
        if (!isfinite(e->scores[k]))
            return k;
        e->scores[k] /= (double)batch->n;
        *sum += e->scores[k];
    }
    return -1;
}

static void intercept(fo_epoch *e, double gradient, const fo_coef *rule)
{
    fo_epoch_intercept(e, gradient, rule);
    if (fo_epoch_averages(e)) {
        e->intercepts += e->w[e->p];
        e->scales += e->scale;
        e->pending++;
    }
}

/* Multiplies the scale of SGD's coefficients by 1 - lr * l2. */
static void decay(fo_epoch *e, double lr)
{
    const double keep = 1.0 - lr * e->l2;
    if (keep * e->scale >= LEAST_SCALE) {
        e->scale *= keep;
        return;
    }
    fo_epoch_settle(e);
    for (int64_t j = 0; j < e->p; j++)
        e->w[j] *= keep;
}

static int64_t sgd_step(fo_epoch *e, const fo_batch *batch, double lr)
{
    const fo_epoch_kernels *kernels = &fo_kernels()->epoch;
    const fo_table *table = batch->table;
    fo_coef rule;
    double sum;
    if (e->l1 > 0.0)
        for (int64_t k = 0; k < batch->n; k++) {
            const sparse_row row = row_of(table, fo_batch_row(batch, k));
            kernels->sparse_soften(e->w, e->done, e->due, row.column, row.n);
        }
    const int64_t bad = slopes(e, batch, &sum);
    if (bad >= 0)
        return bad;
    fo_epoch_begin(e, lr, &rule);
    if (e->l2 > 0.0)
        decay(e, lr);
    for (int64_t k = 0; k < batch->n; k++) {
        const sparse_row row = row_of(table, fo_batch_row(batch, k));
        const double a = e->scores[k] / e->scale;
        kernels->sparse_sgd[table->dtype](e->w, row.x, row.column, a, &rule, row.n);
        if (fo_epoch_averages(e))
            kernels->sparse_sgd[table->dtype](e->missed, row.x, row.column,
                                              e->scales * a, &rule, row.n);
    }
    e->due += lr * e->l1 / e->scale;
    intercept(e, sum, &rule);
    return -1;
}

/* Writes the distinct columns of the rows to e->touched; returns their number. */
static int64_t touched_columns(fo_epoch *e, const fo_batch *batch)
{
    int64_t n = 0;
    for (int64_t k = 0; k < batch->n; k++) {
        const sparse_row row = row_of(batch->table, fo_batch_row(batch, k));
        for (int64_t i = 0; i < row.n; i++) {
            const int32_t j = row.column[i];
            if (!e->marked[j])
                e->touched[n++] = j;
            e->marked[j] = 1;
        }
    }
    for (int64_t i = 0; i < n; i++)
        e->marked[e->touched[i]] = 0;
    return n;
}

/* Writes the gradient of the loss for n columns, in the order of `column`, to g. */
static void loss_gradient(fo_epoch *e, const fo_batch *batch, const int32_t *column,
                          int64_t n, double *g)
{
    const fo_kernel_table *kernels = fo_kernels();
    const fo_table *table = batch->table;
    if (batch->n == 1) {
        const sparse_row row = row_of(table, fo_batch_row(batch, 0));
        kernels->load[FO_F64][table->dtype](g, row.x, table->dtype == FO_F32 ? 4 : 8,
                                            n);
        for (int64_t i = 0; i < n; i++)
            g[i] *= e->scores[0];
        return;
    }
    for (int64_t k = 0; k < batch->n; k++) {
        const sparse_row row = row_of(table, fo_batch_row(batch, k));
        kernels->epoch.sparse_add[table->dtype](e->g, row.x, row.column, e->scores[k],
                                                row.n);
    }
    kernels->epoch.gather(g, e->g, column, n);
    for (int64_t i = 0; i < n; i++)
        e->g[column[i]] = 0.0;
}

/* Adds the penalty to the gradient, for all steps since each column was updated last.
 * Uses `penalty` as work. */
static void add_penalty(fo_epoch *e, const int32_t *column, int64_t n, double lr,
                        const double *w, double *g, double *penalty)
{
    const double most = lr * e->l2 > 0.0 ? fmax(1.0, MOST_LR / (lr * e->l2)) : INFINITY;
    for (int64_t i = 0; i < n; i++) {
        const double steps = (double)(e->t - e->last[column[i]]);
        penalty[i] = steps < most ? steps : most;
        e->last[column[i]] = e->t;
        g[i] += penalty[i] * e->l2 * w[i];
        penalty[i] *= e->l1;
    }
    if (e->l1 > 0.0)
        fo_kernels()->epoch.add_l1(g, w, penalty, n);
}

/* The states and coefficients of n columns, as contiguous arrays in e->sparse. */
typedef struct {
    double *w, *g, *penalty, *before;
    void *state[FO_MAX_STATES];
} gathered;

static gathered gather(fo_epoch *e, const int32_t *column, int64_t n)
{
    double *part[FO_SPARSE_WORK];
    for (int k = 0; k < FO_SPARSE_WORK; k++)
        part[k] = e->sparse + k * e->p;
    gathered of = {part[0], part[1], part[2], part[3], {NULL}};
    fo_kernels()->epoch.gather(of.w, e->w, column, n);
    for (int k = 0; k < FO_MAX_STATES && e->state[k]; k++) {
        of.state[k] = part[4 + k];
        fo_kernels()->epoch.gather(part[4 + k], e->state[k], column, n);
    }
    return of;
}

/* Computes FTRL's w from its states, as of the last step. */
static void refresh(fo_epoch *e, const gathered *of, int64_t n)
{
    fo_coef rule;
    const fo_kernel *kernel = &fo_kernels()->rule[e->rule][FO_F64];
    if (e->t == 0)
        return;
    kernel->prepare(e->hp, e->t, e->saved, &rule);
    memset(of->g, 0, (size_t)n * sizeof *of->g);
    kernel->plain(of->w, of->g, of->state, n, &rule, NULL);
}

static int64_t lazy_step(fo_epoch *e, const fo_batch *batch, double lr)
{
    const fo_epoch_kernels *kernels = &fo_kernels()->epoch;
    const int penalised = e->last != NULL;
    const int32_t *column = e->touched;
    int64_t n;
    fo_coef rule;
    double sum;
    if (batch->n == 1) {
        const sparse_row row = row_of(batch->table, fo_batch_row(batch, 0));
        column = row.column, n = row.n;
    } else {
        n = touched_columns(e, batch);
    }
    const gathered of = gather(e, column, n);
    if (e->rule == FO_RULE_ftrl) {
        refresh(e, &of, n);
        kernels->scatter(e->w, of.w, column, n);
    }
    const int64_t bad = slopes(e, batch, &sum);
    if (bad >= 0)
        return bad;
    fo_epoch_begin(e, lr, &rule);
    loss_gradient(e, batch, column, n, of.g);
    if (penalised)
        add_penalty(e, column, n, lr, of.w, of.g, of.penalty);
    memcpy(of.before, of.w, (size_t)n * sizeof *of.w);
    fo_kernels()->rule[e->rule][FO_F64].plain(of.w, of.g, of.state, n, &rule, NULL);
    if (penalised && e->l1 > 0.0)
        kernels->stop_at_0(of.w, of.before, n);
    kernels->scatter(e->w, of.w, column, n);
    for (int k = 0; k < FO_MAX_STATES && e->state[k]; k++)
        kernels->scatter(e->state[k], of.state[k], column, n);
    if (fo_epoch_averages(e))
        for (int64_t i = 0; i < n; i++)
            e->missed[column[i]] += e->scales * (of.w[i] - of.before[i]);
    intercept(e, sum, &rule);
    return -1;
}

int64_t fo_sparse_step(fo_epoch *e, const fo_batch *batch, double lr)
{
    return e->rule == FO_RULE_sgd ? sgd_step(e, batch, lr) : lazy_step(e, batch, lr);
}

/* Updates the average by the pending steps; the coefficients are scale * w. */
static void settle_average(fo_epoch *e)
{
    const double n = (double)e->pending, count = (double)(e->averaged += e->pending);
    for (int64_t j = 0; j < e->p; j++) {
        const double sum = e->scales * e->w[j] - e->missed[j];
        e->average[j] += (sum - n * e->average[j]) / count;
        e->missed[j] = 0.0;
    }
    e->average[e->p] += (e->intercepts - n * e->average[e->p]) / count;
    e->scales = e->intercepts = 0.0;
    e->pending = 0;
}

void fo_epoch_settle(fo_epoch *e)
{
    if (e->rule == FO_RULE_ftrl && e->t > 0 && e->touched) {
        fo_coef rule;
        const fo_kernel *kernel = &fo_kernels()->rule[e->rule][FO_F64];
        kernel->prepare(e->hp, e->t, e->saved, &rule);
        memset(e->g, 0, (size_t)e->p * sizeof *e->g);
        kernel->plain(e->w, e->g, (void *const *)e->state, e->p, &rule, NULL);
    }
    if (e->done)
        for (int64_t j = 0; j < e->p; j++)
            e->done[j] = e->due - e->done[j];
    if (e->pending)
        settle_average(e);
    if (e->done) {
        fo_kernels()->epoch.soften(e->w, e->done, 1.0, e->p);
        memset(e->done, 0, (size_t)e->p * sizeof *e->done);
        e->due = 0.0;
    }
    if (e->scale != 1.0)
        for (int64_t j = 0; j < e->p; j++)
            e->w[j] *= e->scale;
    e->scale = 1.0;
}
