/* Rows as a caller has them: their check, and their copy to rows that a filter absorbs.
 * For calls of few rows in fastopt/kalman/_kalman.pyx. */
#ifndef FO_GIVEN_H
#define FO_GIVEN_H

#include <stdint.h>

/* Copies n rows of p numbers, minus `shift` (p numbers), to `to`, each behind a 1 if
 * `has_intercept`. The numbers are float if `is_single` or `to_single`, else double. */
void fo_centre_rows(const void *x, int is_single, int64_t n, int64_t p,
                    const double *shift, int has_intercept, void *to, int to_single);

/* Returns whether all n numbers y are finite, in the range from `low` (without `low` if
 * `open_low`) to `high`, and, if there are more than `sortable`, not sorted. */
int fo_are_allowed(const double *y, int64_t n, double low, double high, int open_low,
                   int64_t sortable);

/* Writes 1.0 for each of n labels that is labels[1], and 0.0 for others; returns
 * whether all are labels[0] or labels[1].  They have 8 bytes each, of which all are
 * compared. */
int fo_mark_labels(const void *y, int64_t n, const void *labels, double *mark);

#endif
