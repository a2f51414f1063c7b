/* A step on some rows of a matrix as a plain loop, without prefetching.  The rows are
 * distinct and are updated in the order of `index`. */
#include <math.h>
#include <stdint.h>

#define ROWS(name, states, body) \
    void name(const int64_t *index, int64_t n_rows, int64_t length, const float *g, \
              float *w, float *m, float *v) \
    { \
        for (int64_t j = 0; j < n_rows; j++) { \
            const float *x = g + j * length; \
            const int64_t row = index[j] * length; \
            float *p = w + row; \
            states; \
            _Pragma("GCC ivdep") for (int64_t i = 0; i < length; i++) \
            { \
                body \
            } \
        } \
    }

ROWS(sgd, (void)m; (void)v, p[i] -= 1e-3f * x[i];)
ROWS(adagrad, float *s = m + row; (void)v, s[i] += x[i] * x[i];
     p[i] -= 1e-3f * x[i] / (sqrtf(s[i]) + 1e-10f);)
ROWS(adam, float *a = m + row; float *b = v + row, a[i] = .9f * a[i] + .1f * x[i];
     b[i] = .999f * b[i] + .001f * (x[i] * x[i]);
     p[i] -= 1e-3f * a[i] / (sqrtf(b[i]) + 1e-8f);)
