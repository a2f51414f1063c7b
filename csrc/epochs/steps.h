/* What the files of csrc/epochs share: the learning rate and coefficients of a step,
 * the score of a row, and the steps of dense.c and sparse.c. */
#ifndef FO_EPOCH_STEPS_H
#define FO_EPOCH_STEPS_H

#include "epochs.h"
#include "kernels/kernels.h"

/* The rows of one step. */
typedef struct {
    const fo_table *table;
    const int64_t *order; /* NULL: `first`, first + 1, ... */
    int64_t first, n;
    double *z;
} fo_batch;

static inline int64_t fo_batch_row(const fo_batch *batch, int64_t i)
{
    return batch->order ? batch->order[i] : batch->first + i;
}

/* Begins the next step: computes the coefficients of the rule for this learning rate.
 */
void fo_epoch_begin(fo_epoch *e, double lr, fo_coef *rule);

/* The derivative of weight * loss with respect to the linear predictor. */
static inline double fo_epoch_slope(const fo_epoch *e, const fo_table *table,
                                    int64_t row, double z)
{
    const double score = fo_observe(e->family, e->shape, table->y[row], z).score;
    return table->weight ? -(table->weight[row] * score) : -score;
}

/* Updates the intercept by its gradient. */
void fo_epoch_intercept(fo_epoch *e, double gradient, const fo_coef *rule);

/* Return -1, or the position in the batch of a row whose score is not finite; then
 * nothing has changed. */
int64_t fo_dense_step(fo_epoch *e, const fo_batch *batch, double lr);
int64_t fo_sparse_step(fo_epoch *e, const fo_batch *batch, double lr);

/* Whether steps on dense rows can be taken by fo_dense_steps, many in one call: those
 * of SGD, one row each, with at most an L2 penalty, with these learning rates. */
int fo_dense_is_plain(const fo_epoch *e, const fo_table *table, int64_t batch,
                      const double *lr, int64_t n_lr);
int64_t fo_dense_steps(fo_epoch *e, const fo_batch *rows, const double *lr,
                       int64_t lr_stride);

/* Whether the average includes the coefficients after step e->t. */
static inline int fo_epoch_averages(const fo_epoch *e)
{
    return e->average && e->t >= e->average_from;
}

#endif
