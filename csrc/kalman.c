/* See kalman.h. */
#include "kalman.h"

#include <float.h>
#include <math.h>
#include <string.h>

#include "dot.h"

/* What rows taken together may inflate M by, or the last of them would lose digits. */
#define MOST_INFLATION 2.0

/* Rows of G = U X' by one product. */
#define STRIP 64

int64_t fo_nonfinite_row(const double *x, int64_t ldx, int64_t n, int64_t p)
{
    const uint64_t magnitude = 0x7fffffffffffffff, one = 0x0010000000000000;
    for (int64_t i = 0; i < n; i++) {
        uint64_t carried = 0; /* into the sign, where the exponent is all ones */
        for (int64_t j = 0; j < p; j++) {
            uint64_t bits;
            memcpy(&bits, x + i * ldx + j, sizeof bits);
            carried |= (bits & magnitude) + one;
        }
        if (carried >> 63)
            return i;
    }
    return -1;
}

/* row[i] -= sum over l < j of b[l] c[l][j] c[l][i], j <= i < n, four l at a time. */
static void deflate(double *restrict row, const double *restrict c,
                    const double *restrict b, int64_t ld, int64_t j, int64_t n)
{
    int64_t l = 0;
    for (; l + 4 <= j; l += 4) {
        const double *c0 = c + l * ld, *c1 = c0 + ld, *c2 = c1 + ld, *c3 = c2 + ld;
        const double f0 = b[l] * c0[j], f1 = b[l + 1] * c1[j];
        const double f2 = b[l + 2] * c2[j], f3 = b[l + 3] * c3[j];
        for (int64_t i = j; i < n; i++)
            row[i] -= (f0 * c0[i] + f1 * c1[i]) + (f2 * c2[i] + f3 * c3[i]);
    }
    for (; l < j; l++) {
        const double f = b[l] * c[l * ld + j];
        for (int64_t i = j; i < n; i++)
            row[i] -= f * c[l * ld + i];
    }
}

double fo_kalman_trace(const fo_kalman *k)
{
    double trace = 0.0;
    for (int64_t i = 0; i < k->p; i++)
        trace += k->m[i * k->p + i];
    return k->scale *
           (trace - fo_dot(k->pending, k->pending, (int64_t)k->n_pending * k->p));
}

void fo_kalman_variances(const fo_kalman *k, double *variances)
{
    for (int64_t i = 0; i < k->p; i++) {
        double sum = 0.0;
        for (int64_t j = 0; j < k->n_pending; j++)
            sum += k->pending[j * k->p + i] * k->pending[j * k->p + i];
        variances[i] = k->scale * (k->m[i * k->p + i] - sum);
    }
}

/* y = beta y + alpha op(a) x, y of m x n, op(a) of m x k; of one column by gemv, since
 * gemm would copy all of a first. */
static void product(const fo_blas *blas, char *trans, int m, int n, int k, double alpha,
                    double *a, int lda, double *x, int ldx, double beta, double *y,
                    int ldy)
{
    int unit = 1;
    if (n > 1)
        blas->gemm(trans, "N", &m, &n, &k, &alpha, a, &lda, x, &ldx, &beta, y, &ldy);
    else if (*trans == 'T')
        blas->gemv(trans, &k, &m, &alpha, a, &lda, x, &unit, &beta, y, &unit);
    else
        blas->gemv(trans, &m, &k, &alpha, a, &lda, x, &unit, &beta, y, &unit);
}

/* One block of n rows.  With U = X M, G = U X' and eta = X w, what row j meets follows
 * from scalars alone: c[j][i] = x_j' M_j x_i = G[j][i] - sum_{l<j} b[l] c[l][j]
 * c[l][i].  Then V = T^-1 U with T[i][j] = b[j] c[j][i] unit lower, w += V' alpha, M -=
 * V' diag(b) V.
 *
 * Forgetting: row j meets M_j = a N_j, a the product of 1/keep since M was written.  N
 * is deflated by b a, and w moves by alpha a along N x; M = a N when it is settled. */
