"""How far one pass over the rows gets a rule, as the condition number grows."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from fastopt.arrays.dtypes import Array
from fastopt.kalman import KalmanSGD
from fastopt.optimizers.conventions import create

FILTERS = {"ksgd": "auto", "ksgd qr": "qr"}  # and their modes
RULES = ("sgd", "nesterov", "adagrad", "rmsprop", "adam")

_HALF_WIDTH = 8  # a grid of learning rates begins with so many on either side of its middle
_RATIO = math.sqrt(10.0)
_MOST_RATES = 65


@dataclass(frozen=True)
class Sample:
    """Rows of a linear model with noise of variance 1.

    The variances of the features' principal components go from 1 to `condition` in equal ratios,
    turned at random, so that no single coefficient belongs to one of them. The true coefficients
    let each component explain about as much as the noise: none may be left unlearned.
    """

    condition: float
    X: Array
    y: Array
    root: Array  # root @ root.T is the covariance that the rows were drawn with
    truth: Array
    minimizer: Array  # of the loss over these rows

    def excess(self, w: Array) -> Array:
        """Return the expected loss, half the squared error, on new rows above its least value."""
        return np.asarray(np.square((w - self.truth) @ self.root).sum(axis=-1) / 2.0)

    def excess_on_rows(self, w: Array) -> float:
        """Return the mean loss on these rows above its least value."""
        return float(np.square(self.X @ (w - self.minimizer)).mean() / 2.0)


@dataclass(frozen=True)
class Outcome:
    """What a rule came to after one pass, at its best learning rate; a filter has none."""

    rule: str
    excess: float
    excess_on_rows: float
    lr: float | None = None
    rates: tuple[float, ...] = ()
    excesses: tuple[float, ...] = ()  # at each of the rates; NaN or infinite where it diverged

    @property
    def inside(self) -> bool:
        """Whether rates on both sides of the best were worse."""
        return self.lr is None or self.rates[0] < self.lr < self.rates[-1]


def draw_sample(condition: float, n_rows: int, n_features: int, seed: int) -> Sample:
    """Draw a sample; what is random is the same at every condition number."""
    rng = np.random.default_rng(seed)
    components = rng.standard_normal((n_rows, n_features))
    turn, _ = np.linalg.qr(rng.standard_normal((n_features, n_features)))
    effects, noise = rng.standard_normal(n_features), rng.standard_normal(n_rows)
    spread = np.sqrt(np.geomspace(1.0, condition, n_features))
    root, truth = turn * spread, turn @ (effects / spread)
    X = components @ root.T
    y = X @ truth + noise
    return Sample(condition, X, y, root, truth, np.linalg.lstsq(X, y, rcond=None)[0])


def outcomes(sample: Sample) -> Iterator[Outcome]:
    """Let every rule pass over the rows once, in their order."""
    for rule, mode in FILTERS.items():
        w = KalmanSGD(sample.X.shape[1], mode=mode).partial_fit(sample.X, sample.y).coef
        yield Outcome(rule, float(sample.excess(w)), sample.excess_on_rows(w))
    for rule in RULES:
        yield search(sample, rule)


def search(sample: Sample, rule: str) -> Outcome:
    """Return the best of a grid of learning rates, which grows until the best is inside.

    Far too high a rate may be better than the next lower one, but not than no step at all; a rate
    that is low enough always is.
    """
    if rule in ("sgd", "nesterov"):  # their steps are proportional to the gradient
        middle = 0.01 / float(np.square(sample.X).sum(axis=1).mean())
    else:  # theirs are of the rate's own size, and coefficients from 1 to sqrt(condition) small
        middle = 0.1 * sample.condition**-0.25
    at_start = float(sample.excess(np.zeros(sample.X.shape[1])))
    low, high = -_HALF_WIDTH, _HALF_WIDTH
    ends: dict[int, Array] = {}  # where each rate's power of the ratio leads
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
    """Return the coefficients after a step a row, from 0, for each of the rates.

    Rates are parameter groups of one optimizer: neither knows of the others.
    """
    w = np.zeros((len(rates), sample.X.shape[1]))
    gradient = np.empty_like(w)
    groups = [{"params": [row], "lr": rate} for row, rate in zip(w, rates, strict=True)]
    optimizer = create(rule, groups)
    optimizer.bind(list(gradient))
    with np.errstate(all="ignore"):  # a rate that is too high overflows on its way
        for x, y in zip(sample.X, sample.y, strict=True):
            np.multiply((w @ x - y)[:, None], x, out=gradient)
            optimizer.step()
    return w
