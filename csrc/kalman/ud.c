/* Absorbs rows into U D U', in blocks: the functions of ud.h. Each column (or row) of U
 * is computed by one thread, so that bits do not depend on the number of threads. A
 * failing block changes nothing. */
#include "ud.h"

#include <float.h>
#include <math.h>
#include <string.h>

#include "dot.h"

/* A row x, with f = U'x, v = D f and a_j = 1 + weight (v_0 f_0 + .. + v_j f_j), turns
 * U D U' into U T E T' U', where T is unit upper triangular and E diagonal:
 *     E_j = D_j a_{j-1} / a_j,  T_ij = lambda_j v_i for i < j,
 *     lambda_j = -weight f_j / a_{j-1}.
 * For the next rows of the block f becomes T'f, which needs sums of v f but not U. So a
 * block first reads U once for f = U'x of all rows (`project`), then computes all v and
 * lambda (`find`), and then multiplies U by every T in one pass (`transform`). This is
 * 3 p^2 operations per row; U is read twice and written (and rounded) once per block.
 */

#define SPAN 64 /* elements of a column that are converted to double at a time */
/* The rows of a block may reduce the determinant of M by about this factor. T'f within
 * a block has the absolute rounding error of the original f = U'x, so a larger
 * reduction would cost digits. */
#define MAX_REDUCTION 10.0
#define COLUMNS 16           /* columns that a thread takes at a time */
#define SERIAL_BELOW 1000000 /* elements times rows: below, one thread is faster */

typedef struct {
    const fo_ud *k;
    const double *x;
    int64_t ldx;
    int64_t n;      /* rows */
    double *f;      /* p x n: the n values of an element are contiguous */
    double *v;      /* n x p */
    double *lambda; /* n x p */
    double *mx;     /* n x p: first v, in the end M x */
    const double *alpha;
} block;

static int64_t column(int64_t j)
{
    return j * (j - 1) / 2;
}

static void load(const fo_ud *k, int64_t first, int64_t n, double *restrict out)
{
    if (!k->is_single) {
        memcpy(out, (const double *)k->u + first, (size_t)n * sizeof *out);
        return;
    }
    const float *u = (const float *)k->u + first;
    for (int64_t i = 0; i < n; i++)
        out[i] = u[i];
}

static void store(const fo_ud *k, int64_t first, int64_t n, const double *restrict in)
{
    if (!k->is_single) {
        memcpy((double *)k->u + first, in, (size_t)n * sizeof *in);
        return;
    }
    float *u = (float *)k->u + first;
    for (int64_t i = 0; i < n; i++)
        u[i] = (float)in[i];
}

static int threads(const fo_ud *k, int64_t n)
{
    return k->p * k->p / 2 * n < SERIAL_BELOW ? 1 : k->n_threads;
}

/* Computes f = U'x for columns begin to end of U. */
static void project(void *context, int64_t begin, int64_t end)
{
    const block *b = context;
    for (int64_t j = begin; j < end; j++) {
        double *f = b->f + j * b->n;
        for (int64_t r = 0; r < b->n; r++)
            f[r] = b->x[r * b->ldx + j];
        for (int64_t i = 0; i < j; i += SPAN) {
            const int64_t n = j - i < SPAN ? j - i : SPAN;
            double u[SPAN];
            load(b->k, column(j) + i, n, u);
            for (int64_t r = 0; r < b->n; r++)
                f[r] += fo_dot(u, b->x + r * b->ldx + i, n);
        }
    }
}

/* u += lambda k, and k += v u with the old u. */
static void update_both(double *restrict u, double *restrict k, double lambda, double v,
                        int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        const double before = u[i];
        u[i] = before + lambda * k[i];
        k[i] += v * before;
    }
}

