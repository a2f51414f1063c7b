"""A run of `minimize`: its steps and epochs, and what they have come to."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from typing import Any

import numpy as np
from scipy.optimize import OptimizeResult  # type: ignore[import-untyped]

from fastopt._checks import Whole, at_least_0
from fastopt._errors import FastoptError
from fastopt.arrays.accepted import as_array, is_array
from fastopt.arrays.dtypes import Array
from fastopt.arrays.sparse import is_of_rows
from fastopt.batching import Batches
from fastopt.optimizers.base.arguments import Grads, Params
from fastopt.optimizers.base.optimizer import Optimizer
from fastopt.optimizers.base.structure import each
from fastopt.training.fun import Fun, loss_and_grads
from fastopt.training.interrupts import Interrupts
from fastopt.training.line_search import LineSearch, NoStepError
from fastopt.training.resuming import RunFile

Callback = Callable[[OptimizeResult], object]

PATIENCE = 5
MET, USED_UP, STOPPED, INTERRUPTED, NO_STEP = range(5)  # statuses
SAVED = ("nit", "nfev", "n_epochs", "loss", "seconds", "steps", "lr", "total", "weight")


class Run:
    """The steps of a run, and what they have come to so far."""

    def __init__(
        self,
        fun: Fun,
        x: Params,
        optimizer: Optimizer,
        batches: Batches | None,
        tolerance: Tolerance,
        interrupts: Interrupts,
    ) -> None:
        self.fun, self.x, self.optimizer = fun, x, optimizer
        self.batches, self.tolerance, self.interrupts = batches, tolerance, interrupts
        self.file: RunFile | None = None
        self.search: LineSearch | None = None
        self.nit = self.nfev = self.n_epochs = 0
        self.loss = math.nan
        self.grad: Grads = None
        self.seconds = 0.0
        self.history: dict[str, list[float]] = {"loss": [], "lr": [], "seconds": []}
        # Of the epoch in progress: its first learning rate, sums over its batches.
        self.steps, self.lr, self.total, self.weight = 0, math.nan, 0.0, 0.0

    def go(self, watch: Callback | None, most_epochs: float, most_steps: float) -> int:
        """Take steps until something ends the run; return the status that says what."""
        report = self.report()
        stopped = cut = False
        while True:
            if self.tolerance.is_met:
                return MET
            if stopped:
                return STOPPED
            over = self.nit >= most_steps or self.n_epochs >= most_epochs
            is_open = self.steps > 0  # an epoch of a file's, which has to be closed
            if cut or (over and not is_open):
                return USED_UP
            try:
                cut = not self.epoch(0 if over else most_steps - self.nit)
            except NoStepError:
                return NO_STEP
            if not cut:
                self.tolerance.count(self.loss)
                if report:
                    report(self.loss)
                if self.file:
                    self.file.epoch_done()
            stopped = watch is not None and self.interrupts.let(watch, self.state())

    def epoch(self, most_steps: float) -> bool:
        """Go on with an epoch, by at most so many steps; say whether it is complete now."""
        data = self.batches
        epoch = iter([()]) if data is None else iter(data)
        full = 1 if data is None else min(data.batch_size or data.n_rows, data.n_rows)
        before = 0 if data is None else data.epoch * len(data) + data.position
        taken = 0
        began = time.perf_counter()
        try:
            while taken < most_steps and not self._complete():
                batch = self.interrupts.let(next, epoch)
                lr = math.nan if self.steps else self.optimizer.lr
                loss = self.step(batch)
                if not self.steps:
                    self.lr = self.optimizer.lr if self.search else lr
                share = len(batch[0]) / full if batch else 1.0
                taken, self.steps = taken + 1, self.steps + 1
                self.total, self.weight = self.total + share * loss, self.weight + share
                now = time.perf_counter()
                self.seconds, began = self.seconds + now - began, now
                if self.file:
                    self.file.step_done()
        finally:
            self.seconds += time.perf_counter() - began
            if data is not None:  # a batch without its step has not been used
                data.epoch, data.position = divmod(before + taken, len(data))
            if self.steps:
                self.loss = self.total / self.weight
                for name, value in (
                    ("loss", self.loss),
                    ("lr", self.lr),
                    ("seconds", self.seconds),
                ):
                    self.history[name][self.n_epochs :] = [value]
        complete = self._complete()
        if complete:
            self.n_epochs += 1
            self.steps, self.lr, self.total, self.weight = 0, math.nan, 0.0, 0.0
        return complete

    def _complete(self) -> bool:
        """Say whether the epoch in progress has had its last step."""
        return self.steps > 0 and (self.batches is None or self.batches.position == 0)

    def report(self) -> Callable[[float], object] | None:
        """Return what the schedule wants to be told of each epoch's loss by."""
        return getattr(self.optimizer.param_groups[0].schedule, "report", None)

    def step(self, batch: tuple[Array, ...]) -> float:
        """Take a step and return the loss before it."""
        if self.search:
            loss, self.grad = self.search.step(lambda x: self.call(x, batch))
            self.nit += 1
            return loss
        ahead = self.optimizer.looks_ahead
        with self.optimizer.extrapolated() if ahead else nullcontext():
            loss, grad = self.evaluate(batch)
        self.optimizer.step(grad)
        self.nit += 1
        self.grad = grad
        return loss

    def evaluate(self, batch: tuple[Array, ...]) -> tuple[float, Grads]:
        """Return loss and gradients where the parameters are now."""
        if self.search:
            return self.search.evaluate(lambda x: self.call(x, batch))
        return self.call(self.x, batch)

    def call(self, x: Params, batch: tuple[Array, ...]) -> tuple[float, Grads]:
        """Return what `fun` says of x, checked."""
        result = self.interrupts.let(self.fun, x, *batch)
        self.nfev += 1
        loss, grad = loss_and_grads(result)
        if grad is None:
            raise TypeError(f"fun returned {result!r}; gradients in the structure of x are needed")
        if grad is x:  # of x @ x / 2: the step could not write what it still reads
            grad = np.copy(x)
        return loss, grad

    def state(self) -> OptimizeResult:
        """Return the run so far, of live arrays."""
        return OptimizeResult(
            x=self.x,
            fun=self.loss,
            jac=self.grad,
            nit=self.nit,
            nfev=self.nfev,
            history=self.history,
        )

    def copied_gradient(self) -> Grads:
        """Return the last gradient, of arrays that nobody else has."""
        return each(_copied, "jac", self.grad)

    def saved(self) -> dict[str, Any]:
        """Return what `restore` takes; the history is that of complete epochs."""
        return {
            "history": {name: values[: self.n_epochs] for name, values in self.history.items()},
            "grad": each(_saved_gradient, "grad", self.grad),
            "counts": {name: getattr(self, name) for name in SAVED},
            "tolerance": (self.tolerance.best, self.tolerance.misses),
        }

    def restore(self, saved: Mapping[str, Any]) -> None:
        """Go on from what `saved` gave; parameters, optimizer and batches are loaded already."""
        self.history, self.grad = saved["history"], saved["grad"]
        for name in SAVED:
            setattr(self, name, saved["counts"][name])
        self.tolerance.best, self.tolerance.misses = saved["tolerance"]


