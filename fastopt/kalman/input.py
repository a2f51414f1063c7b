"""Which data a caller may pass to `KalmanSGD`, and their conversion to arrays for BLAS."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from fastopt._errors import FastoptError
from fastopt.arrays.accepted import refuse_masked
from fastopt.kalman.covariance import Floats

COPIED_ROWS = 4096  # rows copied at a time if BLAS cannot read the layout of X


def numbers(name: str, value: object, kinds: str = "fiub") -> npt.NDArray[Any]:
    """Return an array of real numbers; booleans are allowed in data, where True is 1."""
    refuse_masked(name, value)
    if hasattr(value, "tocsr"):
        raise TypeError(f"{name} is a sparse {type(value).__name__}; pass {name}.toarray()")
    array = np.asarray(value)
    if array.dtype.kind not in kinds:
        columns = [
            repr(column)
            for column, dtype in getattr(value, "dtypes", {}).items()
            if getattr(dtype, "kind", "O") not in kinds
        ]
        where = f" in the columns {', '.join(columns)}" if columns else ""
        raise TypeError(f"{name} has dtype {array.dtype}{where}; real numbers are needed")
    return array


def matrix(X: object, p: int) -> npt.NDArray[Any]:
    rows = numbers("X", X)
    if rows.ndim != 2 or rows.shape[1] != p:
        raise FastoptError(f"X has shape {rows.shape}; (n, {p}) is needed")
    return rows


def vector(name: str, value: object, n: int) -> Floats:
    vector = numbers(name, value)
    if vector.shape != (n,):
        raise FastoptError(f"{name} has shape {vector.shape}; ({n},) is needed")
    return np.require(vector, np.float64, ["C", "A"])


def weights(weight: object, n: int) -> Floats | None:
    """Return the weight of each row, by which its variance is divided."""
    if weight is None:
        return None
    value = vector("weight", weight, n)
    allowed = np.isfinite(value) & (value >= 0)
    if not allowed.all():
        bad = int(np.argmin(allowed))
        raise FastoptError(f"weight[{bad}] is {value[bad]}; allowed: finite, >= 0")
    return value


def offsets(offset: object, n: int) -> Floats | None:
    """Return the offset of each row's linear predictor."""
    if offset is None:
        return None
    value = vector("offset", offset, n)
    if not np.isfinite(value).all():
        bad = int(np.argmin(np.isfinite(value)))
        raise FastoptError(f"offset[{bad}] is {value[bad]}; finite numbers are needed")
    return value


def exposures(exposure: object, n: int, link: str) -> Floats | None:
    """Return the logarithm of the exposure of each row, which is added to the offset."""
    if exposure is None:
        return None
    if link != "log":
        raise FastoptError(f"exposure needs the log link; the link is {link!r}")
    value = vector("exposure", exposure, n)
    allowed = np.isfinite(value) & (value > 0)
    if not allowed.all():
        bad = int(np.argmin(allowed))
        raise FastoptError(f"exposure[{bad}] is {value[bad]}; allowed: finite, > 0")
    return np.log(value)


def shifts(offset: object, exposure: object, n: int, link: str) -> Floats | None:
    """Return what is added to the linear predictor of each row, or None for nothing."""
    own, logarithm = offsets(offset, n), exposures(exposure, n, link)
    if own is None or logarithm is None:
        return logarithm if own is None else own
    return own + logarithm


def floats(name: str, value: object, shape: tuple[int, ...]) -> Floats:
    """Return a copy as float64, after a check of the shape."""
    array = np.array(numbers(name, value), dtype=np.float64)
    if array.shape != shape:
        raise FastoptError(f"{name} has shape {array.shape}; {shape} is needed")
    return array


def parts(
    rows: npt.NDArray[Any], most: int | None = None, dtype: str = "float64"
) -> Iterator[tuple[int, Floats]]:
    """Yield (index of the first row, rows), at most `most` rows each, in a layout for BLAS.

    The rows are views if they have this dtype and contiguous elements, else copies.
    """
    step, inner = rows.strides
    size = np.dtype(dtype).itemsize
    width = size * rows.shape[1]
    is_plain = rows.dtype == dtype and rows.dtype.isnative and rows.flags.aligned
    apart = len(rows) < 2 or (step % size == 0 and width <= step < 2**31 * size)
    if is_plain and apart and (inner == size or rows.shape[1] == 1):
        most = most or max(1, len(rows))
        for first in range(0, len(rows), most):
            yield first, rows[first : first + most]
        return
    for first in range(0, len(rows), COPIED_ROWS):
        with np.errstate(over="ignore"):  # an overflow is reported as an infinity in X
            copied = np.array(rows[first : first + COPIED_ROWS], dtype=dtype, order="C")
        for within in range(0, len(copied), most or COPIED_ROWS):
            yield first + within, copied[within : within + (most or COPIED_ROWS)]