/* Rows begin to end of U: U <- U T for each data row in turn, and w += alpha M x. */
static void transform(void *context, int64_t begin, int64_t end)
{
    const block *b = context;
    const int64_t p = b->k->p;
    for (int64_t first = begin; first < end; first += SPAN) {
        const int64_t last = end - first < SPAN ? end : first + SPAN;
        for (int64_t j = first + 1; j < p; j++) {
            const int64_t n = (j < last ? j : last) - first;
            double u[SPAN];
            load(b->k, column(j) + first, n, u);
            for (int64_t r = 0; r < b->n; r++)
                update_both(u, b->mx + r * p + first, b->lambda[r * p + j],
                            b->v[r * p + j], n);
            store(b->k, column(j) + first, n, u);
        }
        for (int64_t r = 0; r < b->n; r++)
            for (int64_t i = first; i < last; i++)
                b->k->w[i] += b->alpha[r] * b->mx[r * p + i];
    }
}

/* Computes d, and v, lambda and alpha of each row that has an effect; updates f of the
 * later rows to T'f. Does not change the state. */
static fo_kalman_status find(const fo_ud *k, const fo_glm *glm, block *b, double *alpha,
                             const fo_targets *of, double inflate, double *d,
                             double *largest, fo_counts *counts)
{
    const double most = (k->is_single ? FLT_MAX : DBL_MAX) / 4.0;
    const int64_t n = b->n, p = k->p;
    double *eta = k->scalars, *sums = eta + k->block, inflated = 1.0, w_bound = 0.0;
    for (int64_t r = 0; r < n; r++)
        eta[r] = glm->is_change
                     ? 0.0
                     : fo_predictor(of, r, fo_dot(b->x + r * b->ldx, k->w, p));
    for (int64_t i = 0; i < p; i++)
        w_bound = fmax(w_bound, fabs(k->w[i]));
    memcpy(d, k->d, (size_t)p * sizeof *d);
    b->n = 0;
    double reduction = 1.0;
    for (int64_t r = 0; r < n && (reduction <= MAX_REDUCTION || glm->is_change); r++) {
        if (inflate > 1.0 && (r == 0 || !glm->is_change)) {
            for (int64_t j = 0; j < p; j++)
                d[j] *= inflate;
            inflated *= inflate;
            *largest *= inflate;
            if (!isfinite(*largest))
                *largest = fo_ud_trace(k) * inflated;
            if (!isfinite(*largest))
                return FO_KALMAN_NONFINITE;
        }
        double *v = b->v + b->n * p, *lambda = b->lambda + b->n * p, g = 0.0;
        for (int64_t j = 0; j < p; j++) {
            v[j] = d[j] * b->f[j * n + r];
            g += v[j] * b->f[j * n + r];
        }
        const fo_gain got = fo_gain_of(glm, of->y[r], fo_weight(of, r), eta[r], g);
        counts->innovations += got.innovation;
        counts->n_clipped += got.clipped;
        counts->n_obs++;
        if (!isfinite(g + got.innovation))
            return FO_KALMAN_NONFINITE;
        if (g == 0.0)
            continue;
        reduction *= 1.0 + got.weight * g;
        double a = 1.0, least = INFINITY, magnitudes = 0.0;
        for (int64_t j = 0; j < p; j++) {
            const double f = b->f[j * n + r], next = a + got.weight * (v[j] * f);
            lambda[j] = -got.weight * f / a;
            d[j] *= a / next;
            least = d[j] < least ? d[j] : least;
            magnitudes += fabs(lambda[j]) + d[j];
            a = next;
        }
        /* U_ij^2 D_j <= M_ii and |M x|_i^2 <= M_ii g: checks that what `transform` will
         * compute does not overflow. */
        if (!(sqrt(*largest) < most * sqrt(least)))
            *largest = fo_ud_trace(k) * inflated;
        w_bound += (1.0 + fabs(got.alpha)) * sqrt(g) * sqrt(*largest);
        if (!(sqrt(*largest) < most * sqrt(least)) || !isfinite(magnitudes + w_bound))
            return FO_KALMAN_NONFINITE;

        const int64_t rest = n - r - 1;
        memset(sums, 0, (size_t)rest * sizeof *sums);
        for (int64_t j = 0; j < p; j++)
            update_both(b->f + j * n + r + 1, sums, lambda[j], v[j], rest);
        for (int64_t q = 0; q < rest; q++)
            eta[r + 1 + q] += got.alpha * sums[q];
        alpha[b->n++] = got.alpha;
    }
    return FO_KALMAN_OK;
}

