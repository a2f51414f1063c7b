/* fo_rows_group (fastopt.h): describes a row-sparse gradient by its distinct rows.
 *
 * Rows are numbered in order of first occurrence, so that a step reads the values
 * sequentially.  Indices that increase are distinct.  All others go through a hash
 * table with open addressing.  At most a quarter of the table is in use, because
 * probing costs more than memory.  Indices can be chosen so that all have the same
 * hash: if there are too many probes, the rows are sorted instead.  The result is the
 * same. */
#include <string.h>

#include "fastopt.h"

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
    return 4 * n + 1 + ((int64_t)1 << (table_bits(n) - 1));
}

/* Copies the indices.  Returns the position of the first that is not in [0, n_rows), or
 * -1.  Sets *increases if each index is larger than the one before it. */
static int64_t copy_checked(const int64_t *index, int64_t n, int64_t n_rows,
                            int64_t *restrict copy, int *increases)
{
    int64_t before = -1;
    *increases = 1;
    for (int64_t i = 0; i < n; i++) {
        const int64_t row = index[i];
        if (row < 0 || row >= n_rows)
            return i;
        *increases &= row > before;
        before = copy[i] = row;
    }
    return -1;
}

/* Numbers the distinct rows by a hash table: sets group[i] to the number of row
 * index[i], and row[number] to the row.  An entry of the table is the number of a row
 * plus 1, or 0.  Returns how many distinct rows there are, or -1 after too many probes
 * or if uint32_t cannot number n rows. */
static int64_t number_by_hash(const int64_t *index, int64_t n, uint32_t *table,
                              int bits, int64_t *row, int64_t *group)
{
    const uint64_t last = ((uint64_t)1 << bits) - 1;
    uint32_t n_unique = 0;
    int64_t probes = 0;
    if (n >= UINT32_MAX)
        return -1;
    memset(table, 0, (last + 1) * sizeof *table);
    for (int64_t i = 0; i < n; i++) {
        uint64_t at = hash(index[i], bits);
        for (; table[at] && row[table[at] - 1] != index[i]; probes++)
            at = (at + 1) & last;
        if (probes > 4 * n)
            return -1;
        if (!table[at]) {
            row[n_unique] = index[i];
            table[at] = ++n_unique;
        }
        group[i] = table[at] - 1;
    }
    return n_unique;
}

/* Sorts the positions 0 to n - 1 by index[position]; positions with equal indices stay
 * in order.  It is a merge sort that copies between `from` and `to`, which have n
 * elements each.  Returns the one that contains the result. */
static int64_t *sort(const int64_t *index, int64_t n, int64_t *from, int64_t *to)
{
    for (int64_t i = 0; i < n; i++)
        from[i] = i;
    for (int64_t width = 1; width < n; width *= 2) {
        for (int64_t begin = 0; begin < n; begin += 2 * width) {
            const int64_t middle = begin + width < n ? begin + width : n;
            const int64_t end = middle + width < n ? middle + width : n;
            int64_t a = begin, b = middle;
            for (int64_t k = begin; k < end; k++)
                to[k] = a < middle && (b == end || index[from[a]] <= index[from[b]])
                            ? from[a++]
                            : from[b++];
        }
        int64_t *swap = from;
        from = to;
        to = swap;
    }
    return from;
}

/* The same as number_by_hash, by sorting; `space` has 2 n elements. */
static int64_t number_by_sorting(const int64_t *index, int64_t n, int64_t *space,
                                 int64_t *row, int64_t *group)
{
    const int64_t *sorted = sort(index, n, space, space + n);
    for (int64_t k = 0; k < n; k++) { /* for now, the first position of the row */
        const int repeats = k > 0 && index[sorted[k]] == index[sorted[k - 1]];
        group[sorted[k]] = repeats ? group[sorted[k - 1]] : sorted[k];
    }
    int64_t n_unique = 0;
    for (int64_t i = 0; i < n; i++) {
        const int is_first = group[i] == i;
        if (is_first)
            row[n_unique] = index[i];
        group[i] = is_first ? n_unique++ : group[group[i]];
    }
    return n_unique;
}

int64_t fo_rows_group(const int64_t *index, int64_t n, int64_t n_rows, int64_t *work,
                      fo_rows *out)
{
    int64_t *start = work, *order = start + n + 1, *row = order + n, *group = row + n;
    int64_t *table = group + n, *copy = order;
    int is_distinct;
    const int64_t outside = copy_checked(index, n, n_rows, copy, &is_distinct);
    if (outside >= 0)
        return outside;
    int64_t n_unique = n;
    if (!is_distinct) {
        n_unique =
            number_by_hash(copy, n, (uint32_t *)table, table_bits(n), row, group);
        if (n_unique < 0)
            n_unique = number_by_sorting(copy, n, table, row, group);
    }
    if (n_unique == n) { /* each value is the gradient of a row */
        for (int64_t i = 0; i <= n; i++)
            start[i] = i;
        *out = (fo_rows){n, copy, start, start, 0};
        return -1;
    }
    /* Counting sort.  start[u], at first the number of values of row u, becomes the end
     * and then the start of its range in `order`. */
    memset(start, 0, (size_t)(n + 1) * sizeof *start);
    for (int64_t i = 0; i < n; i++)
        start[group[i]]++;
    for (int64_t u = 1; u <= n_unique; u++)
        start[u] += start[u - 1];
    for (int64_t i = n - 1; i >= 0; i--)
        order[--start[group[i]]] = i;
    *out = (fo_rows){n_unique, row, start, order, 0};
    return -1;
}
