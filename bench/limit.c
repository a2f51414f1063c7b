/* The memory limit: a loop that moves the bytes of an update rule with trivial arithmetic.
 * One array is only read (the gradient); n_rw are read and written (parameter, states). */
#include <stdint.h>

#define LOOP(body) \
    _Pragma("omp parallel for simd schedule(static) num_threads(n_threads)") for ( \
        int64_t i = 0; i < n; i++) \
    { \
        body \
    }

#define LIMIT(name, param, state) \
    void name(const param *restrict g, param *restrict a, state *restrict b, \
              state *restrict c, state *restrict d, int n_rw, int64_t n, int n_threads) \
    { \
        switch (n_rw) { \
        case 1: \
            LOOP(a[i] += g[i];) break; \
        case 2: \
            LOOP(a[i] += g[i]; b[i] += g[i];) break; \
        case 3: \
            LOOP(a[i] += g[i]; b[i] += g[i]; c[i] += g[i];) break; \
        default: \
            LOOP(a[i] += g[i]; b[i] += g[i]; c[i] += g[i]; d[i] += g[i];) \
        } \
    }

LIMIT(limit_f32, float, float)
LIMIT(limit_f64, double, double)
LIMIT(limit_16, uint16_t, uint32_t) /* of two bytes, with states of four */

/* Reads the lower triangle of a p x p matrix with contiguous columns once: of the ways
 * tried the fastest, eight columns abreast. */
double read_triangle(const double *m, int64_t p, int n_threads)
{
    double sum = 0.0;
#pragma omp parallel for schedule(dynamic, 4) reduction(+ : sum) num_threads(n_threads)
    for (int64_t j = 0; j < p / 8 * 8; j += 8) {
        const double *a = m + j * p, *b = a + p, *c = b + p, *d = c + p;
        const double *e = d + p, *f = e + p, *g = f + p, *h = g + p;
        double columns = 0.0;
#pragma omp simd reduction(+ : columns)
        for (int64_t i = j; i < p; i++)
            columns +=
                ((a[i] + b[i]) + (c[i] + d[i])) + ((e[i] + f[i]) + (g[i] + h[i]));
        sum += columns;
    }
    return sum;
}
