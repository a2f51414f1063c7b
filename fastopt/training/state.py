"""The progress of a run of `minimize`: parameters, counts, losses and history."""

from __future__ import annotations

import copy
import math
import time
from typing import Any

import numpy as np
from scipy.optimize import OptimizeResult  # type: ignore[import-untyped]

from fastopt.arrays.accepted import as_array, is_array
from fastopt.arrays.sparse import is_of_rows
from fastopt.batching import Batches
from fastopt.optimizers.base.arguments import Grads, Params
from fastopt.optimizers.base.state.structure import each

HISTORY = ("loss", "lr", "seconds")  # the lists with an entry for each epoch


class RunState:
    """All that changes during a run, except the criteria by which it ends.

    Attributes
    ----------
    x, optimizer, batches
        The parameters, what updates them, and the data or None.
    nit, nfev, n_epochs : int
        Steps taken, evaluations of the function, complete epochs.
    loss : float
        The mean loss of the last epoch, complete or not.
    grad
        The gradient of the last step.
    history, seconds
        As in the result; seconds exclude the time spent in callbacks.
    epoch_steps, epoch_lr, epoch_total, epoch_weight
        Of the current epoch: steps taken, learning rate of the first step, weighted sum of the
        losses and sum of the weights.
    """

    def __init__(self, x: Params, optimizer: Any, batches: Batches | None) -> None:
        self.x, self.optimizer, self.batches = x, optimizer, batches
        self.nit = self.nfev = self.n_epochs = 0
        self.loss = math.nan
        self.grad: Grads = None
        self.history: dict[str, list[float]] = {name: [] for name in HISTORY}
        self.seconds = 0.0
        self._clock = time.perf_counter()
        self._begin_epoch()

    def _begin_epoch(self) -> None:
        self.epoch_steps, self.epoch_lr = 0, math.nan
        self.epoch_total, self.epoch_weight = 0.0, 0.0

    @property
    def has_last_step(self) -> bool:
        """Whether the last step of the current epoch has been taken."""
        return self.epoch_steps > 0 and (self.batches is None or self.batches.position == 0)

    def start_clock(self) -> None:
        """Start the measurement of `seconds`."""
        self._clock = time.perf_counter()

    def read_clock(self) -> None:
        """Add the time since the clock was started or read to `seconds`."""
        now = time.perf_counter()
        self.seconds, self._clock = self.seconds + now - self._clock, now

    def add_step(self, loss: float, lr: float, weight: float) -> None:
        """Count a step of the current epoch."""
        if not self.epoch_steps:
            self.epoch_lr = lr
        self.epoch_steps += 1
        self.epoch_total += weight * loss
        self.epoch_weight += weight

    def record_epoch(self) -> None:
        """Write the current epoch, complete or not, to the history."""
        if not self.epoch_steps:
            return
        self.loss = self.epoch_total / self.epoch_weight
        entry = {"loss": self.loss, "lr": self.epoch_lr, "seconds": self.seconds}
        for name, value in entry.items():
            self.history[name][self.n_epochs :] = [value]

    def complete_epoch(self) -> None:
        """Count the current epoch and begin the next one."""
        self.n_epochs += 1
        self._begin_epoch()

    def result(self) -> OptimizeResult:
        """Return the run so far; the arrays are not copied."""
        return OptimizeResult(
            x=self.x,
            fun=self.loss,
            jac=self.grad,
            nit=self.nit,
            nfev=self.nfev,
            history=self.history,
        )

    def copied_gradient(self) -> Grads:
        """Return a copy of the last gradient."""
        return each(copied, "jac", self.grad)


def copied(name: str, gradient: Any) -> Any:
    """Return a copy of one parameter's gradient, as a NumPy array if it is an array."""
    if gradient is None or is_of_rows(gradient):
        return copy.copy(gradient)
    return np.array(as_array(name, gradient) if is_array(gradient) else gradient)
