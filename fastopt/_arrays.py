"""Which arrays the kernels can work on, and the errors for those they cannot."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.lib.array_utils import byte_bounds

from fastopt._errors import FastoptError

Array = np.ndarray[Any, np.dtype[Any]]

DTYPES = "float32 or float64 in native byte order"


def require_dtype(what: str, array: Array) -> None:
    """Refuse by name what the kernels have no arithmetic for."""
    if array.dtype.char not in "fd" or not array.dtype.isnative:
        raise TypeError(f"{what} has dtype {array.dtype.str} ({array.dtype}); {DTYPES} is needed")


def refuse_masked(what: str, value: object) -> None:
    """Refuse an array of which some elements are not to be seen."""
    if isinstance(value, np.ma.MaskedArray):
        raise TypeError(f"{what} is a masked array; its mask would be ignored")


def require_parameter(name: str, param: object) -> None:
    """Refuse a parameter that could not be updated in place."""
    if not isinstance(param, np.ndarray):
        raise TypeError(f"{name} is a {type(param).__name__}; a numpy.ndarray is needed")
    refuse_masked(name, param)
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
    refuse_masked(what, grad)
    is_number = isinstance(grad, (int, float, np.integer)) and not isinstance(grad, bool)
    if param.ndim == 0 and is_number:
        try:
            array = np.array(float(grad))  # type: ignore[arg-type]
        except OverflowError:
            raise FastoptError(f"{what} is {grad}; it must fit in float64") from None
    elif hasattr(grad, "__array__"):
        array = np.asarray(grad)
    elif hasattr(grad, "__dlpack__"):
        array = np.from_dlpack(grad)
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


class Spans:
    """Where arrays lie that a step writes, in the order of memory.

    Raises
    ------
    FastoptError
        Two of them share memory.
    """

    def __init__(self, named: Iterable[tuple[str, Array]]) -> None:
        found = sorted(
            ((*byte_bounds(array), i, name, array) for i, (name, array) in enumerate(named)
             if array.nbytes),
            key=lambda span: span[:3],
        )  # fmt: skip
        for (_, end, _, name, _), (start, _, _, other, _) in pairwise(found):
            if start < end:
                raise FastoptError(f"{name} and {other} share memory; each needs its own")
        self.names = [name for *_, name, _ in found]
        self.arrays = [array for *_, array in found]
        self.starts = np.array([start for start, *_ in found], dtype=np.uintp)
        self.ends = np.array([end for _, end, *_ in found], dtype=np.uintp)

    def require_apart(self, name: str, grad: Array) -> None:
        """Refuse a gradient, of any layout, that shares an element with one of the arrays.

        Interleaved arrays overlap in their bounds alone; where telling takes too long the answer
        is that they share.
        """
        start, end = byte_bounds(grad)
        for i in range(int(np.searchsorted(self.ends, start, "right")), len(self.names)):
            if self.starts[i] >= end:
                break
            try:
                shared = np.shares_memory(grad, self.arrays[i], SHARING_WORK)  # type: ignore[arg-type]
            except np.exceptions.TooHardError:
                shared = True
            if shared:
                raise FastoptError(f"the gradient of {name} shares memory with {self.names[i]}")


SHARING_WORK = 1_000_000  # of numpy.shares_memory; about ten milliseconds
