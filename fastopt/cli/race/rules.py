"""The rules that take part in the race, with their learning rates and batch sizes."""

from __future__ import annotations

import math

from fastopt.cli.race.problem import Problem

# The steps of these rules are proportional to the gradient, so their rates are in units of
# 1/curvature: gradient descent converges below 2 on a linear model with squared loss. The rate of
# sgd is lower because batches are noisy. Momentum 0.9 makes the effective rate ten times as high.
_RATES_BY_CURVATURE = {"gd": 1.5, "sgd": 0.2, "momentum": 0.03, "nesterov": 0.03}
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
}
# KalmanSGD with a covariance block per neuron, and with one full covariance. They have no rate.
# The initial variance fits the weights of a network; with a larger one the first rows would move
# the weights too far.
FILTERS = ("ksgd", "ksgd_full")
M0 = 0.03
M0_GLM = 100.0  # for a GLM, whose update is stable for any variance; a weak prior
RULES = (*_RATES_BY_CURVATURE, *_RATES, *FILTERS)
DEFAULT_RULES = tuple(rule for rule in RULES if rule != "ksgd_full")  # takes minutes
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
    """Return the number of rows per step: all (None) for gd, 1 for the filters, else `size`."""
    return None if rule == "gd" else 1 if rule in FILTERS else size


def learning_rate(rule: str, curvature: float) -> float:
    """Return the default learning rate of a rule, NaN for a filter.

    It is rounded to two digits, so that the printed rate is the one that is used.
    """
    if rule in FILTERS:
        return math.nan
    if rule in _RATES:
        return _RATES[rule]
    return float(f"{_RATES_BY_CURVATURE[rule] / curvature:.2g}")
