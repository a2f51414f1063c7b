/* The random numbers of stochastic rounding, for staging.inc.  There is one stream per
 * step, tensor and array.  A random number is a hash of its stream and of its position
 * in the stream, so it does not depend on the order in which elements are updated.
 */
#ifndef FO_RANDOM_H
#define FO_RANDOM_H

#include <stdint.h>

/* Returns 32 random bits: a hash of the stream and of the position in it. */
static inline uint32_t fo_random32(uint64_t stream, uint32_t number)
{
    uint32_t x = number ^ (uint32_t)stream;
    x ^= x >> 16;
    x *= 0x7feb352d;
    x = (x ^ x >> 15) + (uint32_t)(stream >> 32);
    x *= 0x846ca68b;
    return x ^ x >> 16;
}

/* Returns 16 random bits for element `index`: elements 2k and 2k + 1 use the low and
 * the high half of the 32 bits at position k. */
static inline uint16_t fo_random16(uint64_t stream, uint32_t index)
{
    return (uint16_t)(fo_random32(stream, index >> 1) >> 16 * (index & 1));
}

/* x with its low half first in memory, whatever the byte order. */
static inline uint32_t fo_low_first(uint32_t x)
{
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    x = x << 16 | x >> 16;
#endif
    return x;
}

#endif
