"""Which objects are accepted as parameters and as gradients, and the errors for all others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from fastopt._errors import FastoptError
from fastopt.arrays.dtypes import Array, require_dtype
from fastopt.arrays.overlap import may_overlap_itself

MAX_AXES = 16  # FO_MAX_AXES


def refuse_masked(what: str, value: object) -> None:
    """Raise TypeError for a masked array, whose mask would be ignored."""
    if isinstance(value, np.ma.MaskedArray):
        raise TypeError(f"{what} is a masked array; its mask would be ignored")


def require_parameter(name: str, param: object) -> None:
    """Raise an error if a parameter cannot be updated in place."""
    if not isinstance(param, np.ndarray):
        hint = ""
        if isinstance(param, (Mapping, list, tuple)):
            hint = "; fastopt.flatten makes a flat dict of nested ones"
        elif is_array(param):
            hint = "; numpy.array makes one that can be updated"
        raise TypeError(f"{name} is a {type(param).__name__}; a numpy.ndarray is needed{hint}")
    refuse_masked(name, param)
    param = np.asarray(param)  # a subclass may override shape and the like
    require_dtype(name, param)
    if not param.flags.writeable:
        raise FastoptError(f"{name} is read-only; parameters are updated in place")
    if not param.flags.aligned:
        raise FastoptError(f"{name} is not aligned to its item size of {param.itemsize} bytes")
    if param.ndim > MAX_AXES:
        raise FastoptError(f"{name} has {param.ndim} axes; allowed: up to {MAX_AXES}")
    if may_overlap_itself(param):
        raise FastoptError(
            f"elements of {name} share memory, or may share it: shape {param.shape}, "
            f"strides {param.strides}"
        )


def is_array(value: object) -> bool:
    """Return whether an object has ``__array__`` or ``__dlpack__``."""
    return hasattr(value, "__array__") or hasattr(value, "__dlpack__")


def as_array(what: str, value: Any) -> Array:
    """Return, without a copy, the array of an object with ``__array__`` or ``__dlpack__``."""
    try:
        return np.asarray(value) if hasattr(value, "__array__") else np.from_dlpack(value)
    except (TypeError, RuntimeError, BufferError) as error:
        from fastopt.arrays.dlpack import as_bfloat16  # imported only when needed

        array = as_bfloat16(what, value)
        if array is None:
            kind = type(value).__name__
            raise TypeError(f"{what} cannot be read from a {kind}: {error}") from error
        return array


def as_gradient(name: str, param: Array, grad: object) -> Array:
    """Return the gradient of `param` as an array of its shape, without a copy.

    `grad` is any object with ``__array__`` or ``__dlpack__``, or a number if the parameter is 0-d.
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
    """Raise TypeError if `array` is a copy of the gradient `grad`.

    Bound gradients are read again at later steps and cleared gradients are written to, so both
    need the caller's memory.
    """
    if isinstance(grad, (np.generic, int, float)):
        raise TypeError(f"the gradient of {name} is the number {grad}; a 0-d array is needed")
    if not (isinstance(grad, np.ndarray) or np.shares_memory(array, as_array(name, grad))):
        raise TypeError(f"the gradient of {name} is a {type(grad).__name__}; an ndarray is needed")
