"""The arrays of per-parameter state: those of the rule, the float32 master and the average."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from fastopt._errors import FastoptError
from fastopt.arrays.dtypes import Array, bfloat16, computed_in, is_low_precision
from fastopt.arrays.layout import new_like
from fastopt.optimizers.base.rule import EXACTLY_AT_PARAM
from fastopt.optimizers.base.state import float8

ADDED = ("master", "ema", "slow")  # state that options need, not the rule


def new_arrays(
    name: str,
    param: Array,
    initial: Mapping[str, float | str],
    extras: Mapping[str, Any],
    by_row: str | None = None,
    factored: Mapping[str, tuple[int, ...]] = {},
    float8_kinds: Mapping[str, str] | None = None,
) -> dict[str, Array]:
    """Return the state arrays of a new parameter.

    Parameters
    ----------
    name
        The name of the parameter, for error messages.
    param
        The parameter.
    initial
        The initial value of each state of the rule, or AT_PARAM.
    extras
        The options that all parameters share.
    by_row
        The name of the state that has one number for each row, if there is one.
    factored
        The names and shapes of other state arrays, which start at 0.
    float8_kinds
        If state_dtype is "float8" and the parameter has such state: `Rule._float8`.
    """
    real = computed_in(param)
    wanted = extras["state_dtype"]
    kinds = float8_kinds if wanted == "float8" and initial else None
    arrays: dict[str, Array] = {}

    def new(dtype: npt.DTypeLike, value: Array) -> Array:
        return new_like(param, dtype, value, len(arrays) + 1, in_c_order=kinds is not None)

    for state, value in initial.items():
        dtype, start = _start(name, state, value, param, wanted)
        if state == by_row:
            continue
        if kinds is None:
            arrays[state] = new(dtype, start)
        else:
            arrays |= float8.new_arrays(kinds, state, np.shape(param), float(start))
    if by_row is not None:
        if param.ndim == 0:
            raise FastoptError(f"{name} has shape (); rowwise=True needs at least one axis")
        if wanted in ("bfloat16", "float8"):
            raise FastoptError(
                f"state_dtype is {wanted!r} with rowwise=True, which needs float32 state: a sum "
                f"that is rounded to {wanted} would stop growing"
            )
        dtype, start = _start(name, by_row, initial[by_row], param, wanted)
        arrays[by_row] = np.full(np.asarray(param).shape[:1], start, dtype=dtype)
    arrays |= {state: np.zeros(shape, dtype=real) for state, shape in factored.items()}
    if extras["master"] is not None and is_low_precision(param):
        arrays["master"] = new(np.float32, param)
    if extras["ema_decay"] is not None:
        arrays["ema"] = new(real, param)
    if extras["lookahead_steps"] is not None:
        arrays["slow"] = new(real, param)
    return arrays


def for_c(
    arrays: Mapping[str, Array], by_row: str | None, factored: Collection[str] = ()
) -> tuple[tuple[Array, ...], tuple[Array | None, ...]]:
    """Return the elementwise states of the rule, in the order of rules.def, and the others.

    The others are the master, the average or Lookahead's slow weights, and the row-wise state, of
    which a missing one is None, and the states of a factored rule.
    """
    others = (*ADDED, by_row, *factored, *map(float8.scale_of, arrays))
    own = tuple(array for name, array in arrays.items() if name not in others)
    average = arrays.get("ema", arrays.get("slow"))
    added = arrays.get("master"), average, arrays[by_row] if by_row else None
    return own, (*added, *(arrays[name] for name in factored))


def in_layout_of(
    w: Array, pickled: Mapping[str, Array], factored: Collection[str]
) -> dict[str, Array]:
    """Return state arrays in the memory layout of their parameter; pickling may have changed it.

    They are copies.  A state with one number for each row has only one possible layout.  factored:
    the names of states that are always C-contiguous; with states of 8 bits, all are.
    """
    in_c_order = bool(float8.states_in(pickled))
    return {
        name: new_like(w, array.dtype, array, number, in_c_order)
        if array.shape == w.shape and name not in factored
        else np.array(array, order="C")
        for number, (name, array) in enumerate(pickled.items(), 1)
    }


def _start(
    name: str, state: str, value: float | str, param: Array, wanted: str | None
) -> tuple[np.dtype[Any], Array]:
    """Return the dtype of a state, and its initial value in that dtype."""
    dtype = _state_dtype(name, computed_in(param), wanted)
    if isinstance(value, str):  # AT_PARAM
        if value == EXACTLY_AT_PARAM and dtype.itemsize == 2 and param.dtype != dtype:
            raise FastoptError(
                f"state_dtype is {wanted!r}, but {state} of {name} is its initial value, in "
                f"{param.dtype}, which would be rounded; leave state_dtype out"
            )
        return dtype, param
    start = _rounded(value + 0.0, dtype)  # never -0.0, which the cache would take for 0.0
    if start is None:
        raise FastoptError(f"{state} of {name} would start at {value}; it must fit in {dtype}")
    return dtype, start


@lru_cache(maxsize=64)
def _rounded(value: float, dtype: np.dtype[Any]) -> Array | None:
    """Return a number as an array of a dtype, or None if it is not finite there."""
    with np.errstate(over="ignore"):
        rounded: Array = np.array(value).astype(dtype)
    return rounded if np.isfinite(rounded) else None


def _state_dtype(name: str, real: np.dtype[Any], wanted: str | None) -> np.dtype[Any]:
    if wanted is None:
        return real
    if real == np.float64:
        raise FastoptError(
            f"state_dtype is {wanted!r}, but {name} is float64, which needs float64 state"
        )
    if wanted in ("float32", "float8"):  # the values of 8-bit states are float32
        return real
    return bfloat16("state_dtype='bfloat16'")
