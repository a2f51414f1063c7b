/* Cache lines and prefetches, for all loops of csrc that read more than the cache
 * holds; and FO_INLINE and FO_NOINLINE. */
#ifndef FO_CACHE_H
#define FO_CACHE_H

#include <stdint.h>

enum { FO_CACHE_LINE = 64 }; /* bytes */

/* Prefetch the cache line at an address into the L1 or the L2 cache.  A function that
 * only prefetches must be FO_INLINE: gcc considers it free of side effects and removes
 * calls to it. */
#if defined(__GNUC__)
#define FO_PREFETCH(address) __builtin_prefetch(address)
#define FO_PREFETCH_L2(address) __builtin_prefetch(address, 0, 2)
#define FO_INLINE inline __attribute__((always_inline))
#define FO_NOINLINE __attribute__((noinline))
#else
#define FO_INLINE inline
#define FO_NOINLINE
#define FO_PREFETCH(address) (void)(address)
#define FO_PREFETCH_L2(address) (void)(address)
#endif

/* Prefetches bytes begin to end - 1 of an array.  Addresses outside it do no harm. */
static FO_INLINE void fo_prefetch(const void *array, int64_t begin, int64_t end)
{
    for (int64_t byte = begin; byte < end; byte += FO_CACHE_LINE)
        FO_PREFETCH((const char *)array + byte);
}

/* Prefetches `size` bytes of a row, but at most 4096. */
static FO_INLINE void fo_prefetch_row(const void *row, int64_t size)
{
    fo_prefetch(row, 0, size < 4096 ? size : 4096);
}

#endif
