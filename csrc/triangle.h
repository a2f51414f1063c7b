/* The product of a symmetric matrix and a vector, y = M x, for the covariance of
 * KalmanSGD.  It reads each element of the lower triangle once, and none above it.
 * Equal inputs give equal bits on every CPU and for any number of threads. */
#ifndef FO_TRIANGLE_H
#define FO_TRIANGLE_H

#include <stdint.h>

enum { FO_TRIANGLE_PARTS = 8 };

/* m is p x p and column-major.  m, x, y and work are arrays of float if is_single, else
 * of double; work has p * FO_TRIANGLE_PARTS elements. */
typedef void fo_triangle_product(int is_single, const void *m, int64_t p, const void *x,
                                 void *y, void *work, int n_threads);
fo_triangle_product fo_triangle_times;

#endif
