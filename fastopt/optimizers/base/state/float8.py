"""States of 8 bits: which parameters have them, their arrays, and their values.

Such a state ``name`` is an array of uint8 of the parameter's shape, in C order, and an array
``name_scale`` with one byte for each block: csrc/kernels/float8.h explains both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from fastopt._core import SUMS, float8_blocks, float8_pack, float8_unpack
from fastopt._errors import FastoptError
from fastopt.arrays.dtypes import Array
from fastopt.optimizers.base.rule import Rule, is_factored

LEAST = 4096  # smaller parameters have float32 state, as in bitsandbytes and torchao


def scale_of(name: str) -> str:
    """Return the name of the scales of a state."""
    return f"{name}_scale"


def states_in(arrays: Mapping[str, Any]) -> list[str]:
    """Return the names of the 8-bit states among the state arrays of a parameter."""
    return [name for name in arrays if scale_of(name) in arrays]


def require_rule(rule: type[Rule], kernel: str, states: Iterable[str]) -> None:
    """Raise an error unless a rule, with a kernel and its states, may have states of 8 bits."""
    others = [name for name in states if name not in rule._float8]
    if others:
        reason = f"the state {others[0]} of {rule.__name__} needs 16 or 32 bits"
    elif kernel in SUMS or is_factored(rule):
        reason = f"{rule.__name__} with these options needs sums over its state, in 32 bits"
    else:
        return
    raise FastoptError(f"state_dtype is 'float8', but {reason}; use 'float32'")


def checked_mask(mask: Any, extra: Mapping[str, Any]) -> Callable[[str], bool] | None:
    """Return a float8_mask, or raise an error; extra: the other options."""
    if not (mask is None or callable(mask)):
        raise TypeError(f"float8_mask is {mask!r}; a callable that takes a name is needed")
    if mask is not None and extra.get("state_dtype") != "float8":
        raise FastoptError(
            f"float8_mask needs state_dtype='float8', not {extra.get('state_dtype')!r}"
        )
    return mask  # type: ignore[no-any-return]


def chosen(places: Iterable[Any], holder: object, mask: Callable[[str], bool] | None) -> set[Any]:
    """Return the places of the parameters for which a float8_mask is true; None: of all."""
    places = list(places)
    if mask is None or not places:
        return set(places)
    if not isinstance(holder, dict):
        raise FastoptError(
            f"float8_mask takes names of parameters, but params is a {type(holder).__name__}; a "
            "dict is needed"
        )
    return {place for place in places if mask(place)}


def forgotten_mask(name: str) -> bool:
    """Raise an error; this replaces the float8_mask of a copied or unpickled optimizer."""
    raise FastoptError(
        f"a copied or unpickled optimizer has no float8_mask to decide whether the state of "
        f"{name!r} has 8 bits; make a new optimizer"
    )


def new_arrays(
    kinds: Mapping[str, str], name: str, shape: tuple[int, ...], value: float
) -> dict[str, Array]:
    """Return the two arrays of a state whose elements have one value, rounded to nearest.

    kinds: `Rule._float8`.
    """
    code, scale = float8_pack(np.full((1, 1), value, np.float32), is_signed(kinds, name))
    return {
        name: np.full(shape, code[0, 0]),
        scale_of(name): np.full(float8_blocks(shape), scale[0, 0]),
    }


def is_signed(kinds: Mapping[str, str], name: str) -> bool:
    """Return whether a state may be negative; kinds: `Rule._float8`."""
    return kinds[name] == "signed"


def values(kinds: Mapping[str, str], arrays: Mapping[str, Array], name: str) -> Array:
    """Return the values of a state: float32 of an 8-bit state, any other state as it is.

    kinds: `Rule._float8`.
    """
    if scale_of(name) not in arrays:
        return arrays[name]
    codes, scale = (np.ascontiguousarray(arrays[key]) for key in (name, scale_of(name)))
    return float8_unpack(codes, scale, is_signed(kinds, name))
