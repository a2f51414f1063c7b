"""The averages over steps that the parameters are replaced by in `averaged`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from fastopt._errors import FastoptError
from fastopt.arrays.dtypes import Array, computed_in
from fastopt.optimizers.base.rule import Rule
from fastopt.optimizers.base.state.parameters import Parameters

OPTIONS = {"ema_decay": "ema", "lookahead_steps": "slow"}  # with the state that each adds


def require_no_other(
    rule: type[Rule], options: Mapping[str, Any], extras: Mapping[str, Any]
) -> None:
    """Raise an error if a rule that averages the parameters is given an option that does too."""
    for name in OPTIONS:
        if extras[name] is not None and rule._average(options) is not None:
            raise FastoptError(
                f"{name} is {extras[name]!r}; allowed: None, because {rule.__name__} averages the "
                "parameters itself"
            )


def added_by(extras: Mapping[str, Any]) -> str | None:
    """Return the name of the state that an option adds, which is an average, or None."""
    return next((state for name, state in OPTIONS.items() if extras[name] is not None), None)


def require_ema(extras: Mapping[str, Any]) -> None:
    """Raise an error unless the optimizer was made with `ema_decay`."""
    if extras["ema_decay"] is None:
        raise FastoptError("there is no average; make the optimizer with ema_decay=0.999, say")


def points(parameters: Parameters, extras: Mapping[str, Any]) -> Iterator[tuple[Array, Array]]:
    """Yield each parameter that has an average, with its average."""
    added = added_by(extras)
    for group in parameters.groups:
        of_rule = group.rule._average(group.options)
        for key, w in group.arrays.items():
            if of_rule is not None:
                yield w, _of_rule(w, parameters.arrays[key], *of_rule)
            elif added is not None:
                yield w, parameters.arrays[key][added]


@np.errstate(all="ignore")
def _of_rule(w: Array, own: Mapping[str, Array], name: str, weight: float) -> Array:
    """Return w + weight * (own[name] - w), computed from the master of w if it has one."""
    if weight == 1.0:
        return own[name]
    real = computed_in(w)
    main = own.get("master", w).astype(real)
    average: Array = main + real.type(weight) * (own[name].astype(real) - main)
    return average