static fo_kalman_status absorb(fo_ud *k, const fo_glm *glm, const double *x,
                               int64_t ldx, const fo_targets *of, int64_t n,
                               double inflate)
{
    const int64_t size = k->p * k->block;
    double *d = k->work + 4 * size, *alpha = k->scalars + 2 * k->block;
    block b = {.k = k, .x = x, .ldx = ldx, .n = n, .f = k->work, .alpha = alpha};
    b.v = b.f + size;
    b.lambda = b.v + size;
    b.mx = b.lambda + size;
    double largest = k->largest;
    fo_counts counts = k->counts;

    k->loop(k->p, COLUMNS, project, &b, threads(k, n));
    const fo_kalman_status status =
        find(k, glm, &b, alpha, of, inflate, d, &largest, &counts);
    if (status != FO_KALMAN_OK)
        return status;
    memcpy(b.mx, b.v, (size_t)(b.n * k->p) * sizeof *b.v);
    k->loop(k->p, SPAN, transform, &b, threads(k, b.n));
    memcpy(k->d, d, (size_t)k->p * sizeof *d);
    k->largest = largest;
    k->counts = counts;
    return FO_KALMAN_OK;
}

fo_kalman_status fo_ud_rows(fo_ud *k, const fo_glm *glm, const double *x, int64_t ldx,
                            const fo_targets *targets, int64_t n)
{
    int64_t most = k->block;
    for (int64_t i = 0; i < n;) {
        int64_t rows = n - i < most ? n - i : most;
        double inflate = 1.0;
        if (k->forgetting.keep < 1.0) {
            const double trace =
                isfinite(k->forgetting.max_trace) ? fo_ud_trace(k) : 0.0;
            const int64_t free = fo_rows_to_inflate(k->forgetting, trace, 1.0, rows);
            inflate = free ? 1.0 / k->forgetting.keep : 1.0;
            if (!glm->is_change)
                rows = free ? free : 1;
        }
        const int64_t before = k->counts.n_obs;
        const fo_targets of = fo_targets_from(targets, i);
        const fo_kalman_status status =
            absorb(k, glm, x + i * ldx, ldx, &of, rows, inflate);
        if (status != FO_KALMAN_OK)
            return status;
        const int64_t done = k->counts.n_obs - before;
        most = done < rows ? done : most < k->block / 2 ? 2 * most : k->block;
        i += done;
    }
    return FO_KALMAN_OK;
}

double fo_ud_trace(const fo_ud *k)
{
    double trace = 0.0;
    for (int64_t j = 0; j < k->p; j++) {
        double squares = 1.0;
        for (int64_t i = 0; i < j; i += SPAN) {
            const int64_t n = j - i < SPAN ? j - i : SPAN;
            double u[SPAN];
            load(k, column(j) + i, n, u);
            squares += fo_dot(u, u, n);
        }
        trace += k->d[j] * squares;
    }
    return trace;
}

void fo_ud_variances(const fo_ud *k, double *variances)
{
    memcpy(variances, k->d, (size_t)k->p * sizeof *variances);
    for (int64_t j = 0; j < k->p; j++)
        for (int64_t i = 0; i < j; i += SPAN) {
            const int64_t n = j - i < SPAN ? j - i : SPAN;
            double u[SPAN];
            load(k, column(j) + i, n, u);
            for (int64_t l = 0; l < n; l++)
                variances[i + l] += u[l] * u[l] * k->d[j];
        }
}
