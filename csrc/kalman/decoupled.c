/* Absorbs observations into blocks or a diagonal: the functions of decoupled.h.
 *
 * Rows need no BLAS, so that their bits are the same for any number of its threads.
 * Several outputs use BLAS within each block. All new values are computed and checked
 * before the state changes: a failure changes nothing.
 */
#include "decoupled.h"

#include <float.h>
#include <math.h>
#include <string.h>

#include "dot.h"

static double block_trace(const double *m, int64_t size)
{
    double trace = 0.0;
    for (int64_t i = 0; i < size; i++)
        trace += m[i * size + i];
    return trace;
}

double fo_decoupled_trace(const fo_decoupled *k)
{
    double trace = 0.0;
    const double *m = k->m;
    if (!k->n_blocks)
        for (int64_t i = 0; i < k->p; i++)
            trace += m[i];
    for (int64_t b = 0; b < k->n_blocks; b++) {
        const int64_t size = k->start[b + 1] - k->start[b];
        trace += block_trace(m, size);
        m += size * size;
    }
    return trace;
}

/* Returns the factor of M before an observation; infinity if M would overflow. */
static double inflation(const fo_decoupled *k)
{
    if (k->forgetting.keep == 1.0)
        return 1.0;
    const double trace = fo_decoupled_trace(k);
    if (!(trace < k->forgetting.max_trace))
        return 1.0;
    return isfinite(trace / k->forgetting.keep) ? 1.0 / k->forgetting.keep : INFINITY;
}

/* Returns the rows with their columns in the order of the blocks, and sets *ldx to the
 * distance between two of these rows. */
static double *arranged(fo_decoupled *k, const double *x, int64_t *ldx, int n)
{
    if (!k->order)
        return (double *)x; /* the Fortran interface has no const */
    for (int j = 0; j < n; j++)
        for (int64_t i = 0; i < k->p; i++)
            k->x[(int64_t)j * k->p + i] = x[j * *ldx + k->order[i]];
    *ldx = k->p;
    return k->x;
}

/* u = a M x, four columns of M at a time. */
static void multiply_one(const double *restrict m, double a, const double *restrict x,
                         double *restrict u, int64_t n)
{
    int64_t j = 0;
    memset(u, 0, (size_t)n * sizeof *u);
    for (; j + 4 <= n; j += 4) {
        const double *m0 = m + j * n, *m1 = m0 + n, *m2 = m1 + n, *m3 = m2 + n;
        const double x0 = a * x[j], x1 = a * x[j + 1], x2 = a * x[j + 2];
        const double x3 = a * x[j + 3];
        for (int64_t i = 0; i < n; i++)
            u[i] += (x0 * m0[i] + x1 * m1[i]) + (x2 * m2[i] + x3 * m3[i]);
    }
    for (; j < n; j++)
        for (int64_t i = 0; i < n; i++)
            u[i] += a * x[j] * m[j * n + i];
}

/* M = a M - v v', symmetric to the last bit. */
static void shrink_one(double *restrict m, double a, const double *restrict v,
                       int64_t n)
{
    for (int64_t j = 0; j < n; j++)
        for (int64_t i = 0; i < n; i++)
            m[j * n + i] = a * m[j * n + i] - v[j] * v[i];
}

/* Copies one triangle to the other. With forgetting, an asymmetry from rounding would
 * grow. */
static void mirror(double *m, int64_t n)
{
    for (int64_t j = 0; j < n; j++)
        for (int64_t i = j + 1; i < n; i++)
            m[i * n + j] = m[j * n + i];
}

/* Returns whether n rows are 0 in the columns of a block, as they are for the weights
 * of a neuron that is not active. */
static int is_idle(const double *x, int64_t ldx, int64_t size, int n)
{
    for (int64_t j = 0; j < n; j++)
        for (int64_t i = 0; i < size; i++)
            if (x[j * ldx + i] != 0.0)
                return 0;
    return 1;
}

/* U = a M X. A single column is computed without BLAS: for small blocks a call of BLAS
 * costs more than the product. */
