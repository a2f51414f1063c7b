/* y = M x for a symmetric M.  Each element of the lower triangle is read once, the
 * others never.  Used for a single row of the dense Kalman filter (kalman/kalman.c).
 */
#ifndef FO_TRIANGLE_H
#define FO_TRIANGLE_H

#include <stdint.h>

enum { FO_TRIANGLE_PARTS = 8 };

/* M (p x p, column-major, columns `ld` apart), x and y are float or double; `work` has
 * room for p x FO_TRIANGLE_PARTS such numbers. The bits are the same on every CPU and
 * for any number of threads. */
typedef void fo_triangle_product(int is_single, const void *m, int64_t ld, int64_t p,
                                 const void *x, void *y, void *work, int n_threads);
fo_triangle_product fo_triangle_times;

#endif
