/* Cache lines and prefetches, for all loops of csrc that read more than the cache
 * holds. */
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

/* Prefetches `size` bytes of an array, but at most FO_MOST_PREFETCHED.  Addresses
 * outside the array do no harm. */
enum { FO_MOST_PREFETCHED = 4096 };
static FO_INLINE void fo_prefetch(const void *array, int64_t size)
{
    const int64_t end = size < FO_MOST_PREFETCHED ? size : FO_MOST_PREFETCHED;
    for (int64_t k = 0; k < end; k += FO_CACHE_LINE)
        FO_PREFETCH((const char *)array + k);
}

#endif
