"""The training of a model with one rule, epoch by epoch."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from time import perf_counter

import numpy as np

from fastopt._errors import FastoptError
from fastopt.arrays.dtypes import Array
from fastopt.batching import Batches
from fastopt.cli.race.problem import Problem
from fastopt.cli.race.rules import FILTERS, M0
from fastopt.optimizers.conventions import create
from fastopt.training.model_filter import ModelFilter


@dataclass(frozen=True)
class Evaluation:
    """The state of a run after an epoch."""

    train_loss: float
    score: float
    seconds: float  # training time so far: batches, gradients and updates, without evaluation


@dataclass
class Run:
    """The training with one rule; the first evaluation is that of the initial parameters."""

    rule: str
    lr: float
    batch_size: int | None
    epochs: int
    seed: int
    problem: Problem
    evaluations: list[Evaluation] = field(default_factory=list)

    @property
    def last(self) -> Evaluation:
        """The last evaluation."""
        return self.evaluations[-1]

    @property
    def epochs_done(self) -> int:
        """The number of completed epochs."""
        return len(self.evaluations) - 1

    @property
    def diverged(self) -> bool:
        """Whether the loss is infinite or NaN."""
        return not math.isfinite(self.last.train_loss)

    @property
    def finished(self) -> bool:
        """Whether the training has ended, by divergence or after all epochs."""
        return self.diverged or self.epochs_done == self.epochs

    @property
    def succeeded(self) -> bool:
        """Whether all epochs are completed and the loss is finite."""
        return self.finished and not self.diverged

    @property
    def samples_per_second(self) -> float:
        """Training rows per second; NaN before the end of the first epoch."""
        n = len(self.problem.train[0]) * self.epochs_done
        return n / self.last.seconds if n else math.nan

    def train(self) -> Iterator[Evaluation]:
        """Train to the end; yield an evaluation at the start and after each epoch.

        All runs have the same initial parameters, the same order of rows and the same number of
        epochs, so that each rule uses each row equally often. Gradient descent therefore takes
        one step per epoch.
        """
        model, train = self.problem.model, self.problem.train
        params = model.init(seed=self.seed, dtype=np.float32)
        update = self._update(params)
        batches = Batches(*train, batch_size=self.batch_size, seed=self.seed)
        seconds = 0.0
        while True:
            # A rule that diverges overflows before its loss is NaN; the evaluation shows it.
            with np.errstate(all="ignore"):
                loss, _ = model.loss_and_grad(params, *train)
                score = model.score(params, *self.problem.held_out)
            score = score if math.isfinite(loss) else math.nan
            self.evaluations.append(Evaluation(loss, score, seconds))
            yield self.last
            if self.finished:
                return
            start = perf_counter()
            with np.errstate(all="ignore"):
                try:
                    for X, y in batches:
                        update(X, y)
                except FastoptError:  # a filter raises it for values that are not finite
                    params["b1"][:] = math.nan
            seconds += perf_counter() - start

    def _update(self, params: dict[str, Array]) -> Callable[[Array, Array], object]:
        """Return the function that updates `params` with a batch."""
        model = self.problem.model
        if self.rule in FILTERS:
            covariance = model.neurons() if self.rule == "ksgd" else "full"
            learner = ModelFilter(model, params, m0=M0, covariance=covariance)
            return lambda X, y: learner.absorb(y, *model.mean_and_jacobian(params, X))
        opt = create(self.rule, params, lr=self.lr)
        return lambda X, y: opt.step(model.loss_and_grad(params, X, y)[1])


def ranked(runs: list[Run]) -> list[Run]:
    """Return the runs by increasing training loss; those that did not succeed are last."""
    return sorted(runs, key=lambda run: (not run.succeeded, run.last.train_loss))
