/* The loop over the steps of an epoch (epochs.h), and what dense.c and sparse.c share.
 *
 * A step is the gradient of its rows, then one update of the coefficients.  Threads
 * share the work inside a step; no number depends on which of them computes it. */
#include "epochs.h"

#include "steps.h"

void fo_epoch_begin(fo_epoch *e, double lr, fo_coef *rule)
{
    const int64_t t = ++e->t;
    e->hp[0] = lr;
    if (e->rule == FO_RULE_ftrl) { /* it has the sum of the penalties of all steps */
        fo_ftrl_hp *hp = (fo_ftrl_hp *)e->hp;
        hp->l1_regularization_strength = (double)t * e->l1;
        hp->l2_regularization_strength = (double)t * e->l2;
    }
    fo_kernels()->rule[e->rule][FO_F64].prepare(e->hp, t, e->saved, rule);
}

void fo_epoch_intercept(fo_epoch *e, double gradient, const fo_coef *rule)
{
    fo_coef unpenalised;
    void *state[FO_MAX_STATES];
    if (!e->has_intercept)
        return;
    const fo_kernel *kernel = &fo_kernels()->rule[e->rule][FO_F64];
    for (int k = 0; k < FO_MAX_STATES; k++)
        state[k] = e->state[k] ? e->state[k] + e->p : NULL;
    if (e->rule == FO_RULE_ftrl) {
        fo_ftrl_hp hp = *(const fo_ftrl_hp *)e->hp;
        hp.l1_regularization_strength = hp.l2_regularization_strength = 0.0;
        kernel->prepare((const double *)&hp, e->t, e->saved, &unpenalised);
        rule = &unpenalised;
    }
    kernel->plain(e->w + e->p, &gradient, state, 1, rule, NULL);
}

enum { AHEAD = 4 }; /* CSR rows that are prefetched, which may be in any order */

static FO_INLINE void prefetch_row(const fo_table *table, int64_t i)
{
    const int64_t first = table->start[i], n = table->start[i + 1] - first;
    const int64_t size = table->dtype == FO_F32 ? 4 : 8;
    fo_prefetch_row((const char *)table->x + first * size, n * size);
    fo_prefetch_row(table->column + first, n * (int64_t)sizeof *table->column);
}

int64_t fo_epoch_rows(fo_epoch *e, const fo_table *table, const int64_t *order,
                      int64_t first, int64_t n, int64_t batch, const double *lr,
                      int64_t lr_stride, double *z)
{
    if (!table->start && fo_dense_is_plain(e, table, batch, lr, lr_stride ? n : 1)) {
        const fo_batch all = {table, order ? order + first : NULL, first, n, z};
        return fo_dense_steps(e, &all, lr, lr_stride);
    }
    for (int64_t i = 0; i < n; i += batch, lr += lr_stride) {
        const int64_t rest = n - i;
        const fo_batch rows = {table, order ? order + first + i : NULL, first + i,
                               rest < batch ? rest : batch, z + i};
        if (table->start && batch == 1 && rest > AHEAD)
            prefetch_row(table, order ? order[first + i + AHEAD] : first + i + AHEAD);
        const int64_t bad =
            table->start ? fo_sparse_step(e, &rows, *lr) : fo_dense_step(e, &rows, *lr);
        if (bad >= 0)
            return i + bad;
    }
    return -1;
}

double fo_epoch_loss(const fo_epoch *e, const fo_table *table, const int64_t *order,
                     int64_t n, const double *z)
{
    double sum = 0.0;
    fo_observation at = {0};
    for (int64_t k = 0; k < n; k++) {
        const int64_t i = order ? order[k] : k;
        if (e->family != FO_BERNOULLI_LOGIT) /* whose deviance is that of z */
            at = fo_observe(e->family, e->shape, table->y[i], z[k]);
        const double of = fo_deviance(e->family, e->shape, table->y[i], z[k], &at);
        sum += table->weight ? table->weight[i] * of : of;
    }
    return 0.5 * sum;
}

/* What is found in the columns of some rows, one after the other. */
typedef struct {
    int32_t outside; /* negative if a column is, or last - column */
    uint32_t falls;  /* columns that are not larger than the one before */
} found;

static found look_at(const int32_t *column, int64_t n, int32_t last)
{
    found of = {n > 0 ? column[0] | (int32_t)((uint32_t)last - (uint32_t)column[0]) : 0,
                0};
    for (int64_t k = 1; k < n; k++) {
        of.outside |= column[k] | (int32_t)((uint32_t)last - (uint32_t)column[k]);
        of.falls += column[k] <= column[k - 1];
    }
    return of;
}

int64_t fo_table_bad_row(const fo_table *table, int64_t n_values, int *increase)
{
    enum { ROWS = 64 }; /* that are looked at together, because one may be short */
    const int64_t *start = table->start;
    const int32_t last = (int32_t)(table->p <= INT32_MAX ? table->p - 1 : INT32_MAX);
    *increase = 1;
    for (int64_t i = 0; i < table->n; i += ROWS) {
        const int64_t end = i + ROWS < table->n ? i + ROWS : table->n;
        for (int64_t k = i; k < end; k++)
            if (start[k] < 0 || start[k] > start[k + 1] || start[k + 1] > n_values)
                return k;
        const int32_t *column = table->column + start[i];
        const found all = look_at(column, start[end] - start[i], last);
        uint32_t between = 0; /* falls from a row to the next */
        for (int64_t k = i + 1; k < end; k++)
            if (start[k] > start[i] && start[k] < start[k + 1])
                between += table->column[start[k]] <= table->column[start[k] - 1];
        if (all.falls != between)
            *increase = 0;
        for (int64_t k = i; all.outside < 0 && k < end; k++)
            if (look_at(table->column + start[k], start[k + 1] - start[k], last)
                    .outside < 0)
                return k;
    }
    return -1;
}
