"""The order of an array's axes in memory, and new arrays with the same order."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from fastopt.arrays.dtypes import Array


def memory_order(param: Array) -> tuple[int, ...]:
    """Return the axes in order of decreasing stride, which is the order of the kernels' loops."""
    param = np.asarray(param)  # a subclass may override shape and strides
    return tuple(sorted(range(param.ndim), key=lambda axis: -abs(param.strides[axis])))


def new_like(param: Array, dtype: npt.DTypeLike, value: float | Array) -> Array:
    """Return a gapless array filled with `value`, with the shape and axis order of `param`."""
    param, order = np.asarray(param), memory_order(param)
    new = new_in_c_order(param.transpose(order), dtype, 0.0)
    new = new.transpose(np.argsort(order))
    if not _is_zero(value):
        new[...] = value
    return new


def new_in_c_order(param: Array, dtype: npt.DTypeLike, value: float | Array) -> Array:
    """Return an array filled with `value`, with the shape of `param`, in C order.

    Zeros are not written: the threads of the first step map their pages, each on its socket.
    """
    new: Array = np.zeros(np.shape(param), dtype=dtype)
    if not _is_zero(value):
        new[...] = value
    return new


def _is_zero(value: float | Array) -> bool:
    return np.ndim(value) == 0 and not any(np.asarray(value).tobytes())  # -0.0 has a set bit
