/* The bits of an element of an FO_F8 state, for the loops of float8.inc.
 *
 * A byte is a small floating-point number with 2 bits of mantissa, in which infinity
 * and NaN are encoded as in IEEE 754.  The elements of a block are multiplied by the
 * power of two for which the largest finite element has the largest exponent, `top`.
 * The scale of the block is the biased exponent of that element as a float, at least
 * top + 2.  So a block represents 2^-31 (FO_SIGNED) or 2^-63 (FO_NON_NEGATIVE) of its
 * largest element, but nothing below the smallest normal float.
 *
 * Rounding is stochastic: x is rounded up if its distance to the number below, as a
 * fraction of the distance between its neighbours, plus a random fraction is at least
 * 1.  A number that has a code keeps it, so 0 stays 0.  A non-negative number above 0
 * does not become 0: it divides another state, and the quotient would be arbitrarily
 * large.
 *
 * The mantissa is rounded before the scale is known; therefore packing what was
 * unpacked gives the same bytes. */
#ifndef FO_FLOAT8_H
#define FO_FLOAT8_H

#include "formats.h"

typedef struct {
    int32_t top;    /* the largest exponent of a finite number */
    uint32_t sign;  /* the mask of the sign */
    uint32_t least; /* the smallest code of a number above 0 */
} fo_minifloat;

static const fo_minifloat FO_E5M2 = {30, 0x80, 0}, FO_E6M2 = {62, 0, 1};

enum { FO_INFINITE = 0x7f800000, FO_MAGNITUDE = 0x7fffffff };

/* The code of infinity; those above it are NaN. */
static inline uint32_t fo_float8_infinity(fo_minifloat f)
{
    return (uint32_t)(f.top + 1) << 2;
}

/* The bits of the smallest number in a block that has an exponent; those below it are
 * multiples of the smallest number of the block, and have codes 0 to 3. */
static inline uint32_t fo_float8_normal(int32_t scale, fo_minifloat f)
{
    return (uint32_t)(scale - f.top + 1) << 23;
}

/* The bits of |x|, rounded up or not at 2 bits of mantissa; the others are arbitrary.
 * random: the numerator of a random fraction of 2^21. */
static inline uint32_t fo_round_mantissa(float x, uint32_t random)
{
    return (fo_bits_of(x) & FO_MAGNITUDE) + random;
}

/* 2^(exponent - 127) for exponents of normal floats. */
static inline float fo_power_of_2(int32_t exponent)
{
    return fo_float_of((uint32_t)exponent << 23);
}

/* The code of x in a block with this scale. */
static inline uint8_t fo_to_float8(float x, uint32_t random, int32_t scale,
                                   fo_minifloat f)
{
    const uint32_t normal = fo_float8_normal(scale, f), inf = fo_float8_infinity(f);
    const uint32_t bits = fo_bits_of(x), rest = bits & FO_MAGNITUDE;
    const uint32_t rounded = fo_round_mantissa(x, random);
    const float per_unit = fo_power_of_2(255 + f.top - scale);

    const float units = fo_float_of(rest < normal ? rest : 0) * per_unit;
    const int32_t floor = (int32_t)units;
    const float missing = 1.0f - (float)(int32_t)random * 0x1p-21f;
    const uint32_t up = units - (float)floor >= missing ? 1 : 0;
    const uint32_t least = rest != 0 ? f.least : 0, next = (uint32_t)floor + up;
    const uint32_t small = next < least ? least : next;
    const uint32_t large = (rounded >> 21) - ((uint32_t)(scale - f.top) << 2);
    const uint32_t finite = rest < normal ? small : large;
    const uint32_t number = rounded < FO_INFINITE ? finite : inf;
    return (uint8_t)(rest > FO_INFINITE ? inf | 3 : number | (bits >> 24 & f.sign));
}

/* The same for a finite x that is 0 or rounded to a number with an exponent, given the
 * result of fo_round_mantissa. */
static inline uint8_t fo_to_float8_normal(float x, uint32_t rounded, int32_t scale,
                                          fo_minifloat f)
{
    const int32_t large = (int32_t)(rounded >> 21) - ((scale - f.top) << 2);
    return (uint8_t)((uint32_t)(large > 0 ? large : 0) |
                     (fo_bits_of(x) >> 24 & f.sign));
}

static inline float fo_from_float8(uint8_t code, int32_t scale, fo_minifloat f)
{
    const uint32_t rest = code & (0xff ^ f.sign);
    const float small = (float)(int32_t)rest * fo_power_of_2(scale - f.top - 1);
    const uint32_t large = (rest << 21) + ((uint32_t)(scale - f.top) << 23);
    const uint32_t finite = rest < 4 ? fo_bits_of(small) : large;
    const uint32_t special = FO_INFINITE | (rest & 3) << 21;
    const uint32_t bits = rest < fo_float8_infinity(f) ? finite : special;
    return fo_float_of(bits | (code & f.sign) << 24);
}

/* The same for a code of 0 or of a finite number with an exponent, if the scale is at
 * most fo_float8_factor_limit. */
static inline float fo_from_float8_normal(uint8_t code, int32_t scale, fo_minifloat f)
{
    const int32_t extended = f.sign ? (int8_t)code : code;
    const uint32_t bits = (uint32_t)extended << 21 & (f.sign ? 0x8fffffff : 0xffffffff);
    return fo_float_of(bits) * fo_power_of_2(127 + scale - f.top);
}
static inline int32_t fo_float8_factor_limit(fo_minifloat f)
{
    return 127 + f.top;
}

#endif
