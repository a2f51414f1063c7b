"""Checks of the arrays that a model receives."""

from typing import Any

import numpy as np
import numpy.typing as npt

from fastopt.arrays.dtypes import Array


def dense(name: str, values: npt.ArrayLike) -> Array:
    array = np.asarray(values)
    if isinstance(values, np.ma.MaskedArray) or array.dtype.kind not in "fiub":
        raise TypeError(
            f"{name} is a {type(values).__name__} of dtype {array.dtype}; "
            "a dense array of real numbers is needed"
        )
    return array


def real_dtype(name: str, dtypes: set[np.dtype[Any]]) -> np.dtype[Any]:
    dtype, *others = dtypes
    if others or dtype not in (np.float32, np.float64):
        found = ", ".join(sorted(map(str, dtypes)))
        raise TypeError(f"{name} has dtype {found}; float32 or float64, one for all, is needed")
    return dtype
