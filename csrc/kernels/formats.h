/* Conversions between float and the bits of float16 and bfloat16, for the loops of
 * staging.inc and loops.inc.
 *
 * Conversion to float is exact; conversion from float rounds to nearest even, or
 * stochastically, with random bits from the caller.  There are no branches, so that
 * loops vectorise. */
#ifndef FO_FORMATS_H
#define FO_FORMATS_H

#include <stdint.h>
#include <string.h>

/* Copies an element as memcpy does.  With _FORTIFY_SOURCE, memcpy is a function call,
 * and clang does not vectorise loops that contain it. */
#if defined(__GNUC__)
#define fo_copy __builtin_memcpy
#else
#define fo_copy memcpy
#endif

static inline float fo_float_of(uint32_t bits)
{
    float x;
    fo_copy(&x, &bits, sizeof x);
    return x;
}

static inline uint32_t fo_bits_of(float x)
{
    uint32_t bits;
    fo_copy(&bits, &x, sizeof bits);
    return bits;
}

static inline float fo_from_bf16(uint16_t h)
{
    return fo_float_of((uint32_t)h << 16);
}

/* Adds `increment` (16 bits) to the bits that are cut off, then truncates.  With a
 * uniformly random increment, x is rounded up with probability equal to the fraction
 * cut off.  Infinity stays infinity, and NaN stays NaN.  The selection is a separate
 * statement on 32-bit numbers, because selections of 16-bit numbers vectorise worse. */
static inline uint16_t fo_to_bf16(float x, uint32_t increment)
{
    const uint32_t bits = fo_bits_of(x), quiet = bits | 0x00400000;
    const int is_nan = x != x; /* one instruction; a test of the bits takes more */
    const uint32_t rounded = is_nan ? quiet : bits + increment;
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
    /* Multiplying by 2^112 changes the exponent bias from 15 to 127, also for
     * subnormals. */
    const float scaled = fo_float_of(rest) * 0x1p112f;
    const uint32_t magnitude =
        rest >= 0x0f800000 ? rest | 0x7f800000 : fo_bits_of(scaled);
    return fo_float_of(sign | magnitude);
}

/* The float16 of a float with the given bits, from two candidates for its rounded
 * magnitude: `small` if it is below 2^-14 (subnormal, unit 2^-24), else `normal`.
 * Handles the sign, overflow, infinity and NaN. */
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

/* Rounds stochastically.  `random` has 16 bits, of which the upper 13 are used. */
static inline uint16_t fo_to_f16(float x, uint32_t random)
{
    const uint32_t bits = fo_bits_of(x), rest = bits & 0x7fffffff, add = random >> 3;
    const float units = fo_float_of(rest < 0x38800000 ? rest : 0) * 0x1p24f;
    const uint32_t small = (uint32_t)(int32_t)(units + (float)(int32_t)add * 0x1p-13f);
    return fo_f16_of(bits, small, (rest + add - 0x38000000) >> 13);
}

#endif
