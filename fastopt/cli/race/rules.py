"""The rules that take part in the race, with their learning rates and batch sizes."""

from __future__ import annotations

import math
from typing import Any

from fastopt.cli.race.problem import Problem

# The rates were found on the digits, with three seeds each, among 1, 2 and 5 times powers of ten:
# those with a low training loss, a held-out accuracy near the highest, and a margin below the rates
# that diverge. Those of lamb, lion and signum are higher, for linear models, whose weights start
# at 0.
#
# The steps of these rules are proportional to the gradient, so their rates are in units of
# 1/curvature: gradient descent converges below 2 on a linear model with squared loss. The rate of
# sgd is lower because batches are noisy. Momentum 0.9 makes the effective rate ten times as high.
_RATES_BY_CURVATURE = {
    "gd": 1.5,
    "sgd": 0.2,
    "momentum": 0.03,
    "nesterov": 0.03,
    "asgd": 0.2,
    "schedule_free_sgd": 1.0,
}
# The other rules rescale the gradient, so that one rate fits all problems.
_RATES = {
    "adagrad": 0.03,
    "adadelta": 1.0,
    "rmsprop": 0.003,
    "adam": 0.005,
    "amsgrad": 0.005,
    "adamw": 0.005,
    "adamax": 0.01,
    "nadam": 0.005,
    "radam": 0.01,
    "adafactor": 0.05,
    "adabelief": 0.005,
    "adan": 0.01,
    "ademamix": 0.005,
    "adopt": 0.01,
    "dog": 1.0,
    "ftrl": 0.2,
    "lamb": 0.01,
    "lars": 1.0,
    "lion": 0.002,
    "muon": 0.005,
    "novograd": 0.005,
    "prodigy": 1.0,
    "qhadam": 0.005,
    "rprop": 0.005,
    "schedule_free_adamw": 0.01,
    "schedule_free_radam": 0.01,
    "signum": 0.002,
    "sm3": 0.1,
    "smorms3": 0.005,
    "stable_adamw": 0.005,
    "yogi": 0.01,
}
# Options that differ from the default.
_OPTIONS: dict[str, dict[str, Any]] = {
    "asgd": {"t0": 100.0},  # averages from here on
}
WHOLE_BATCH = ("gd", "rprop")  # rules that are trained on all rows at once
# KalmanSGD with a covariance block per neuron, and with one full covariance. They have no rate.
# The initial variance fits the weights of a network; with a larger one the first rows would move
# the weights too far.
FILTERS = ("ksgd", "ksgd_full")
M0 = 0.03
M0_GLM = 100.0  # for a GLM, whose update is stable for any variance; a weak prior
RULES = (*_RATES_BY_CURVATURE, *_RATES, *FILTERS)
DEFAULT_RULES = (
    *("gd", "sgd", "momentum", "nesterov", "adagrad", "adadelta", "rmsprop"),
    *("adam", "amsgrad", "adamw", "adamax", "nadam", "radam", "adan", "lamb", "lion", "muon"),
    *("schedule_free_adamw", "prodigy", "ksgd"),
)
PATIENCE = 10.0  # seconds of training that a filter may take unless it is named in --rules
_MOST_BYTES = 2**30  # of a filter's covariance, unless it is named in --rules


def is_too_large(rule: str, problem: Problem) -> bool:
    """Return whether a filter's covariance takes more than a gigabyte."""
    if rule not in FILTERS:
        return False
    model = problem.model
    blocks = model.neurons() if rule == "ksgd" else [range(model.n_params)]
    return 8 * sum(len(block) ** 2 for block in blocks) > _MOST_BYTES


def batch_size(rule: str, size: int) -> int | None:
    """Return the number of rows per step: all (None) for gd and rprop, 1 for the filters."""
    return None if rule in WHOLE_BATCH else 1 if rule in FILTERS else size


def options(rule: str) -> dict[str, Any]:
    """Return the options of a rule, besides the learning rate, that differ from the default."""
    return _OPTIONS.get(rule, {})


def learning_rate(rule: str, curvature: float) -> float:
    """Return the default learning rate of a rule, NaN for a filter.

    It is rounded to two digits, so that the printed rate is the one that is used.
    """
    if rule in FILTERS:
        return math.nan
    if rule in _RATES:
        return _RATES[rule]
    return float(f"{_RATES_BY_CURVATURE[rule] / curvature:.2g}")
