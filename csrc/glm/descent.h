/* Coordinate descent on a quadratic model with an L1 penalty. */
#ifndef FO_DESCENT_H
#define FO_DESCENT_H

#include <stdint.h>

/* Minimises d'A d / 2 - g'd + sum(l1 |w + d|) over d, one coordinate after the other,
 * and then only over coordinates that are not 0 until these are settled. `a` is
 * symmetric, of size q x q; `w` becomes w + d and `rest`, which is g, becomes g - A d.
 * The descent ends when no coordinate of a whole sweep moves by more than max(floor,
 * 1e-10 * first) in units of its curvature. `first` is the largest move of the first
 * sweep: 0 in the first call, and what that has written in calls that resume. Returns
 * whether the descent has ended within `most` sweeps. */
int fo_glm_descent(int64_t q, const double *a, const double *l1, double *w,
                   double *rest, double floor, double *first, int most);

#endif
