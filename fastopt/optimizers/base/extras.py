"""What a step does besides its rule, for all parameters alike."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypedDict

import numpy as np

from fastopt._checks import Choice, Real, Whole, flag

TINY = float(np.finfo(np.float64).tiny)
positive = Real(low=TINY)


class Extra(TypedDict, total=False):
    """The keywords that every optimizer takes, the same for all its parameters."""

    weight_decay_mask: Callable[[str], bool] | None
    maximize: bool
    n_threads: int | None
    max_grad_norm: float | None
    max_grad_value: float | None
    grad_scale: float
    on_nonfinite: str
    zero_grads: bool
    ema_decay: float | None
    state_dtype: str | None
    master: str | None
    rounding: str
    seed: int


def _or_none(check: Any) -> Any:
    return lambda name, value: None if value is None else check(name, value)


DEFAULTS: Mapping[str, Any] = {
    "max_grad_norm": None,
    "max_grad_value": None,
    "grad_scale": 1.0,
    "on_nonfinite": "propagate",
    "zero_grads": False,
    "ema_decay": None,
    "state_dtype": None,
    "master": None,
    "rounding": "nearest",
    "seed": 0,
}
CHECKS: Mapping[str, Any] = {
    "max_grad_norm": _or_none(positive),
    "max_grad_value": _or_none(positive),
    "grad_scale": Real(2.0**-126, 2.0**126),  # it and its inverse are normal in float32
    "on_nonfinite": Choice(("propagate", "raise", "skip")),
    "zero_grads": flag,
    "ema_decay": _or_none(Real(0.0, 1.0)),
    "state_dtype": Choice((None, "float32", "bfloat16")),
    "master": Choice((None, "float32")),
    "rounding": Choice(("nearest", "stochastic")),
    "seed": Whole(0, 2**64 - 1),
}


def checked(given: Mapping[str, Any], options: Iterable[str]) -> dict[str, Any]:
    """Return all extras, those not given at their defaults; `options` are taken besides."""
    for name in given:
        if name not in DEFAULTS:
            allowed = dict.fromkeys([*options, *Extra.__annotations__])
            raise TypeError(f"unexpected keyword {name!r}; allowed: {', '.join(allowed)}")
    return {name: CHECKS[name](name, value) for name, value in {**DEFAULTS, **given}.items()}


def for_c(extras: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of fo_extras."""
    norm, value = extras["max_grad_norm"], extras["max_grad_value"]
    return {
        "grad_scale": extras["grad_scale"],
        "max_grad_norm": math.inf if norm is None else norm,
        "max_grad_value": math.inf if value is None else value,
        "needs_norm": norm is not None,
        "needs_finite": extras["on_nonfinite"] != "propagate",
        "clears_skipped": extras["on_nonfinite"] == "skip",
        "zero_grads": extras["zero_grads"],
        "stochastic": extras["rounding"] == "stochastic",
        "ema_decay": extras["ema_decay"] or 0.0,
        "seed": extras["seed"],
    }
