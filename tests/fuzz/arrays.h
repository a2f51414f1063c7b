/* Arrays of any shape, strides and dtype for the fuzzer, with the expected value of
 * each element.  The bytes between elements must not change, and accesses outside the
 * allocation are found by AddressSanitizer. */
#ifndef FUZZ_ARRAYS_H
#define FUZZ_ARRAYS_H

#include "kernels/kernels.h"

/* The input of the fuzzer, a sequence of choices: its bytes, then zeros. */
typedef struct {
    const uint8_t *next;
    size_t left;
} choices;

/* Take a number from 0 to n - 1, or one of n values, from the input. */
int64_t pick(choices *c, int64_t n);
double pick_of(choices *c, const double *values, int64_t n);
#define PICK_OF(c, ...) \
    pick_of(c, (const double[]){__VA_ARGS__}, sizeof((double[]){__VA_ARGS__}) / 8)

typedef struct array {
    fo_dtype dtype;
    int n_axes;
    int64_t shape[FO_MAX_AXES], stride[FO_MAX_AXES]; /* axes in C order; bytes */
    int64_t size;
    char *data;    /* the element with all indices 0 */
    double *value; /* the expected value of each element, in C order */
    int64_t *at;   /* offset of each element from `data`, in C order */
    int64_t bytes;
    char *memory, *last; /* the allocation, and its contents at the last check */
    struct array *next;
} array;

/* Allocates `lead` bytes and, after them, exactly the bytes that the elements span.
 * Elements are small integers until array_fill is called. */
array *array_new(fo_dtype dtype, int n_axes, const int64_t *shape,
                 const int64_t *stride, int64_t lead);
void array_fill(array *a, choices *c);
/* Moves the elements to other memory, with other strides, rounded to `dtype`. */
void array_move(array *a, fo_dtype dtype, const int64_t *stride, int64_t lead);
void arrays_free(void); /* every array that array_new returned */

/* Choose strides: axes in any order and direction, with gaps of multiples of `unit`
 * bytes; if `shares`, some strides may be 0. */
void pick_strides(choices *c, int64_t item, int64_t unit, int shares, int n_axes,
                  const int64_t *shape, int64_t *stride);
int64_t item_size(fo_dtype dtype);

/* x rounded to dtype: to nearest if random is NULL, else stochastically. */
double rounded(fo_dtype dtype, double x, const uint32_t *random);

/* Aborts if an element does not have its expected value, or if a byte outside all
 * elements has changed.  All NaNs count as equal, because the NaN that an operation
 * returns depends on the order in which the compiler passes two NaN operands. */
void array_check(array *a, const char *what, int64_t tensor);

#endif
