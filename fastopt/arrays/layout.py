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
    new: Array = np.empty_like(np.asarray(param), dtype=dtype)
    new[...] = value
    return new


def new_in_c_order(param: Array, dtype: npt.DTypeLike, value: float | Array) -> Array:
    """Return an array filled with `value`, with the shape of `param`, in C order."""
    new: Array = np.empty(np.shape(param), dtype=dtype)
    new[...] = value
    return new
