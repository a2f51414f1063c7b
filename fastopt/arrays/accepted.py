"""Which arrays the kernels can work on, and the errors for those they cannot."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt
from numpy.lib.array_utils import byte_bounds

from fastopt._errors import FastoptError

Array = np.ndarray[Any, np.dtype[Any]]

DTYPES = "float16, bfloat16, float32 or float64 in native byte order"
MAX_AXES = 16  # FO_MAX_AXES


def require_dtype(what: str, array: Array) -> None:
    """Refuse by name what cannot be loaded or stored."""
    is_known = array.dtype.char in "efd" or array.dtype.name == "bfloat16"
    if not is_known or not array.dtype.isnative:
        raise TypeError(f"{what} has dtype {array.dtype.str} ({array.dtype}); {DTYPES} is needed")


def is_low_precision(array: Array) -> bool:
    """Say whether the array is of float16 or bfloat16, which nothing is computed in."""
    return array.dtype.itemsize == 2


def computed_in(param: Array) -> np.dtype[Any]:
    """Return the dtype that a parameter's updates are computed in."""
    return np.dtype(np.float64 if param.dtype == np.float64 else np.float32)


def work_order(param: Array) -> tuple[int, ...]:
    """Return the axes in the order in which a parameter lies in memory, the outermost first."""
    return tuple(sorted(range(param.ndim), key=lambda axis: -abs(param.strides[axis])))


def own_array(param: Array, dtype: npt.DTypeLike, value: float | Array) -> Array:
    """Return an array of the parameter's shape and order without gaps, all of it `value`."""
    order = work_order(param)
    own: Array = np.empty([param.shape[axis] for axis in order], dtype=dtype)
    own = own.transpose(np.argsort(order)) if order else own
    own[...] = value
    return own


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
    if not param.flags.aligned:
        raise FastoptError(f"{name} is not aligned to its {param.itemsize} bytes an element")
    if param.ndim > MAX_AXES:
        raise FastoptError(f"{name} has {param.ndim} axes; allowed: up to {MAX_AXES}")
    if may_overlap_itself(param):
        raise FastoptError(
            f"elements of {name} share memory, or may: shape {param.shape}, strides {param.strides}"
        )


def may_overlap_itself(array: Array) -> bool:
    """Say whether elements may share memory: sure where each axis steps over those within it."""
    extent = array.itemsize
    for n, stride in sorted(
        ((n, abs(stride)) for n, stride in zip(array.shape, array.strides, strict=True) if n > 1),
        key=lambda axis: axis[1],
    ):
        if stride < extent:
            return array.size > 0
        extent += (n - 1) * stride
    return False


def is_array(value: object) -> bool:
    """Say whether an object gives an array of itself."""
    return hasattr(value, "__array__") or hasattr(value, "__dlpack__")


def as_array(what: str, value: Any) -> Array:
    """Return the array that an object with ``__array__`` or ``__dlpack__`` gives, not copied."""
    try:
        return np.asarray(value) if hasattr(value, "__array__") else np.from_dlpack(value)
    except (TypeError, RuntimeError, BufferError) as error:
        from fastopt.arrays.dlpack import as_bfloat16  # where it is needed alone

        array = as_bfloat16(what, value)
        if array is None:
            kind = type(value).__name__
            raise TypeError(f"{what} can not be read from a {kind}: {error}") from error
        return array


def bfloat16(what: str) -> np.dtype[Any]:
    """Return the dtype, or say what needs it."""
    try:
        import ml_dtypes
    except ModuleNotFoundError:
        raise FastoptError(
            f"{what} needs ml_dtypes; from a checkout: pip install '.[bfloat16]'"
        ) from None
    dtype: np.dtype[Any] = np.dtype(ml_dtypes.bfloat16)
    return dtype


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
    elif is_array(grad):
        array = as_array(what, grad)
    else:
        raise TypeError(f"{what} is a {type(grad).__name__}; an array is needed")
    require_dtype(what, array)
    if array.shape != param.shape:
        raise FastoptError(f"{what} has shape {array.shape}; {param.shape} is needed")
    return array


def require_followable(name: str, grad: object, array: Array) -> None:
    """Refuse to bind, or to clear, a gradient of which only a copy could be read."""
    if isinstance(grad, (np.generic, int, float)):
        raise TypeError(f"the gradient of {name} is the number {grad}; a 0-d array is needed")
    if not (isinstance(grad, np.ndarray) or np.shares_memory(array, as_array(name, grad))):
        raise TypeError(f"the gradient of {name} is a {type(grad).__name__}; an ndarray is needed")


class Spans:
    """Where arrays lie that a step writes: blocks of memory apart from each other.

    Arrays whose elements are interleaved share a block.

    Raises
    ------
    FastoptError
        Two of them share an element, or may.
    """

    def __init__(self, named: Iterable[tuple[str, Array]]) -> None:
        found = sorted(
            ((*byte_bounds(array), i, name, array) for i, (name, array) in enumerate(named)
             if array.nbytes),
            key=lambda span: span[:3],
        )  # fmt: skip
        blocks: list[tuple[int, int]] = []
        self._arrays: list[list[tuple[str, Array]]] = []  # by block
        for start, end, _, name, array in found:
            if not blocks or start >= blocks[-1][1]:
                blocks.append((start, end))
                self._arrays.append([(name, array)])
                continue
            for other, neighbour in self._arrays[-1]:
                if _share_memory(array, neighbour):
                    raise FastoptError(f"{other} and {name} share memory; each needs its own")
            blocks[-1] = (blocks[-1][0], max(end, blocks[-1][1]))
            self._arrays[-1].append((name, array))
        self.starts = np.array([start for start, _ in blocks], dtype=np.uintp)
        self.ends = np.array([end for _, end in blocks], dtype=np.uintp)

    def require_apart(self, what: str, array: Array) -> None:
        """Refuse an array that shares an element with one of these."""
        start, end = byte_bounds(array)
        for i in range(int(np.searchsorted(self.ends, start, "right")), len(self._arrays)):
            if self.starts[i] >= end:
                break
            for name, own in self._arrays[i]:
                if _share_memory(array, own):
                    raise FastoptError(f"{what} shares memory with {name}")


SHARING_WORK = 1_000_000  # of numpy.shares_memory; about ten milliseconds


def _share_memory(one: Array, other: Array) -> bool:
    """Say whether two arrays share an element; where telling takes too long, that they do."""
    try:
        return np.shares_memory(one, other, SHARING_WORK)  # type: ignore[arg-type]
    except np.exceptions.TooHardError:
        return True
