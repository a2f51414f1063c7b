/* float16 and bfloat16 as bits, to and from float.  No branches, so that loops over
 * them vectorise; exact, or rounded to nearest even, or by random bits. */
#ifndef FO_FORMATS_H
#define FO_FORMATS_H

#include <stdint.h>
#include <string.h>

static inline float fo_float_of(uint32_t bits)
{
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

static inline uint32_t fo_bits_of(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

static inline float fo_from_bf16(uint16_t h)
{
    return fo_float_of((uint32_t)h << 16);
}

/* Random bits below the last that is kept: up in proportion to what is cut off. Nothing
 * is cut off an infinity; a NaN stays one.  Chosen in a statement of its own, before it
 * is cut: choices between short numbers vectorise worse. */
static inline uint16_t fo_to_bf16(float x, uint32_t below)
{
    const uint32_t bits = fo_bits_of(x), quiet = bits | 0x00400000;
    const int is_nan = x != x; /* one instruction, which its bits would not be */
    const uint32_t rounded = is_nan ? quiet : bits + below;
    return (uint16_t)(rounded >> 16);
}

static inline uint16_t fo_to_bf16_nearest(float x)
{
    return fo_to_bf16(x, 0x7fff + (fo_bits_of(x) >> 16 & 1));
}

static inline float fo_from_f16(uint16_t h)
{
    const uint32_t sign = (uint32_t)(h & 0x8000) << 16, rest = (uint32_t)(h & 0x7fff)
                                                               << 13;
    /* 2^112 moves the exponent's bias from 15 to 127, subnormals included. */
    const float scaled = fo_float_of(rest) * 0x1p112f;
    const uint32_t magnitude =
        rest >= 0x0f800000 ? rest | 0x7f800000 : fo_bits_of(scaled);
    return fo_float_of(sign | magnitude);
}

/* The bits of a float with its rounded magnitude as float16: `small` below 2^-14, where
 * the last bit is worth 2^-24 whatever the exponent, else `normal`. */
static inline uint16_t fo_f16_of(uint32_t bits, uint32_t small, uint32_t normal)
{
    const uint32_t sign = bits >> 16 & 0x8000, rest = bits & 0x7fffffff;
    const uint32_t nan = 0x7e00 | (rest >> 13 & 0x1ff), infinity = 0x7c00;
    const uint32_t finite = rest < 0x38800000 ? small : normal;
    const uint32_t bounded = finite > infinity ? infinity : finite;
    const uint32_t known = rest >= 0x47800000 ? infinity : bounded;
    return (uint16_t)(sign | (rest > 0x7f800000 ? nan : known));
}

static inline uint16_t fo_to_f16_nearest(float x)
{
    const uint32_t bits = fo_bits_of(x), rest = bits & 0x7fffffff;
    const uint32_t small = fo_bits_of(fo_float_of(rest) + 0.5f) - 0x3f000000;
    const uint32_t normal = (rest + 0xfff + (rest >> 13 & 1) - 0x38000000) >> 13;
    return fo_f16_of(bits, small, normal);
}

/* `random` is of 16 bits, of which 13 count. */
static inline uint16_t fo_to_f16(float x, uint32_t random)
{
    const uint32_t bits = fo_bits_of(x), rest = bits & 0x7fffffff, add = random >> 3;
    const float units = fo_float_of(rest < 0x38800000 ? rest : 0) * 0x1p24f;
    const uint32_t small = (uint32_t)(int32_t)(units + (float)(int32_t)add * 0x1p-13f);
    return fo_f16_of(bits, small, (rest + add - 0x38000000) >> 13);
}

/* 32 random bits for each number of a stream. */
static inline uint32_t fo_random32(uint64_t stream, uint32_t number)
{
    uint32_t x = number ^ (uint32_t)stream;
    x ^= x >> 16;
    x *= 0x7feb352d;
    x = (x ^ x >> 15) + (uint32_t)(stream >> 32);
    x *= 0x846ca68b;
    return x ^ x >> 16;
}

/* Two elements share a number: the even one has its low half. */
static inline uint16_t fo_random16(uint64_t stream, uint32_t index)
{
    return (uint16_t)(fo_random32(stream, index >> 1) >> 16 * (index & 1));
}

/* So that the low half lies before the high one. */
static inline uint32_t fo_low_first(uint32_t x)
{
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    x = x << 16 | x >> 16;
#endif
    return x;
}

#endif
