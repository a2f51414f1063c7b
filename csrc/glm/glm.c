/* The functions of glm.h: which precision X has. */
#include "glm.h"

#include <math.h>
#include <string.h>

static double least(double a, double b)
{
    return a < b ? a : b;
}

static double greatest(double a, double b)
{
    return a > b ? a : b;
}

#define FO_BITS 32
#include "glm.inc"
#undef FO_BITS
#define FO_BITS 64
#include "glm.inc"

/* Adds the unit deviance and the squared Pearson residual of one observation. */
static fo_observation add_fit(const fo_glm_at *at, double y, double z, double weight,
                              double *deviance, double *pearson)
{
    const fo_observation seen = fo_observe(at->family, at->shape, y, z);
    *deviance += weight * fo_deviance(at->family, at->shape, y, z, &seen);
    /* (y - m)^2 / V, whose parts may underflow where the quotient does not */
    *pearson +=
        seen.score == 0.0 ? 0.0 : weight * (seen.score * seen.score / seen.weight);
    return seen;
}

void fo_glm_chunk(const fo_glm_at *at, const fo_glm_rows *of, int64_t n, int is_scaled,
                  double *rows, double *score, fo_glm_sums *sums)
{
    const int64_t q = at->p + at->has_intercept;
    for (int64_t i = 0; i < n; i++) {
        double *row = is_scaled ? rows + i * q : rows;
        const double weight = of->weight ? of->weight[i] : 1.0;
        const double offset = of->offset ? of->offset[i] : 0.0;
        const double z = offset + (of->is_single ? centred_f32(at, of, i, row)
                                                 : centred_f64(at, of, i, row));
        const fo_observation seen =
            add_fit(at, of->y[i], z, weight, &sums->deviance, &sums->pearson);
        if (at->has_null)
            add_fit(at, of->y[i], at->null + offset, weight, &sums->null_deviance,
                    &sums->null_pearson);
        const double own = weight * seen.score, root = sqrt(weight * seen.weight);
        for (int64_t j = 0; j < q; j++)
            score[j] += own * row[j];
        if (is_scaled)
            for (int64_t j = 0; j < q; j++)
                row[j] *= root;
    }
}

void fo_glm_columns(const fo_glm_rows *of, int64_t n, int64_t p, double *low,
                    double *high, double *total)
{
    (of->is_single ? columns_f32 : columns_f64)(of, n, p, low, high, total);
}

/* Blocks of rows are combined by their means and squares (Chan, Golub & LeVeque 1983).
 * Those of a block are sums of differences from its row of the largest weight, whose
 * distance from the mean the squares of the block bound. */
void fo_glm_squares(const fo_glm_rows *of, int64_t n, int64_t p, double *total,
                    double *mean, double *squares, double *work)
{
    enum { ROWS = 128 };
    double *sum = work, *square = work + p;
    for (int64_t i = 0; i < n; i += ROWS) {
        const int64_t end = i + ROWS < n ? i + ROWS : n;
        int64_t from = i;
        double own = (double)(end - i);
        if (of->weight) {
            own = 0.0;
            for (int64_t k = i; k < end; k++) {
                own += of->weight[k];
                from = of->weight[k] > of->weight[from] ? k : from;
            }
        }
        if (!(own > 0.0))
            continue;
        memset(work, 0, 2 * (size_t)p * sizeof *work);
        (of->is_single ? differences_f32 : differences_f64)(of, i, end, from, p, sum,
                                                            square);
        const double before = *total;
        *total += own;
        for (int64_t j = 0; j < p; j++) {
            const double base = of->is_single
                                    ? ((const float *)of->x)[from * of->ldx + j]
                                    : ((const double *)of->x)[from * of->ldx + j];
            const double inside = square[j] - sum[j] * sum[j] / own;
            const double change = base + sum[j] / own - mean[j];
            mean[j] += before > 0.0 ? change * (own / *total) : change;
            squares[j] += (inside < 0.0 ? 0.0 : inside) +
                          change * change * (before * own / *total);
        }
    }
}
