/* How a tensor with a factored rule is cut into work items and tiles (fo_factoring of
 * plan.h), and where its statistics and factors are in fo_plan.room; for factored.c.
 *
 * Items, units and tiles depend on shapes and strides, never on the number of
 * threads. */
#ifndef FO_FACTORING_H
#define FO_FACTORING_H

#include "plan.h"

/* The most rows of a tile. */
enum { FO_TALL = 64 };

/* Cuts the tensors that have a factored rule and a gradient into work items.  Returns
 * the number of doubles that a step needs in fo_plan.room. */
int64_t fo_factored_prepare(fo_plan *plan);

/* The arrays of a tensor in fo_plan.room. */
typedef struct {
    double *rows;      /* statistics: col_items arrays of all rows */
    double *cols;      /* statistics: an array for each unit */
    double *row, *col; /* factors */
    double *sums;      /* FO_MAX_SUMS for each item */
} fo_factored_arrays;
fo_factored_arrays fo_factored_arrays_of(const fo_plan *plan, const fo_factoring *f);

/* The rows and columns of an item. */
typedef struct {
    int64_t number, unit, units;
    fo_range rows, cols;
} fo_factored_item;
fo_factored_item fo_factored_item_of(const fo_factoring *f, int64_t number);

/* The rows of all matrices, and the number of items. */
int64_t fo_factored_rows(const fo_factoring *f);
int64_t fo_factored_items(const fo_factoring *f);

/* Axis k of the parameter. */
fo_axis fo_factored_axis(const fo_tensor *tensor, int k);

/* The number of rows of the tile of an item that begins at number `row`.  It ends with
 * its unit, unless units are whole matrices. */
int64_t fo_factored_tile_rows(const fo_factoring *f, const fo_factored_item *it,
                              int64_t row);

/* The tile of n rows, from row number `row` on, and m columns. */
fo_tile fo_factored_tile(const fo_factoring *f, int64_t row, int64_t n, int64_t col,
                         int64_t m);

#endif
