/* Products of matrices for the blocks of a dense Kalman filter (kalman/kalman.c),
 * without BLAS: on the calling thread, with the same bits on every CPU.
 *
 * Matrices are stored column by column. Their columns are whole vectors of 64 bytes:
 * fo_padded(p) rows, where the added rows are 0 in inputs. Arrays are of float or
 * double.
 */
#ifndef FO_PRODUCTS_H
#define FO_PRODUCTS_H

#include <stdint.h>

static inline int64_t fo_padded(int64_t p, int is_single)
{
    return is_single ? (p + 15) & ~(int64_t)15 : (p + 7) & ~(int64_t)7;
}

/* Returns the distance of columns in memory: an odd number of cache lines if there are
 * many, so that the elements of a row do not compete for the same places in a cache. */
static inline int64_t fo_apart(int64_t p, int is_single)
{
    const int64_t rows = fo_padded(p, is_single), line = fo_padded(1, is_single);
    return rows < 8 * line ? rows : rows | line;
}

typedef enum { FO_SET, FO_ADD, FO_SUBTRACT } fo_onto;

typedef struct {
    /* C = A B, C += A B or C -= A B, where C has m rows and n columns, and A has
     * depth >= 1 columns. Element (l, j) of B is b[l * b_depth + j * b_col]. */
    void (*product)(int64_t m, int64_t n, int64_t depth, const void *a, int64_t lda,
                    const void *b, int64_t b_depth, int64_t b_col, void *c, int64_t ldc,
                    fo_onto onto);
    /* Column j of U (m x n) becomes v_j = u_j - sum over l < j of t[j * ldt + l] v_l.
     */
    void (*solve)(int64_t m, int64_t n, void *u, int64_t ldu, const void *t,
                  int64_t ldt);
    /* Writes element r of column c to to[r * ld + c]; columns are `apart` bytes apart.
     */
    void (*transpose)(void *to, int64_t ld, const char *from, int64_t apart,
                      int64_t rows, int64_t columns);
    /* z[i] = sum over l < p of xt[l * n + i] w[l]. */
    void (*predict)(int64_t n, int64_t p, const void *xt, const double *w, double *z);
    /* row[i] -= sum over l < j of T[l][j] c[l * ld + i] for first <= i < n, where
     * T[l][j] = b[l] c[l * ld + j] is written to row[l]. */
    void (*deflate)(void *row, const void *c, const double *b, int64_t ld, int64_t j,
                    int64_t first, int64_t n);
    /* w += V alpha, and column j of F is that of V (m x n) times root[j]. Returns a
     * number that is finite only if w and the squares of F are. */
    double (*finish)(int64_t m, int64_t n, const void *v, int64_t ld,
                     const double *alpha, const double *root, double *w, void *f);
    /* M = scale (M - F F') for a symmetric M (rows x p), where F is rows x n. */
    void (*downdate)(int64_t rows, int64_t p, int64_t n, const void *f, void *m,
                     int64_t ld, double scale);
} fo_products;

/* Returns the functions for float or double, for the selected instruction set. */
typedef const fo_products *fo_products_for(int is_single);
fo_products_for fo_products_of;

#endif