static void multiply(fo_decoupled *k, const fo_blas_f64 *blas, double a, double *x,
                     int64_t ldx, int n)
{
    int p = k->p, ld = (int)ldx;
    double zero = 0.0, *m = k->m;
    if (!k->n_blocks)
        for (int64_t j = 0; j < n; j++)
            for (int64_t i = 0; i < p; i++)
                k->u[j * p + i] = a * m[i] * x[j * ldx + i];
    for (int64_t b = 0; b < k->n_blocks; b++) {
        int size = (int)(k->start[b + 1] - k->start[b]);
        if (is_idle(x + k->start[b], ldx, size, n))
            for (int64_t j = 0; j < n; j++)
                memset(k->u + j * p + k->start[b], 0, (size_t)size * sizeof *k->u);
        else if (n == 1)
            multiply_one(m, a, x + k->start[b], k->u + k->start[b], size);
        else
            blas->gemm("N", "N", &size, &n, &size, &a, m, &size, x + k->start[b], &ld,
                       &zero, k->u + k->start[b], &p);
        m += (int64_t)size * size;
    }
}

/* Returns whether x'Mx >= 0 up to rounding in each block, from x and u = a M x. */
static int is_definite(const fo_decoupled *k, double a, const double *x,
                       const double *u)
{
    const double *m = k->m;
    for (int64_t b = 0; b < k->n_blocks; b++) {
        const int64_t first = k->start[b], size = k->start[b + 1] - first;
        if (fo_dot(x + first, u + first, size) < 0.0) {
            const double squares = fo_dot(x + first, x + first, size);
            const double trace = a * block_trace(m, size);
            if (fo_dot(x + first, u + first, size) <
                -4.0 * DBL_EPSILON * squares * trace)
                return 0;
        }
        m += size * size;
    }
    return 1;
}

/* Blocks: M_b = a M_b - V_b V_b', where V is in k->u.
 * Diagonal: m = 1 / (1 / (a m) + weight * squares of X), where k->u is used as work. */
static void shrink(fo_decoupled *k, const fo_blas_f64 *blas, double a, const double *x,
                   int64_t ldx, double weight, int n)
{
    int p = k->p;
    double minus_one = -1.0, *m = k->m, *squares = k->u;
    if (!k->n_blocks) {
        for (int64_t i = 0; i < p; i++)
            squares[i] = x[i] * x[i];
        for (int64_t j = 1; j < n; j++)
            for (int64_t i = 0; i < p; i++)
                squares[i] += x[j * ldx + i] * x[j * ldx + i];
        for (int64_t i = 0; i < p; i++)
            m[i] = a * m[i] / (1.0 + weight * squares[i] * (a * m[i]));
    }
    for (int64_t b = 0; b < k->n_blocks; b++) {
        int size = (int)(k->start[b + 1] - k->start[b]);
        double *v = k->u + k->start[b];
        if (a == 1.0 && is_idle(v, p, size, n)) {
            /* This block does not change. */
        } else if (n == 1) {
            shrink_one(m, a, v, size);
        } else {
            blas->gemm("N", "T", &size, &size, &n, &minus_one, v, &p, v, &p, &a, m,
                       &size);
            if (k->forgetting.keep < 1.0)
                mirror(m, size);
        }
        m += (int64_t)size * size;
    }
}

static fo_kalman_status row(fo_decoupled *k, const fo_blas_f64 *blas, const fo_glm *glm,
                            const double *given, const fo_targets *of, int64_t i)
{
    const int64_t p = k->p;
    int64_t ldx = p;
    double *x = arranged(k, given, &ldx, 1), *u = k->u;
    const double inflate = inflation(k);
    multiply(k, blas, inflate, x, ldx, 1);
    if (!is_definite(k, inflate, x, u))
        return FO_KALMAN_INDEFINITE;
    double g = fo_dot(x, u, p);
    if (g < 0.0)
        g = 0.0;
    const double eta = fo_predictor(of, i, fo_dot(x, k->w, p));
    fo_gain got = fo_gain_of(glm, of->y[i], fo_weight(of, i), eta, g);
    if (g == 0.0) /* M x is 0 up to rounding: the row has no effect */
        got.alpha = got.b = got.weight = 0.0;

    double sum = got.alpha + got.b + got.weight * g + got.innovation + inflate;
    for (int64_t l = 0; l < p; l++) {
        k->next[l] = k->w[l] + got.alpha * u[l];
        sum += fabs(k->next[l]);
    }
    if (k->n_blocks) {
        const double root = sqrt(got.b);
        for (int64_t l = 0; l < p; l++)
            u[l] *= root;
        sum += fo_dot(u, u, p);
    }
    if (!isfinite(sum))
        return FO_KALMAN_NONFINITE;

    memcpy(k->w, k->next, (size_t)p * sizeof *k->w);
    shrink(k, blas, inflate, x, ldx, got.weight, 1);
    k->counts.innovations += got.innovation;
    k->counts.n_clipped += got.clipped;
    k->counts.n_obs++;
    return FO_KALMAN_OK;
}