static fo_kalman_status block(fo_kalman *k, const fo_blas *blas, const fo_glm *glm,
                              double *x, int ldx, const double *y, const double *weight,
                              int n, double inflate)
{
    double *u = k->u, *c = k->c, *eta = k->scalars, *alpha = eta + k->block;
    double *b = alpha + k->block, *w = b + k->block;
    int p = k->p, unit = 1;
    double one = 1.0, zero = 0.0;

    if (k->n_pending + n > k->block)
        fo_kalman_settle(k, blas);
    if (n == 1)
        blas->symv("L", &p, &one, k->m, &p, x, &unit, &zero, u, &unit);
    else
        blas->symm("L", "L", &p, &n, &one, k->m, &p, x, &ldx, &zero, u, &p);
    if (k->n_pending) {
        const int h = k->n_pending;
        product(blas, "T", h, n, p, 1.0, k->pending, p, x, ldx, 0.0, c, h);
        product(blas, "N", p, n, h, -1.0, k->pending, p, c, h, 1.0, u, p);
    }
    for (int j = 0; j < n; j += STRIP) /* of G what has i >= j, and a little more */
        product(blas, "T", n - j, n - j < STRIP ? n - j : STRIP, p, 1.0,
                u + (int64_t)j * p, p, x + (int64_t)j * ldx, ldx, 0.0, c + j * n + j,
                n);
    if (glm->is_change)
        memset(eta, 0, (size_t)n * sizeof *eta);
    else
        blas->gemv("T", &p, &n, &one, x, &ldx, k->w, &unit, &zero, eta, &unit);

    double a = k->scale, innovations = 0.0, sum = 0.0;
    double *fresh = k->pending + (int64_t)k->n_pending * p;
    int64_t n_clipped = 0;
    for (int64_t j = 0; j < n; j++) {
        double *row = c + j * n;
        deflate(row, c, b, n, j, n);
        if (j == 0 || !glm->is_change)
            a *= inflate;
        if (!(row[j] > 0.0)) {
            const double least =
                -4.0 * DBL_EPSILON * fo_dot(x + j * ldx, x + j * ldx, p);
            if (row[j] < least * fo_kalman_trace(k) / k->scale)
                return FO_KALMAN_INDEFINITE;
            row[j] = 0.0; /* M x is 0, up to rounding: this row says nothing */
        }
        const double prior = weight ? weight[j] : 1.0;
        const fo_gain got = fo_gain_of(glm, y[j], prior, eta[j], a * row[j]);
        innovations += got.innovation;
        n_clipped += got.clipped;
        alpha[j] = row[j] > 0.0 ? a * got.alpha : 0.0;
        b[j] = row[j] > 0.0 ? a * got.b : 0.0;
        if (!isfinite(alpha[j] + b[j] + got.innovation))
            return FO_KALMAN_NONFINITE;
        for (int64_t i = j + 1; i < n; i++)
            eta[i] += alpha[j] * row[i];
    }

    for (int64_t j = 0; j < n; j++)
        for (int64_t i = j + 1; i < n; i++)
            c[j * n + i] *= b[j];
    if (n > 1)
        blas->trsm("R", "L", "T", "U", &p, &n, &one, c, &n, u, &p);
    memcpy(w, k->w, (size_t)p * sizeof *w);
    blas->gemv("N", &p, &n, &one, u, &p, alpha, &unit, &one, w, &unit);
    for (int64_t j = 0; j < n; j++) {
        const double root = sqrt(b[j]);
        for (int64_t i = 0; i < p; i++)
            fresh[j * p + i] = u[j * p + i] * root;
        sum += fo_dot(fresh + j * p, fresh + j * p, p);
    }
    for (int64_t i = 0; i < p; i++)
        sum += fabs(w[i]);
    if (!isfinite(sum))
        return FO_KALMAN_NONFINITE;

    memcpy(k->w, w, (size_t)p * sizeof *w);
    k->n_pending += n;
    k->scale = a;
    if (4 * n > k->block || a > MOST_INFLATION)
        fo_kalman_settle(k, blas);
    k->innovations += innovations;
    k->n_clipped += n_clipped;
    k->n_obs += n;
    return FO_KALMAN_OK;
}

void fo_kalman_settle(fo_kalman *k, const fo_blas *blas)
{
    double minus = -k->scale;
    if (k->n_pending)
        blas->syrk("L", "N", &k->p, &k->n_pending, &minus, k->pending, &k->p, &k->scale,
                   k->m, &k->p);
    k->n_pending = 0;
    k->scale = 1.0;
}

/* How many of the next `most` rows may inflate M whatever they hold: a row never adds
 * to the trace.  0 if the trace is at its cap. */
static int64_t rows_to_inflate(const fo_kalman *k, int64_t most)
{
    double trace = fo_kalman_trace(k), inflated = k->scale;
    int64_t n = 0;
    while (n < most && trace < k->max_trace &&
           (n == 0 || inflated / k->keep <= MOST_INFLATION)) {
        trace /= k->keep;
        inflated /= k->keep;
        n++;
    }
    return n;
}

fo_kalman_status fo_kalman_rows(fo_kalman *k, const fo_blas *blas, const fo_glm *glm,
                                double *x, int64_t ldx, const double *y,
                                const double *weight, int64_t n)
{
    for (int64_t i = 0; i < n;) {
        int64_t rows = n - i < k->block ? n - i : k->block;
        double inflate = 1.0;
        if (k->keep < 1.0) {
            const int64_t free = rows_to_inflate(k, rows);
            inflate = free ? 1.0 / k->keep : 1.0;
            if (!glm->is_change)
                rows = free ? free : 1;
        }
        const fo_kalman_status status =
            block(k, blas, glm, x + i * ldx, (int)ldx, y + i, weight ? weight + i : 0,
                  (int)rows, inflate);
        if (status != FO_KALMAN_OK)
            return status;
        i += rows;
    }
    return FO_KALMAN_OK;
}
