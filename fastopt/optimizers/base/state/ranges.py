"""Check that options fit the dtype of the computation, and warn if eps=0 may give NaN."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from fastopt._errors import FastoptError
from fastopt.arrays.dtypes import Array, computed_in
from fastopt.optimizers.base.rule import Rule

INFINITE = 2.0**128 - 2.0**103  # this and larger numbers are rounded to infinity in float32
ZERO = 2.0**-150  # this and smaller numbers are rounded to 0 in float32
EPSILONS = ("eps", "eps_root", "adamw_eps")


def is_single(params: Iterable[Array]) -> bool:
    """Return whether any parameter is computed in float32; all but float64 parameters are."""
    return any(computed_in(np.asarray(w)) == np.float32 for w in params)


def require_single(options: Mapping[str, Any]) -> None:
    """Raise an error if an option is infinite in float32, or a positive epsilon is 0 in it."""
    for name, value in _numbers(options):
        if abs(value) >= INFINITE:
            raise FastoptError(
                f"{name} is {value!r} with a parameter that is computed in float32, where it is "
                "infinite; allowed: up to 3.4e38"
            )
        if name in EPSILONS and 0.0 < value <= ZERO:
            raise FastoptError(
                f"{name} is {value!r} with a parameter that is computed in float32, where it is 0; "
                "allowed: 0, and 1e-45 or more"
            )


def warn_of_0(rule: type[Rule], options: Mapping[str, Any]) -> None:
    """Warn if an element whose gradients are all 0 becomes NaN."""
    if rule._divides_by_0(options):
        warnings.warn(
            "eps is 0: an element whose gradients have all been 0 becomes 0/0 = NaN; 1e-8 is usual",
            stacklevel=2,
        )


def _numbers(options: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """Yield names and numbers; initial values of states are checked against their own dtype."""
    for name, value in options.items():
        for number in value if isinstance(value, tuple) else (value,):
            if isinstance(number, float) and name != "initial_accumulator_value":
                yield name, number
