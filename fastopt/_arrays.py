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


def as_gradient(name: str, param: Array, grad: object, copy: bool) -> Array:
    """Return what stands for the gradient of ``param`` as an array a kernel can read.

    Anything with ``__array__`` or ``__dlpack__`` will do, and a plain number for a 0-d parameter.
    Another floating dtype or layout is copied, or refused where ``copy`` is false: a copy of a
    bound gradient would not follow the original.
    """
    what = f"the gradient of {name}"
    if isinstance(grad, np.ma.MaskedArray):
        raise TypeError(f"{what} is a masked array; its mask would be ignored")
    if isinstance(grad, (np.ndarray, np.generic)) or hasattr(grad, "__array__"):
        array = np.asarray(grad)
    elif hasattr(grad, "__dlpack__"):
        array = np.from_dlpack(grad)
    elif param.ndim == 0 and isinstance(grad, (int, float)) and not isinstance(grad, bool):
        array = np.array(grad, dtype=np.float64)
    else:
        raise TypeError(f"{what} is a {type(grad).__name__}; an array is needed")
    require_dtype(what, array)
    if array.shape != param.shape:
        raise FastoptError(f"{what} has shape {array.shape}; {param.shape} is needed")
    if array.dtype == param.dtype and array.flags.c_contiguous and array.flags.aligned:
        return array
    if not copy:
        raise FastoptError(
            f"{what} has dtype {array.dtype} and strides {array.strides}; to bind it, "
            f"dtype {param.dtype} and an aligned C-contiguous layout are needed"
        )
    return np.array(array, dtype=param.dtype, order="C")


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
