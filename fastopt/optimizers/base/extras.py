"""The options that are the same for all parameters of an optimizer."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from fastopt._checks import Choice, OrNone, Real, Whole, flag
from fastopt._errors import FastoptError
from fastopt.optimizers.base.arguments import Extra
from fastopt.optimizers.base.names import meant

TINY = float(np.finfo(np.float64).tiny)
positive = Real(low=TINY)


DEFAULTS: Mapping[str, Any] = {
    "max_grad_norm": None,
    "max_grad_value": None,
    "grad_scale": 1.0,
    "on_nonfinite": "propagate",
    "zero_grads": False,
    "ema_decay": None,
    "ema_warmup": False,
    "lookahead_steps": None,
    "lookahead_alpha": 0.5,
    "state_dtype": None,
    "master": None,
    "rounding": "nearest",
    "seed": 0,
}
CHECKS: Mapping[str, Any] = {
    "max_grad_norm": OrNone(positive),
    "max_grad_value": OrNone(positive),
    "grad_scale": Real(2.0**-126, 2.0**126),  # it and its inverse are normal float32 numbers
    "on_nonfinite": Choice(("propagate", "raise", "skip")),
    "zero_grads": flag,
    "ema_decay": OrNone(Real(0.0, 1.0)),
    "ema_warmup": flag,
    "lookahead_steps": OrNone(Whole(1, 2**62)),
    "lookahead_alpha": Real(0.0, 1.0),
    "state_dtype": Choice((None, "float32", "bfloat16", "float8")),
    "master": Choice((None, "float32")),
    "rounding": Choice(("nearest", "stochastic")),
    "seed": Whole(0, 2**64 - 1),
}


def checked(given: Mapping[str, Any], others: Iterable[str]) -> dict[str, Any]:
    """Return the checked value of every option in DEFAULTS; missing ones get their defaults.

    others: the names of the other options, for the message about an unknown keyword.
    """
    for name in given:
        if name not in DEFAULTS:
            allowed = dict.fromkeys([*others, *Extra.__annotations__])
            raise TypeError(
                f"unexpected keyword {name!r}{meant(name, allowed)}; allowed: {', '.join(allowed)}"
            )
    found = {name: CHECKS[name](name, value) for name, value in {**DEFAULTS, **given}.items()}
    if found["ema_warmup"] and found["ema_decay"] is None:
        raise FastoptError("ema_warmup is True; it needs ema_decay, which is None")
    if found["lookahead_steps"] is not None and found["ema_decay"] is not None:
        raise FastoptError(
            f"lookahead_steps is {found['lookahead_steps']} and ema_decay is "
            f"{found['ema_decay']}; only one of them can be used, because Lookahead's slow "
            "weights are an average already"
        )
    if found["lookahead_steps"] is None and found["lookahead_alpha"] != DEFAULTS["lookahead_alpha"]:
        raise FastoptError(
            f"lookahead_alpha is {found['lookahead_alpha']}; it needs lookahead_steps, which is "
            "None"
        )
    return found


def ema_decay_of_step(extras: Mapping[str, Any], step: int) -> float:
    """Return the decay of the averages in a step, counted from 1; 0.0 without averages."""
    decay: float = extras["ema_decay"] or 0.0
    return min(decay, (1 + step) / (10 + step)) if extras["ema_warmup"] else decay


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
        "lookahead_steps": extras["lookahead_steps"] or 0,
        "lookahead_alpha": extras["lookahead_alpha"],
        "seed": extras["seed"],
    }
