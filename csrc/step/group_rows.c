/* fo_rows_group (fastopt.h): describes a row-sparse gradient by its distinct rows.
 *
 * It uses a hash table with open addressing.  Rows are numbered in order of first
 * occurrence, so that a step reads the values sequentially.  At most a quarter of the
 * table is in use, because probing costs more than memory. */
#include <string.h>

#include "fastopt.h"

typedef struct {
    int64_t row, group; /* row + 1, or 0 if the entry is free; the number of the row */
} entry;

static int table_bits(int64_t n)
{
    int bits = 1;
    while ((int64_t)1 << bits < 4 * n)
        bits++;
    return bits;
}

/* Fibonacci hashing: the high bits differ for rows at regular distances. */
static uint64_t hash(int64_t row, int bits)
{
    return (uint64_t)row * 0x9e3779b97f4a7c15 >> (64 - bits);
}

int64_t fo_rows_work(int64_t n)
{
    return 4 * n + 1 + ((int64_t)2 << table_bits(n));
}

int64_t fo_rows_group(const int64_t *index, int64_t n, int64_t n_rows, int64_t *work,
                      fo_rows *out)
{
    const int bits = table_bits(n);
    const uint64_t last = ((uint64_t)1 << bits) - 1;
    int64_t *row = work, *start = row + n, *order = start + n + 1, *group = order + n;
    entry *table = (entry *)(group + n);
    memset(start, 0, (size_t)(n + 1) * sizeof *start);
    memset(table, 0, (last + 1) * sizeof *table);
    int64_t n_unique = 0;
    for (int64_t i = 0; i < n; i++) {
        if (index[i] < 0 || index[i] >= n_rows)
            return i;
        uint64_t at = hash(index[i], bits);
        while (table[at].row && table[at].row != index[i] + 1)
            at = (at + 1) & last;
        if (!table[at].row) {
            table[at] = (entry){index[i] + 1, n_unique};
            row[n_unique++] = index[i];
        }
        group[i] = table[at].group;
        start[group[i]]++;
    }
    /* Counting sort.  start[u], at first the number of values of row u, becomes the end
     * and then the start of its range in `order`. */
    for (int64_t u = 1; u <= n_unique; u++)
        start[u] += start[u - 1];
    for (int64_t i = n - 1; i >= 0; i--)
        order[--start[group[i]]] = i;
    *out = (fo_rows){n_unique, row, start, order, 0};
    return -1;
}
