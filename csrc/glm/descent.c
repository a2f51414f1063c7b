/* The function of descent.h (Friedman, Hastie & Tibshirani 2010). */
#include "descent.h"

#include <math.h>

static double shrunk(double x, double by)
{
    const double size = fabs(x) - by;
    return size > 0.0 ? copysign(size, x) : 0.0;
}

/* Minimises over the coordinates, or over those that are not 0; returns the largest
 * move. */
static double sweep(int64_t q, const double *a, const double *l1, double *w,
                    double *restrict rest, int everything)
{
    double largest = 0.0;
    for (int64_t j = 0; j < q; j++) {
        const double *restrict column = a + j * q;
        const double curvature = column[j];
        if (!(curvature > 0.0) || (!everything && w[j] == 0.0))
            continue;
        const double next = shrunk(w[j] + rest[j] / curvature, l1[j] / curvature);
        const double move = next - w[j];
        if (move == 0.0)
            continue;
        w[j] = next;
        for (int64_t i = 0; i < q; i++)
            rest[i] -= move * column[i];
        largest = fmax(largest, fabs(move) * sqrt(curvature));
    }
    return largest;
}

int fo_glm_descent(int64_t q, const double *a, const double *l1, double *w,
                   double *rest, double floor, double *first, int most)
{
    int everything = 1;
    for (int i = 0; i < most; i++) {
        const double largest = sweep(q, a, l1, w, rest, everything);
        if (!(*first > 0.0))
            *first = largest;
        const int settled = largest <= fmax(floor, 1e-10 * *first);
        if (settled && everything)
            return 1;
        everything = settled;
    }
    return 0;
}
