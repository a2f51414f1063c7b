/* Absorbs rows into a dense covariance, in blocks: the functions of kalman.h.
 *
 * This file chooses the precision and cuts rows into blocks; kalman.inc has the
 * arithmetic, compiled for float and for double. With forgetting, blocks are cut so
 * that the cap of the trace of M has the same effect as with single rows.
 */
#include "kalman.h"

#include <float.h>
#include <math.h>
#include <string.h>

#include "dot.h"

/* With BLAS, X U and V T = U are computed in strips of so many columns. */
#define STRIP 32

/* Returns the number of rows that are absorbed together. Without BLAS, fewer are faster
 * if there are few coefficients. */
static int most_rows(const fo_kalman *k)
{
    const int own = k->p < 64 ? 8 : k->p < 200 ? 16 : 32;
    return k->xt && own < k->block ? own : k->block;
}

#define FO_BITS 32
#include "kalman.inc"
#undef FO_BITS
#define FO_BITS 64
#include "kalman.inc"

int64_t fo_nonfinite_row(const void *x, int is_single, int64_t ldx, int64_t n,
                         int64_t p)
{
    return is_single ? nonfinite_row_f32(x, ldx, n, p)
                     : nonfinite_row_f64(x, ldx, n, p);
}

double fo_kalman_trace(const fo_kalman *k)
{
    return k->is_single ? trace_f32(k) : trace_f64(k);
}

void fo_kalman_variances(const fo_kalman *k, double *variances)
{
    if (k->is_single)
        variances_f32(k, variances);
    else
        variances_f64(k, variances);
}

void fo_kalman_settle(fo_kalman *k, const fo_blas *blas)
{
    if (k->is_single)
        settle_f32(k, &blas->f32);
    else
        settle_f64(k, &blas->f64);
}

fo_kalman_status fo_kalman_rows(fo_kalman *k, const fo_blas *blas, const fo_glm *glm,
                                void *x, int64_t ldx, const fo_targets *targets,
                                int64_t n)
{
    for (int64_t i = 0; i < n;) {
        const int64_t most = glm->is_change ? k->block : most_rows(k);
        int64_t rows = n - i < most ? n - i : most;
        double inflate = 1.0;
        if (k->forgetting.keep < 1.0) {
            const double trace =
                isfinite(k->forgetting.max_trace) ? fo_kalman_trace(k) : 0.0;
            const int64_t free =
                fo_rows_to_inflate(k->forgetting, trace, k->scale, rows);
            inflate = free ? 1.0 / k->forgetting.keep : 1.0;
            if (!glm->is_change)
                rows = free ? free : 1;
        }
        const fo_targets of = fo_targets_from(targets, i);
        const fo_kalman_status status =
            k->is_single ? block_f32(k, &blas->f32, glm, (float *)x + i * ldx, (int)ldx,
                                     &of, (int)rows, inflate)
                         : block_f64(k, &blas->f64, glm, (double *)x + i * ldx,
                                     (int)ldx, &of, (int)rows, inflate);
        if (status != FO_KALMAN_OK)
            return status;
        i += rows;
    }
    return FO_KALMAN_OK;
}
