/* The functions of given.h. */
#include "given.h"

#include <math.h>
#include <string.h>

#define FO_CENTRE(name, from, to) \
    static void name(const from *restrict x, const double *restrict by, int64_t p, \
                     to *restrict out) \
    { \
        for (int64_t j = 0; j < p; j++) \
            out[j] = (to)(x[j] - by[j]); \
    }
FO_CENTRE(double_to_double, double, double)
FO_CENTRE(double_to_float, double, float)
FO_CENTRE(float_to_double, float, double)
FO_CENTRE(float_to_float, float, float)

void fo_centre_rows(const void *x, int is_single, int64_t n, int64_t p,
                    const double *shift, int has_intercept, void *to, int to_single)
{
    const int64_t lead = has_intercept ? 1 : 0, width = p + lead;
    for (int64_t i = 0; i < n; i++) {
        const double *of = (const double *)x + i * p;
        const float *of_single = (const float *)x + i * p;
        double *row = (double *)to + i * width;
        float *row_single = (float *)to + i * width;
        if (lead && to_single)
            row_single[0] = 1.0f;
        else if (lead)
            row[0] = 1.0;
        if (is_single && to_single)
            float_to_float(of_single, shift, p, row_single + lead);
        else if (is_single)
            float_to_double(of_single, shift, p, row + lead);
        else if (to_single)
            double_to_float(of, shift, p, row_single + lead);
        else
            double_to_double(of, shift, p, row + lead);
    }
}

int fo_are_allowed(const double *y, int64_t n, double low, double high, int open_low,
                   int64_t sortable)
{
    int outside = 0, rises = 0, falls = 0;
    for (int64_t i = 0; i < n; i++)
        outside |= (fabs(y[i]) < INFINITY ? 0 : 1) |
                   (open_low ? y[i] <= low : y[i] < low) | (y[i] > high);
    for (int64_t i = 1; i < n; i++) {
        rises |= y[i] > y[i - 1];
        falls |= y[i] < y[i - 1];
    }
    return !outside && (n <= sortable || (rises && falls));
}

int fo_mark_labels(const void *y, int64_t n, const void *labels, double *mark)
{
    int64_t of[2], label;
    int unknown = 0;
    memcpy(of, labels, sizeof of);
    for (int64_t i = 0; i < n; i++) {
        memcpy(&label, (const char *)y + i * (int64_t)sizeof label, sizeof label);
        mark[i] = label == of[1] ? 1.0 : 0.0;
        unknown |= (label != of[0]) & (label != of[1]);
    }
    return !unknown;
}
