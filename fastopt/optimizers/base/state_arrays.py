"""The arrays beside a parameter: its rule's state, its master, its average."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from fastopt._errors import FastoptError
from fastopt.arrays.dtypes import Array, bfloat16, computed_in, is_low_precision
from fastopt.arrays.layout import new_like

ADDED = ("master", "ema")  # beside the rule's own state


def new_arrays(
    name: str,
    param: Array,
    states: Mapping[str, float],
    extras: Mapping[str, Any],
    by_row: str | None = None,
) -> dict[str, Array]:
    """Return a parameter's state arrays filled with their values, its master and its average.

    by_row: the name of the state that has one number for each row.
    """
    real = computed_in(param)
    arrays = {
        state: new_like(param, *_start(name, state, value, real, extras["state_dtype"]))
        for state, value in states.items()
        if state != by_row
    }
    if by_row is not None:
        if param.ndim == 0:
            raise FastoptError(f"{name} has shape (); rowwise=True needs rows, an axis at least")
        if extras["state_dtype"] == "bfloat16":
            raise FastoptError(
                "state_dtype is 'bfloat16' with rowwise=True, whose one number a row is float32: "
                "a sum rounded that far would stall"
            )
        dtype, start = _start(name, by_row, states[by_row], real, extras["state_dtype"])
        arrays[by_row] = np.full(np.asarray(param).shape[:1], start, dtype=dtype)
    if extras["master"] is not None and is_low_precision(param):
        arrays["master"] = new_like(param, np.float32, param)
    if extras["ema_decay"] is not None:
        arrays["ema"] = new_like(param, real, param)
    return arrays


def for_c(
    arrays: Mapping[str, Array], by_row: str | None
) -> tuple[tuple[Array, ...], tuple[Array | None, ...]]:
    """Return the states of an element each, in the rule's order; master, average, and by row."""
    own = tuple(array for name, array in arrays.items() if name not in (*ADDED, by_row))
    return own, (*(arrays.get(name) for name in ADDED), arrays[by_row] if by_row else None)


def as_before(w: Array, pickled: Mapping[str, Array]) -> dict[str, Array]:
    """Return arrays of a pickle, which keeps the order in memory of some only, as they lay: as w.

    A number for each row does not lie as its parameter.
    """
    return {
        name: new_like(w, array.dtype, array) if array.shape == w.shape else array
        for name, array in pickled.items()
    }


def _start(
    name: str, state: str, value: float, real: np.dtype[Any], wanted: str | None
) -> tuple[np.dtype[Any], Array]:
    """Return a state's dtype, and the value that it starts with as one of these."""
    dtype = _state_dtype(name, real, wanted)
    with np.errstate(over="ignore"):
        start: Array = np.array(value).astype(dtype)
    if not np.isfinite(start):
        raise FastoptError(f"{state} of {name} would start at {value}, which has to fit in {dtype}")
    return dtype, start


def _state_dtype(name: str, real: np.dtype[Any], wanted: str | None) -> np.dtype[Any]:
    if wanted is None:
        return real
    if real == np.float64:
        raise FastoptError(
            f"state_dtype is {wanted!r}, but {name} is float64, as its state must be"
        )
    if wanted == "float32":
        return real
    return bfloat16("state_dtype='bfloat16'")
