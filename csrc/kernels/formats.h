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

/* Magnitudes are compared as signed numbers: instruction sets without unsigned
 * comparisons need more instructions for those. */
static inline float fo_from_f16(uint16_t h)
{
    const uint32_t sign = (uint32_t)(h & 0x8000) << 16;
    const int32_t rest = (h & 0x7fff) << 13;
    /* Multiplying by 2^112 changes the exponent bias from 15 to 127, also for
     * subnormals. */
    const float scaled = fo_float_of((uint32_t)rest) * 0x1p112f;
    const uint32_t magnitude =
        rest >= 0x0f800000 ? (uint32_t)rest | 0x7f800000 : fo_bits_of(scaled);
    return fo_float_of(sign | magnitude);
}

static inline int32_t fo_magnitude(float x)
{
    return (int32_t)(fo_bits_of(x) & 0x7fffffff);
}

/* The magnitude of a float of at least 2^-14, with `increment` added to the bits that
 * are cut off, as a float16: infinity from 2^16 on. */
static inline int32_t fo_f16_normal(int32_t rest, int32_t increment)
{
    const int32_t bounded = rest < 0x47800000 ? rest : 0x47800000;
    return (bounded + increment - 0x38000000) >> 13;
}

/* The float16 of x, from two candidates for its rounded magnitude: `small` if it is
 * below 2^-14 (subnormal, unit 2^-24), else `normal`.  Handles the sign and NaN. */
static inline uint16_t fo_f16_of(float x, int32_t small, int32_t normal)
{
    const int32_t sign = (int32_t)(fo_bits_of(x) >> 16 & 0x8000),
                  rest = fo_magnitude(x);
    const int32_t nan = 0x7e00 | (rest >> 13 & 0x1ff);
    const int32_t number = rest < 0x38800000 ? small : normal;
    return (uint16_t)(sign | (x != x ? nan : number));
}

static inline uint16_t fo_to_f16_nearest(float x)
{
    const int32_t rest = fo_magnitude(x);
    const float shifted = fo_float_of((uint32_t)rest) + 0.5f;
    const int32_t small = (int32_t)fo_bits_of(shifted) - 0x3f000000;
    return fo_f16_of(x, small, fo_f16_normal(rest, 0xfff + (rest >> 13 & 1)));
}

/* Rounds stochastically.  `random` has 16 bits, of which the upper 13 are used. */
static inline uint16_t fo_to_f16(float x, uint32_t random)
{
    const int32_t rest = fo_magnitude(x), add = (int32_t)random >> 3;
    const int32_t below = rest < 0x38800000 ? rest : 0;
    const float units = fo_float_of((uint32_t)below) * 0x1p24f;
    const int32_t small = (int32_t)(units + (float)add * 0x1p-13f);
    return fo_f16_of(x, small, fo_f16_normal(rest, add));
}

#endif
