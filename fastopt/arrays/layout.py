"""The order of an array's axes in memory, and new arrays with the same order and alignment."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from fastopt.arrays.dtypes import Array

_PAGE = 4096
_LARGE = 2**15  # bytes from which alignment is worth one more page of memory
# The distance of the offsets of arrays: an odd number of cache lines, so that 64 arrays differ.
_STAGGER = 17 * 64


def memory_order(param: Array) -> tuple[int, ...]:
    """Return the axes in order of decreasing stride, which is the order of the kernels' loops."""
    param = np.asarray(param)  # a subclass may override shape and strides
    return tuple(sorted(range(param.ndim), key=lambda axis: -abs(param.strides[axis])))


def new_like(
    param: Array,
    dtype: npt.DTypeLike,
    value: float | Array,
    number: int = 0,
    in_c_order: bool = False,
) -> Array:
    """Return a gapless array filled with `value`, with the shape of `param`.

    Zeros of a large array are not written: the threads of the first step map their pages, each on
    its socket.

    Parameters
    ----------
    param
        The parameter to which the array belongs.
    dtype, value
        Those of the array.
    number
        Which array of the parameter it is, counted from 1; 0 for others.  A large array begins at
        the same offset in a cache line as the parameter, so that vectors cross lines in both or in
        neither.  Arrays of different numbers begin at different offsets in a page, because a load
        waits for an earlier store at the same offset.
    in_c_order
        Whether the axes are in C order, or in the order of the parameter.
    """
    param = np.asarray(param)
    if param.size * np.dtype(dtype).itemsize < _LARGE:
        new: Array = np.empty_like(param, dtype=dtype, order="C" if in_c_order else "K")
        new[...] = value
        return new
    order = range(param.ndim) if in_c_order else memory_order(param)
    shape = [param.shape[axis] for axis in order]
    begin = param.ctypes.data + number * _STAGGER
    begin -= begin % np.dtype(dtype).alignment  # that of the parameter's dtype may be smaller
    new = at_offset(begin, shape, dtype)
    new = new.transpose([order.index(axis) for axis in range(param.ndim)])
    if not _is_zero(value):
        new[...] = value
    return new


def at_offset(offset: int, shape: Sequence[int], dtype: npt.DTypeLike) -> Array:
    """Return a C-contiguous array of zeros whose address is `offset` modulo 4096."""
    buffer = np.zeros(math.prod(shape) * np.dtype(dtype).itemsize + _PAGE, np.uint8)
    return np.ndarray(shape, dtype, buffer, (offset - buffer.ctypes.data) % _PAGE)


def _is_zero(value: float | Array) -> bool:
    return np.ndim(value) == 0 and not any(np.asarray(value).tobytes())  # -0.0 has a set bit
