/* The memory limit of bench/kalman.py: a loop that only reads the covariance. */
#include <stdint.h>

/* Sums the lower triangle of a p x p column-major matrix, reading it once. Of the loops
 * that were tried, the one over eight columns at a time was the fastest. */
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
