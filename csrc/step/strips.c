/* Walks over contiguous arrays in strips (strips.h). */
#include "strips.h"

#include "stage.h"

/* Bytes of a state in a strip, and the distance at which it is prefetched. */
enum { STRIP = 512, AHEAD = 4 * STRIP };

/* The number of elements of an array before the first that begins a cache line. */
static int64_t unaligned_head(const void *array, int64_t size)
{
    return (int64_t)(-(uintptr_t)array % FO_CACHE_LINE) / size;
}

void fo_strips(const fo_arrays *arrays, fo_sizes sizes, int64_t n, fo_strip_start start,
               int prefetches, fo_strip_body *body, const void *context)
{
    const int64_t strip = prefetches ? STRIP / sizes.state : n,
                  ahead = AHEAD / sizes.state;
    int64_t end =
        start == FO_FROM_CACHE_LINE ? unaligned_head(arrays->param, sizes.param) : 0;
    for (int64_t begin = 0; begin < n; begin = end, end += strip) {
        end = fo_min(end, n);
        const fo_arrays part = fo_arrays_from(arrays, sizes, begin);
        if (prefetches)
            fo_prefetch_arrays(arrays, sizes, fo_min(begin + ahead, n),
                               fo_min(end + ahead, n));
        if (end > begin)
            body(context, &part, end - begin);
    }
}
