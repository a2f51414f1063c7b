"""The training of a model with one rule, epoch by epoch."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from itertools import pairwise
from time import perf_counter

import numpy as np

from fastopt._errors import FastoptError
from fastopt.arrays.dtypes import Array
from fastopt.batching import Batches
from fastopt.cli.race.problem import Problem
from fastopt.cli.race.rules import FILTERS, M0, M0_GLM, options
from fastopt.models import GLM
from fastopt.optimizers.conventions import create
from fastopt.training.model_filter import FAMILIES, ModelFilter

_BLOCK = 4096  # rows between two checks of the time


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
    patience: float = math.inf  # seconds of training after which it stops
    out_of_patience: bool = False  # stopped by `patience`, perhaps within an epoch
    at_averages: bool = False  # evaluated at the averages of the parameters that the rule keeps

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
        """Whether the training has ended: after all epochs, by divergence, or by `patience`."""
        return self.diverged or self.out_of_patience or self.epochs_done == self.epochs

    @property
    def succeeded(self) -> bool:
        """Whether the training has ended and the loss is finite."""
        return self.finished and not self.diverged

    @property
    def epoch_quartiles(self) -> tuple[float, float, float]:
        """The quartiles over completed epochs of the seconds of training; NaN if there is none."""
        seconds = [b.seconds - a.seconds for a, b in pairwise(self.evaluations)]
        low, median, high = np.percentile(seconds or [math.nan], (25, 50, 75))
        return float(low), float(median), float(high)

    @property
    def samples_per_second(self) -> float:
        """Training rows per second in the median epoch; NaN before the end of the first."""
        n = len(self.problem.train[0])
        return n / self.epoch_quartiles[1] if self.epochs_done else math.nan

    def train(self) -> Iterator[Evaluation]:
        """Train to the end; yield an evaluation at the start and after each epoch.

        All runs have the same initial parameters, the same order of rows and the same number of
        epochs, so that each rule uses each row equally often. Gradient descent therefore takes
        one step per epoch.
        """
        model, train = self.problem.model, self.problem.train
        params = model.init(seed=self.seed, dtype=np.float32)
        update, batch_size, averaged = self._update(params)
        self.at_averages = averaged is not nullcontext
        batches = Batches(*train, batch_size=batch_size, seed=self.seed)
        seconds = 0.0
        while True:
            # A rule that diverges overflows before its loss is NaN; the evaluation shows it.
            with np.errstate(all="ignore"), averaged():
                loss, _ = model.loss_and_grad(params, *train)
                score = model.score(params, *self.problem.held_out)
            score = score if math.isfinite(loss) else math.nan
            self.evaluations.append(Evaluation(loss, score, seconds))
            self.out_of_patience = seconds > self.patience and self.epochs_done < self.epochs
            yield self.last
            if self.finished:
                return
            start = perf_counter()
            with np.errstate(all="ignore"):
                try:
                    for done, (X, y) in enumerate(batches, 1):
                        update(X, y)
                        spent = seconds + perf_counter() - start
                        if spent > self.patience and done < len(batches):
                            self.out_of_patience = True
                            yield self.last
                            return
                except FastoptError:  # a filter raises it for values that are not finite
                    params["b1"][:] = math.nan
            seconds += perf_counter() - start

    def _update(
        self, params: dict[str, Array]
    ) -> tuple[
        Callable[[Array, Array], object], int | None, Callable[[], AbstractContextManager[None]]
    ]:
        """Return how `params` are trained.

        The result is the function that updates them with a batch, the size of its batches, and a
        function that returns a context in which they are averages, if the rule has any.

        For a GLM, a filter absorbs blocks of rows; the result is the same as for single rows.
        """
        model = self.problem.model
        if self.rule not in FILTERS:
            opt = create(self.rule, params, lr=self.lr, **options(self.rule))

            def step(X: Array, y: Array) -> None:
                opt.step(model.loss_and_grad(params, X, y)[1])

            return step, self.batch_size, opt.averaged if opt.has_averages else nullcontext
        is_glm = isinstance(model, GLM) and model.family in FAMILIES
        covariance = "full" if self.rule == "ksgd_full" or is_glm else model.neurons()
        try:
            learner = ModelFilter(model, params, m0=M0_GLM if is_glm else M0, covariance=covariance)
        except MemoryError:
            raise FastoptError(f"the covariance of {self.rule} does not fit into memory") from None
        if learner.is_glm:
            size = min(_BLOCK, len(self.problem.train[0]))
            return _quietly(learner.absorb_rows), size, nullcontext

        def absorb(X: Array, y: Array) -> None:
            learner.absorb(y, *model.mean_and_jacobian(params, X))

        return absorb, self.batch_size, nullcontext


def _quietly(function: Callable[..., object]) -> Callable[..., object]:
    """Return the function with its warnings, on separation and the order of rows, suppressed."""

    def call(*args: object) -> object:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return function(*args)

    return call


def ranked(runs: list[Run]) -> list[Run]:
    """Return the runs by increasing training loss; those that did not succeed are last."""
    return sorted(runs, key=lambda run: (not run.succeeded, run.last.train_loss))
