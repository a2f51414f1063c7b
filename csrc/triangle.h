/* y = M x, where of the symmetric M the lower triangle is read, once. */
#ifndef FO_TRIANGLE_H
#define FO_TRIANGLE_H

#include <stdint.h>

enum { FO_TRIANGLE_PARTS = 8 };

/* M (columns contiguous, p x p), x and y are of float or double; `work` has room for
 * p x FO_TRIANGLE_PARTS such numbers.  Equal bits on every CPU, for any number of
 * threads. */
typedef void fo_triangle_product(int is_single, const void *m, int64_t p, const void *x,
                                 void *y, void *work, int n_threads);
fo_triangle_product fo_triangle_times;

#endif
