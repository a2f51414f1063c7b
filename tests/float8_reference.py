"""States of 8 bits, from the definition in csrc/kernels/float8.h, in exact arithmetic.

A kind is (largest exponent of a finite code, number of sign bits): SIGNED or NON_NEGATIVE.
"""

import numpy as np

SIGNED, NON_NEGATIVE = (30, 1), (62, 0)
BLOCK = 256
GOLDEN = 0x9E3779B9
MASK32, MASK64 = 2**32 - 1, 2**64 - 1


def stream(seed, step, tensor, array):
    """Return the number that selects the random bits of an array: SplitMix64, applied to each."""
    x = 0
    for number in (seed, step, tensor, array):
        x = ((x ^ number) + 0x9E3779B97F4A7C15) & MASK64
        x = ((x ^ x >> 30) * 0xBF58476D1CE4E5B9) & MASK64
        x = ((x ^ x >> 27) * 0x94D049BB133111EB) & MASK64
        x ^= x >> 31
    return x


def fractions(of_stream, block, n):
    """Return the random fractions, multiples of 2^-21, of the n elements of a block."""
    x = (block ^ of_stream) & MASK32
    x ^= x >> 16
    x = x * 0x7FEB352D & MASK32
    x = ((x ^ x >> 15) + (of_stream >> 32)) & MASK32
    x = x * 0x846CA68B & MASK32
    x ^= x >> 16
    return np.array([((x + i * GOLDEN) & MASK32) >> 11 for i in range(n)]) / 2.0**21


def _blocks(shape):
    """Return slices of the flat array, one for each block."""
    length = int(np.prod(shape[1:] if len(shape) > 1 else shape))
    return [
        slice(row + begin, row + min(begin + BLOCK, length))
        for row in range(0, int(np.prod(shape)), length)
        for begin in range(0, length, BLOCK)
    ]


def _to_multiple(x, unit, fraction):
    """Round up if the part that is cut off, in units, and the fraction make at least 1."""
    units = np.floor(x / unit)
    return units + (x / unit - units + fraction >= 1)


def _pack_block(x, fraction, kind):
    top, sign_bits = kind
    size = np.abs(x.astype(np.float64))
    usable = np.where(np.isfinite(size), size, 0.0)
    exponent = np.maximum(np.frexp(usable)[1] - 1, -126)
    exponent[usable == 0] = -126
    unit = 2.0 ** (exponent - 2)
    rounded = _to_multiple(usable, unit, fraction) * unit
    overflows = rounded >= 2.0**128
    largest = np.max(rounded[~overflows], initial=0.0)
    scale = max(np.frexp(largest)[1] - 1 + 127 if largest else 0, top + 2)
    # The exponent of a code is e - scale + 127 + top, and 0 for multiples of the smallest number.
    lowest = scale - 127 - top + 1
    small = _to_multiple(usable, 2.0 ** (lowest - 2), fraction)
    if not sign_bits:
        small = np.maximum(small, usable > 0)
    mantissa, e = np.frexp(np.where(rounded > 0, rounded, 1.0))
    large = (e - 1 - lowest + 1) * 4 + (mantissa * 8 - 4)
    code = np.where(usable < 2.0**lowest, small, large)
    code[np.isinf(size) | overflows] = (top + 1) * 4
    code += np.signbit(x) * 128 * sign_bits
    code[np.isnan(size)] = (top + 1) * 4 + 3
    return code.astype(np.uint8), scale


def pack(x, of_stream, kind):
    """Return the codes and scales of an array; of_stream: None to round to nearest."""
    codes, scales = np.empty(x.size, np.uint8), []
    for block, where in enumerate(_blocks(x.shape)):
        n = where.stop - where.start
        fraction = np.full(n, 0.5) if of_stream is None else fractions(of_stream, block, n)
        codes[where], scale = _pack_block(x.ravel()[where], fraction, kind)
        scales.append(scale)
    rows = x.shape[:1] if x.ndim > 1 else ()
    return codes.reshape(x.shape), np.array(scales, np.uint8).reshape(*rows, -1)


def unpack(codes, scales, kind):
    """Return the numbers of codes as float32."""
    top, sign_bits = kind
    x = np.empty(codes.size)
    for where, scale in zip(_blocks(codes.shape), scales.ravel().astype(int), strict=True):
        code = codes.ravel()[where].astype(int)
        magnitude = code & (127 if sign_bits else 255)
        exponent, mantissa = np.divmod(magnitude, 4)
        number = np.where(
            exponent > 0,
            (1 + mantissa / 4) * 2.0 ** (exponent + scale - 127 - top),
            mantissa / 4 * 2.0 ** (1 + scale - 127 - top),
        )
        number[magnitude == (top + 1) * 4] = np.inf
        number[magnitude > (top + 1) * 4] = np.nan
        x[where] = np.where(code >= 128, -number, number) if sign_bits else number
    return x.reshape(codes.shape).astype(np.float32)
