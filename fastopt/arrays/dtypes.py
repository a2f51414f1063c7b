"""The dtypes of parameters, gradients and states."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastopt._errors import FastoptError

Array = np.ndarray[Any, np.dtype[Any]]

DTYPES = "float16, bfloat16, float32 or float64 in native byte order"


def require_dtype(what: str, array: Array) -> None:
    """Raise TypeError if the kernels cannot load and store arrays of this dtype."""
    is_known = array.dtype.char in "efd" or array.dtype.name == "bfloat16"
    if not is_known or not array.dtype.isnative:
        raise TypeError(f"{what} has dtype {array.dtype.str} ({array.dtype}); {DTYPES} is needed")


def is_low_precision(array: Array) -> bool:
    """Return whether the dtype is float16 or bfloat16, which are updated in float32."""
    return array.dtype.itemsize == 2


def computed_in(param: Array) -> np.dtype[Any]:
    """Return the dtype in which a parameter's updates are computed."""
    return np.dtype(np.float64 if param.dtype == np.float64 else np.float32)


def bfloat16(what: str) -> np.dtype[Any]:
    """Return the dtype bfloat16; without ml_dtypes, raise an error that says `what` needs it."""
    try:
        import ml_dtypes
    except ModuleNotFoundError:
        raise FastoptError(
            f"{what} needs ml_dtypes; from a checkout: pip install '.[bfloat16]'"
        ) from None
    dtype: np.dtype[Any] = np.dtype(ml_dtypes.bfloat16)
    return dtype