fo_kalman_status fo_decoupled_rows(fo_decoupled *k, const fo_blas_f64 *blas,
                                   const fo_glm *glm, const double *x, int64_t ldx,
                                   const fo_targets *targets, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        const fo_kalman_status status = row(k, blas, glm, x + i * ldx, targets, i);
        if (status != FO_KALMAN_OK)
            return status;
    }
    return FO_KALMAN_OK;
}

/* With S = I + X M X' = L L':  w += M X' S^-1 r,  V = M X' L^-T,  M -= V V'.
 *
 * Each product is of one block. A product over all coefficients would start the threads
 * of BLAS, which costs more than it saves. */
fo_kalman_status fo_decoupled_outputs(fo_decoupled *k, const fo_blas_f64 *blas,
                                      const double *given, int64_t ldx,
                                      const double *residual, int n)
{
    const int64_t all[2] = {0, k->p}, *start = k->n_blocks ? k->start : all;
    const int64_t n_parts = k->n_blocks ? k->n_blocks : 1;
    int p = k->p, unit = 1, failed = 0;
    double one = 1.0, *s = k->s, *z = s + (int64_t)n * n;
    double *x = arranged(k, given, &ldx, n);
    const double inflate = inflation(k);
    multiply(k, blas, inflate, x, ldx, n);
    for (int64_t j = 0; j < n; j++)
        if (!is_definite(k, inflate, x + j * ldx, k->u + j * p))
            return FO_KALMAN_INDEFINITE;

    int ld = (int)ldx;
    memset(s, 0, (size_t)n * (size_t)n * sizeof *s);
    for (int64_t j = 0; j < n; j++)
        s[j * n + j] = 1.0;
    for (int64_t b = 0; b < n_parts; b++) {
        int size = (int)(start[b + 1] - start[b]);
        blas->gemm("T", "N", &n, &n, &size, &one, k->u + start[b], &p, x + start[b],
                   &ld, &one, s, &n);
    }
    double sum = inflate;
    for (int64_t j = 0; j < n; j++)
        sum += s[j * n + j];
    if (!isfinite(sum))
        return FO_KALMAN_NONFINITE;
    blas->potrf("L", &n, s, &n, &failed);
    if (failed)
        return FO_KALMAN_INDEFINITE;
    memcpy(z, residual, (size_t)n * sizeof *z);
    blas->trsm("R", "L", "T", "N", &unit, &n, &one, s, &n, z, &unit);
    const double innovations = fo_dot(z, z, n);
    blas->trsm("R", "L", "N", "N", &unit, &n, &one, s, &n, z, &unit);

    memcpy(k->next, k->w, (size_t)p * sizeof *k->next);
    for (int64_t b = 0; b < n_parts; b++) {
        int size = (int)(start[b + 1] - start[b]);
        blas->gemv("N", &size, &n, &one, k->u + start[b], &p, z, &unit, &one,
                   k->next + start[b], &unit);
        if (k->n_blocks)
            blas->trsm("R", "L", "T", "N", &size, &n, &one, s, &n, k->u + start[b], &p);
    }
    sum += innovations;
    for (int64_t i = 0; i < p; i++)
        sum += fabs(k->next[i]);
    if (!isfinite(sum))
        return FO_KALMAN_NONFINITE;

    memcpy(k->w, k->next, (size_t)p * sizeof *k->w);
    shrink(k, blas, inflate, x, ldx, 1.0, n); /* is finite: V V' <= M */
    k->counts.innovations += innovations;
    k->counts.n_obs += n;
    return FO_KALMAN_OK;
}
