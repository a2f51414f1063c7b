/* Arrays as a caller may have them, between bytes that nobody may touch; and what each
 * element has to be. */
#ifndef FUZZ_ARRAYS_H
#define FUZZ_ARRAYS_H

#include "kernels/kernels.h"

/* What the fuzzer decides: its bytes, then zeros. */
typedef struct {
    const uint8_t *next;
    size_t left;
} choices;

/* A number from 0 to n - 1. */
int64_t pick(choices *c, int64_t n);
double pick_of(choices *c, const double *values, int64_t n);
#define PICK_OF(c, ...) \
    pick_of(c, (const double[]){__VA_ARGS__}, sizeof((double[]){__VA_ARGS__}) / 8)

typedef struct array {
    fo_dtype dtype;
    int n_axes;
    int64_t shape[FO_MAX_AXES], stride[FO_MAX_AXES]; /* axes in C's order; bytes */
    int64_t size;
    char *data;    /* the element whose indices are all 0 */
    double *value; /* what each element has to be, in C's order */
    int64_t *at;   /* bytes from `data`, for each element in C's order */
    int64_t bytes;
    char *memory, *last; /* as it was allocated, and as it was when last checked */
    struct array *next;
} array;

/* Allocated to the byte, behind `lead` bytes; of small integers until it is filled. */
array *array_new(fo_dtype dtype, int n_axes, const int64_t *shape,
                 const int64_t *stride, int64_t lead);
void array_fill(array *a, choices *c);
void arrays_free(void); /* all that there are */

/* Any order of the axes, any direction, with gaps of `unit` bytes; where `shares`,
 * sometimes one element for all along an axis. */
void pick_strides(choices *c, int64_t item, int64_t unit, int shares, int n_axes,
                  const int64_t *shape, int64_t *stride);
int64_t item_size(fo_dtype dtype);

/* A number as an element of dtype, rounded to nearest or by random bits. */
double rounded(fo_dtype dtype, double x, const uint32_t *random);

/* Ends the process where an element is not what it has to be, or a byte of no element
 * has changed.  One NaN is as good as another: which of two is kept is up to the order
 * in which a compiler passes operands. */
void array_check(array *a, const char *what, int64_t tensor);

#endif
