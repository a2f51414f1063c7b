"""The loss of each rule after one pass over the rows, at its best constant learning rate."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from fastopt._errors import FastoptError
from fastopt.arrays.dtypes import Array
from fastopt.cli.conditioning.sample import Sample
from fastopt.kalman import KalmanSGD
from fastopt.optimizers.conventions import create

FILTERS = {"ksgd": "auto", "ksgd qr": "qr"}  # name in the table: mode of KalmanSGD
RULES = ("sgd", "nesterov", "adagrad", "rmsprop", "adam")

_HALF_WIDTH = 8  # the initial grid has so many learning rates on each side of its middle
_RATIO = math.sqrt(10.0)  # of neighbouring learning rates
_MOST_RATES = 65


@dataclass(frozen=True)
class Outcome:
    """The result of a rule after one pass at its best learning rate; a filter has no rate.

    The losses of a filter that failed are NaN.
    """

    rule: str
    excess: float
    excess_on_rows: float
    lr: float | None = None
    rates: tuple[float, ...] = ()
    excesses: tuple[float, ...] = ()  # for each of the rates; NaN or infinite if it diverged
    failure: str = ""  # the message of the error that a filter raised

    @property
    def inside(self) -> bool:
        """Whether the best rate is inside the grid, with worse rates on both sides."""
        return self.lr is None or self.rates[0] < self.lr < self.rates[-1]


Results = dict[float, list[Outcome]]  # by condition number


def outcomes(sample: Sample) -> Iterator[Outcome]:
    """Yield the outcome of each filter and rule after one pass over the rows in their order."""
    for rule, mode in FILTERS.items():
        try:
            w = KalmanSGD(sample.X.shape[1], mode=mode).partial_fit(sample.X, sample.y).coef
        except FastoptError as error:  # rounding can make the covariance indefinite
            yield Outcome(rule, math.nan, math.nan, failure=str(error))
            continue
        yield Outcome(rule, float(sample.excess(w)), sample.excess_on_rows(w))
    for rule in RULES:
        yield search(sample, rule)


def search(sample: Sample, rule: str) -> Outcome:
    """Return the outcome at the best rate of a grid, which grows until the best is inside.

    The best rate must also be better than no step at all, as every rate that is low enough is.
    This excludes a local minimum among rates that are far too high, where a rate may be better
    than the next lower one.
    """
    if rule in ("sgd", "nesterov"):  # their steps are proportional to the gradient
        middle = 0.01 / float(np.square(sample.X).sum(axis=1).mean())
    else:  # their steps are about as large as the rate; coefficients are condition**-0.5 to 1
        middle = 0.1 * sample.condition**-0.25
    at_start = float(sample.excess(np.zeros(sample.X.shape[1])))
    low, high = -_HALF_WIDTH, _HALF_WIDTH
    ends: dict[int, Array] = {}  # i -> the coefficients at the rate middle * _RATIO**i
    excess: dict[int, float] = {}
    while len(ends) < _MOST_RATES:
        missing = [i for i in range(low, high + 1) if i not in ends]
        ends |= zip(
            missing, one_pass(sample, rule, [middle * _RATIO**i for i in missing]), strict=True
        )
        with np.errstate(all="ignore"):
            excess = {i: float(sample.excess(w)) for i, w in sorted(ends.items())}
        best = min(excess, key=lambda i: excess[i] if math.isfinite(excess[i]) else math.inf)
        if low < best < high and excess[best] < at_start:
            break
        if best == high:
            high += _HALF_WIDTH
        else:
            low -= _HALF_WIDTH
    rates = {i: middle * _RATIO**i for i in excess}
    return Outcome(
        rule,
        excess[best],
        sample.excess_on_rows(ends[best]),
        rates[best],
        tuple(rates.values()),
        tuple(excess.values()),
    )


def one_pass(sample: Sample, rule: str, rates: list[float]) -> Array:
    """Return the coefficients after one step per row from 0, for each of the rates.

    Each rate is a parameter group of one optimizer; the groups do not influence each other.
    """
    w = np.zeros((len(rates), sample.X.shape[1]))
    gradient = np.empty_like(w)
    groups = [{"params": [row], "lr": rate} for row, rate in zip(w, rates, strict=True)]
    optimizer = create(rule, groups)
    optimizer.bind(list(gradient))
    with np.errstate(all="ignore"):  # a rate that is too high overflows
        for x, y in zip(sample.X, sample.y, strict=True):
            np.multiply((w @ x - y)[:, None], x, out=gradient)
            optimizer.step()
    return w