class FilterRun(Run):
    """A run of a KalmanSGD."""

    optimizer: Any  # a ModelFilter

    def report(self) -> None:
        return None

    def step(self, batch: tuple[Array, ...]) -> float:
        rows, y = batch
        model = self.optimizer.model
        mean, jac = self.interrupts.let(model.mean_and_jacobian, self.x, rows)
        if hasattr(model, "loss_and_grad"):
            loss, self.grad = self.evaluate(batch)
            self.optimizer.absorb(y, mean, jac)
        else:
            loss = self.optimizer.absorb(y, mean, jac)
            self.nfev += 1
        self.nit += 1
        return loss

    def state(self) -> OptimizeResult:
        kalman = self.optimizer.kalman
        kalman.n_passes = max(1, len(self.history["loss"]))  # its stderr allows for them
        return OptimizeResult(super().state(), kalman=kalman)


class Tolerance:
    """Counts epochs that improve too little."""

    def __init__(self, tol: float | None, patience: int | None) -> None:
        if tol is None and patience is not None:
            raise FastoptError(f"patience is {patience!r} without tol, whose epochs it counts")
        self.tol = None if tol is None else at_least_0("tol", tol)
        self.patience = PATIENCE if patience is None else Whole(1)("patience", patience)
        self.best = math.inf
        self.misses = 0

    def count(self, loss: float) -> None:
        """Take in an epoch's loss."""
        if self.tol is None:
            return
        # Before the first finite loss there is no best to be measured by: any such loss improves.
        needed = self.tol * max(1.0, abs(self.best)) if math.isfinite(self.best) else 0.0
        self.misses = 0 if self.best - loss >= needed else self.misses + 1
        if loss < self.best:
            self.best = loss

    @property
    def is_met(self) -> bool:
        """Whether there have been enough epochs that improve too little."""
        return self.misses >= self.patience


def _copied(_name: str, gradient: Any) -> Any:
    if gradient is None or is_of_rows(gradient):
        return copy.copy(gradient)
    return np.array(as_array(_name, gradient) if is_array(gradient) else gradient)


def _saved_gradient(_name: str, gradient: Any) -> Array | None:
    """Return what a file can hold of a gradient: not those of rows, which nobody goes on from."""
    found = _copied(_name, gradient)
    return found if isinstance(found, np.ndarray) else None
