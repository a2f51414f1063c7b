"""What every benchmark steps: one optimizer a rule, bound to a small random gradient."""

from typing import Any

import ml_dtypes  # noqa: F401  names bfloat16
import numpy as np

import fastopt

RULES: dict[str, tuple[type[fastopt.optimizer.Optimizer], dict[str, Any]]] = {
    "sgd": (fastopt.SGD, {}),
    "momentum": (fastopt.SGD, {"momentum": 0.9}),
    "nesterov": (fastopt.SGD, {"momentum": 0.9, "nesterov": True}),
    "adagrad": (fastopt.Adagrad, {}),
    "adadelta": (fastopt.Adadelta, {}),
    "rmsprop": (fastopt.RMSprop, {}),
    "rmsprop_centered": (fastopt.RMSprop, {"centered": True}),
    "rmsprop_momentum": (fastopt.RMSprop, {"momentum": 0.9}),
    "rmsprop_centered_momentum": (fastopt.RMSprop, {"momentum": 0.9, "centered": True}),
    "adam": (fastopt.Adam, {}),
    "adamw": (fastopt.AdamW, {}),
    "amsgrad": (fastopt.Adam, {"amsgrad": True}),
    "adamax": (fastopt.Adamax, {}),
    "nadam": (fastopt.NAdam, {}),
}


def bound(
    rule: str, size: int, threads: int, dtype: str = "float32", **extras: Any
) -> tuple[fastopt.optimizer.Optimizer, list[np.ndarray]]:
    """Return an optimizer of one tensor with a bound gradient, and the arrays that it writes."""
    cls, options = RULES[rule]
    w = np.ones(size, dtype)
    grad = np.random.default_rng(0).standard_normal(size).astype(dtype)
    opt = cls(w, lr=1e-6, n_threads=threads, **options, **extras)
    opt.bind(grad)
    names = opt.param_groups[0].state_names
    return opt, [w, *(opt.state[0][name] for name in names)]
