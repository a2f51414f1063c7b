/* The memory limit: a loop that moves the bytes of an update rule with trivial arithmetic.
 * One array is only read (the gradient); n_rw are read and written (parameter, states). */
#include <stdint.h>

#define LOOP(body) \
    _Pragma("omp parallel for simd schedule(static) num_threads(n_threads)") for ( \
        int64_t i = 0; i < n; i++) \
    { \
        body \
    }

#define LIMIT(name, real) \
    void name(const real *restrict g, real *restrict a, real *restrict b, \
              real *restrict c, real *restrict d, int n_rw, int64_t n, int n_threads) \
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

LIMIT(limit_f32, float)
LIMIT(limit_f64, double)
