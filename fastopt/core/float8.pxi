# Convert whole states of 8 bits from and to float32.
import numpy as np

cimport numpy as cnp
from libc.stdint cimport int64_t, uint8_t

from fastopt._csrc cimport *


def float8_blocks(tuple shape):
    """Return the shape of the scale bytes of an 8-bit state: those of each row, or all of them."""
    if len(shape) == 1:
        return ((shape[0] + FO_BLOCK - 1) // FO_BLOCK,)
    return shape[0], (row_length(shape) + FO_BLOCK - 1) // FO_BLOCK


cdef int64_t row_length(tuple shape):
    cdef int64_t length = 1
    for n in shape[1:] if len(shape) > 1 else shape:
        length *= n
    return length


def float8_unpack(codes, scale, bint is_signed):
    """Return an 8-bit state as float32; it must be C-contiguous, and have an element."""
    cdef cnp.ndarray state = codes, scale_bytes = scale
    cdef cnp.ndarray out = np.empty(codes.shape, dtype=np.float32)
    cdef int64_t length = row_length(codes.shape)
    if (not cnp.PyArray_IS_C_CONTIGUOUS(state) or not cnp.PyArray_IS_C_CONTIGUOUS(scale_bytes)
            or state.dtype != np.uint8 or scale_bytes.dtype != np.uint8
            or scale.shape != float8_blocks(codes.shape)):
        raise AssertionError(f"codes of shape {codes.shape} and scale bytes of shape {scale.shape}")
    fo_float8_unpack(FO_SIGNED if is_signed else FO_NON_NEGATIVE,
                     <uint8_t *>cnp.PyArray_DATA(state), <uint8_t *>cnp.PyArray_DATA(scale_bytes),
                     cnp.PyArray_SIZE(state) // length, length, <float *>cnp.PyArray_DATA(out))
    return out


def float8_pack(values, bint is_signed):
    """Return the codes and the scale bytes of numbers, rounded to nearest."""
    cdef cnp.ndarray x = np.ascontiguousarray(values, dtype=np.float32)
    cdef cnp.ndarray codes = np.empty(values.shape, dtype=np.uint8)
    cdef cnp.ndarray scale_bytes = np.empty(float8_blocks(values.shape), dtype=np.uint8)
    cdef int64_t length = row_length(values.shape)
    fo_float8_pack(FO_SIGNED if is_signed else FO_NON_NEGATIVE, <float *>cnp.PyArray_DATA(x),
                   cnp.PyArray_SIZE(x) // length, length, <uint8_t *>cnp.PyArray_DATA(codes),
                   <uint8_t *>cnp.PyArray_DATA(scale_bytes))
    return codes, scale_bytes
