"""Which arrays the kernels can work on, and the errors for those they cannot."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from typing import Any

import numpy as np

from fastopt._errors import FastoptError

Array = np.ndarray[Any, np.dtype[Any]]

DTYPES = "float32 or float64 in native byte order"


def require_dtype(what: str, array: Array) -> None:
    """Refuse by name what the kernels have no arithmetic for."""
    if array.dtype.char not in "fd" or not array.dtype.isnative:
        raise TypeError(f"{what} has dtype {array.dtype.str} ({array.dtype}); {DTYPES} is needed")


def require_parameter(name: str, param: object) -> None:
    """Refuse a parameter that could not be updated in place."""
    if not isinstance(param, np.ndarray):
        raise TypeError(f"{name} is a {type(param).__name__}; a numpy.ndarray is needed")
    if isinstance(param, np.ma.MaskedArray):
        raise TypeError(f"{name} is a masked array; its mask would be ignored")
    require_dtype(name, param)
    if not param.flags.writeable:
        raise FastoptError(f"{name} is read-only; parameters are updated in place")
    if not (param.flags.c_contiguous and param.flags.aligned):
        raise FastoptError(
            f"{name} has strides {param.strides} for shape {param.shape}; "
            "an aligned C-contiguous array is needed"
        )


def as_gradient(name: str, param: Array, grad: object) -> Array:
    """Return what stands for the gradient of ``param`` as an array, not copied.

    Anything with ``__array__`` or ``__dlpack__`` will do, and a plain number for a 0-d parameter.
    """
    what = f"the gradient of {name}"
    if isinstance(grad, np.ma.MaskedArray):
        raise TypeError(f"{what} is a masked array; its mask would be ignored")
    if hasattr(grad, "__array__"):
        array = np.asarray(grad)
    elif hasattr(grad, "__dlpack__"):
        array = np.from_dlpack(grad)
    elif param.ndim == 0 and isinstance(grad, (int, float)) and not isinstance(grad, bool):
        try:
            array = np.array(float(grad))
        except OverflowError:
            raise FastoptError(f"{what} is {grad}; it must fit in float64") from None
    else:
        raise TypeError(f"{what} is a {type(grad).__name__}; an array is needed")
    require_dtype(what, array)
    if array.shape != param.shape:
        raise FastoptError(f"{what} has shape {array.shape}; {param.shape} is needed")
    return array


def is_direct(param: Array, array: Array) -> bool:
    """Say whether a kernel can read the array where it lies."""
    return array.dtype == param.dtype and array.flags.c_contiguous and array.flags.aligned


def as_direct(param: Array, array: Array) -> Array:
    """Return the array, or a copy of the parameter's dtype that a kernel can read."""
    return array if is_direct(param, array) else np.array(array, dtype=param.dtype, order="C")


def require_direct(name: str, param: Array, grad: object, array: Array) -> None:
    """Refuse to bind a gradient of which only a copy could be read: it would not follow."""
    if isinstance(grad, (np.generic, int, float)):
        raise TypeError(f"the gradient of {name} is the number {grad}; bind a 0-d array instead")
    if not is_direct(param, array):
        raise FastoptError(
            f"the gradient of {name} has dtype {array.dtype} and strides {array.strides}; to bind "
            f"it, dtype {param.dtype} and an aligned C-contiguous layout are needed"
        )


def spans(arrays: Iterable[tuple[str, Array]]) -> tuple[list[str], Array, Array]:
    """Return names, first and past-the-end addresses of arrays, in the order of memory.

    Raises
    ------
    FastoptError
        Two of them share memory.
    """
    found = sorted(
        (array.ctypes.data, array.ctypes.data + array.nbytes, name)
        for name, array in arrays
        if array.nbytes
    )
    for (_, end, name), (start, _, other) in pairwise(found):
        if start < end:
            raise FastoptError(f"{name} and {other} share memory; each needs its own")
    starts, ends, names = zip(*found, strict=True) if found else ((), (), ())
    return list(names), np.array(starts, dtype=np.uintp), np.array(ends, dtype=np.uintp)
