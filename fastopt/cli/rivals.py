"""Which rules race, at which learning rates, and how one of them trains, epoch by epoch."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from time import perf_counter

import numpy as np

from fastopt._errors import FastoptError
from fastopt.arrays.dtypes import Array
from fastopt.batching import Batches
from fastopt.cli.problem import Problem
from fastopt.optimizers.conventions import create
from fastopt.training.model_filter import ModelFilter

# How far these move is proportional to the gradient, so their rates are in units of 1/curvature:
# gradient descent on a linear model of squared loss converges below 2. Batches are noisy, hence
# the lower rate of sgd, and momentum .9 takes ten steps' worth with each gradient.
_RATES_BY_CURVATURE = {"gd": 1.5, "sgd": 0.2, "momentum": 0.03, "nesterov": 0.03}
# The others bring the gradient to a scale of their own.
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
# KalmanSGD with a covariance for each neuron, or one for all: these have no rate. Their first
# variance is of a network's weights; a larger one lets the first rows move them too far.
FILTERS = ("ksgd", "ksgd_full")
_M0 = 0.03
RULES = (*_RATES_BY_CURVATURE, *_RATES, *FILTERS)
_MOST_SECONDS = 60.0


def takes_long(rule: str, problem: Problem, epochs: int) -> bool:
    """Whether a rule would take more than a minute, by its arithmetic on an ordinary machine."""
    if rule not in FILTERS:
        return False
    model = problem.model
    blocks = model.neurons() if rule == "ksgd" else [range(model.n_params)]
    a_row = 3e-4 + 2e-10 * model.sizes[-1] * sum(len(block) ** 2 for block in blocks)
    return a_row * len(problem.train[0]) * epochs > _MOST_SECONDS


def batch_size(rule: str, size: int) -> int | None:
    """Return the rows a step: a filter's are cheapest one by one, and gd takes them all."""
    return None if rule == "gd" else 1 if rule in FILTERS else size


def learning_rate(rule: str, curvature: float) -> float:
    """Return the rate a rule races at, of two digits: what is printed is what was used."""
    if rule in FILTERS:
        return math.nan
    if rule in _RATES:
        return _RATES[rule]
    return float(f"{_RATES_BY_CURVATURE[rule] / curvature:.2g}")


@dataclass(frozen=True)
class Lap:
    """Where a rival stands after an epoch."""

    train_loss: float
    score: float
    seconds: float  # of training so far: batches, gradients and updates, but no evaluation


@dataclass
class Rival:
    """One rule, and how far it has come; its first lap is the start."""

    rule: str
    lr: float
    batch_size: int | None
    epochs: int
    seed: int
    problem: Problem
    laps: list[Lap] = field(default_factory=list)

    @property
    def last(self) -> Lap:
        """The lap that counts."""
        return self.laps[-1]

    @property
    def epochs_done(self) -> int:
        """How many epochs were trained to their end."""
        return len(self.laps) - 1

    @property
    def diverged(self) -> bool:
        """Whether the loss is infinite or NaN."""
        return not math.isfinite(self.last.train_loss)

    @property
    def finished(self) -> bool:
        """Whether there is nothing left to train."""
        return self.diverged or self.epochs_done == self.epochs

    @property
    def arrived(self) -> bool:
        """Whether it trained all its epochs, with a loss to show for it."""
        return self.finished and not self.diverged

    @property
    def samples_per_second(self) -> float:
        """Rows trained on per second; NaN before the end of the first epoch."""
        n = len(self.problem.train[0]) * self.epochs_done
        return n / self.last.seconds if n else math.nan

    def train(self) -> Iterator[Lap]:
        """Train to the end, from the start and in the order of rows that all rivals share.

        The number of epochs is shared too, rather than that of steps or seconds: each rule sees
        each row equally often. That leaves gradient descent with a step an epoch.
        """
        model, train = self.problem.model, self.problem.train
        params = model.init(seed=self.seed, dtype=np.float32)
        update = self._update(params)
        batches = Batches(*train, batch_size=self.batch_size, seed=self.seed)
        seconds = 0.0
        while True:
            # A rule that diverges overflows on its way; its loss will tell.
            with np.errstate(all="ignore"):
                loss, _ = model.loss_and_grad(params, *train)
                score = model.score(params, *self.problem.held_out)
            self.laps.append(Lap(loss, score if math.isfinite(loss) else math.nan, seconds))
            yield self.last
            if self.finished:
                return
            start = perf_counter()
            with np.errstate(all="ignore"):
                try:
                    for X, y in batches:
                        update(X, y)
                except FastoptError:  # a filter refuses what is not finite
                    params["b1"][:] = math.nan
            seconds += perf_counter() - start

    def _update(self, params: dict[str, Array]) -> Callable[[Array, Array], object]:
        """Return what learns from a batch."""
        model = self.problem.model
        if self.rule in FILTERS:
            covariance = model.neurons() if self.rule == "ksgd" else "full"
            learner = ModelFilter(model, params, m0=_M0, covariance=covariance)
            return lambda X, y: learner.absorb(y, *model.mean_and_jacobian(params, X))
        opt = create(self.rule, params, lr=self.lr)
        return lambda X, y: opt.step(model.loss_and_grad(params, X, y)[1])


def ranked(rivals: list[Rival]) -> list[Rival]:
    """Put the lowest training loss first, and those that did not arrive last."""
    return sorted(rivals, key=lambda r: (not r.arrived, r.last.train_loss))
