"""How a step of a run is taken: by an update rule, or by a `KalmanSGD`.

`line_search.LineSearch` is a third way.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from fastopt.arrays.dtypes import Array
from fastopt.optimizers.base.arguments import Grads, Params
from fastopt.optimizers.base.optimizer import Optimizer
from fastopt.training.fun import Fun, loss_and_grads
from fastopt.training.interrupts import Interrupts
from fastopt.training.state import RunState

if TYPE_CHECKING:
    from fastopt.training.model_filter import ModelFilter

Batch = tuple[Array, ...]
Report = Callable[[float], object]


class Steps(Protocol):
    """A way to take steps."""

    finds_lr: bool  # whether the learning rate is known only after the step
    report: Report | None  # called with the mean loss of each epoch

    @property
    def lr(self) -> float:
        """The learning rate of the next step; of the last one if `finds_lr`."""

    def take(self, batch: Batch) -> tuple[float, Grads]:
        """Take a step; return loss and gradients before it."""

    def evaluate(self, batch: Batch) -> tuple[float, Grads]:
        """Return loss and gradients at the current parameters."""

    def extras(self) -> dict[str, Any]:
        """Return further fields of the result."""


class Objective:
    """The user's function: calls are counted and may be interrupted; what it returns is checked."""

    def __init__(self, fun: Fun, state: RunState, interrupts: Interrupts) -> None:
        self.fun, self.state, self.interrupts = fun, state, interrupts

    def __call__(self, x: Params, batch: Batch) -> tuple[float, Grads]:
        """Return loss and gradients at x."""
        returned = self.interrupts.deliver_during(self.fun, x, *batch)
        self.state.nfev += 1
        loss, grads = loss_and_grads(returned)
        if grads is None:
            raise TypeError(
                f"fun returned {returned!r}; gradients in the structure of x are needed"
            )
        if grads is x:  # as for x @ x / 2: a step cannot read x as the gradient while it writes x
            grads = np.copy(x)
        return loss, grads


class RuleSteps:
    """Steps of an update rule."""

    finds_lr = False

    def __init__(self, objective: Objective, optimizer: Optimizer) -> None:
        self.objective, self.optimizer = objective, optimizer
        schedule = optimizer.param_groups[0].schedule
        self.report: Report | None = getattr(schedule, "report", None)

    @property
    def lr(self) -> float:
        return self.optimizer.lr

    def take(self, batch: Batch) -> tuple[float, Grads]:
        ahead = self.optimizer.looks_ahead
        with self.optimizer.extrapolated() if ahead else nullcontext():
            loss, grads = self.evaluate(batch)
        self.optimizer.step(grads)
        return loss, grads

    def evaluate(self, batch: Batch) -> tuple[float, Grads]:
        return self.objective(self.objective.state.x, batch)

    def extras(self) -> dict[str, Any]:
        return {}


class FilterSteps:
    """Updates of a `KalmanSGD` with a model's mean and Jacobian; there is no learning rate.

    A `fastopt.models.GLM` is updated by `KalmanSGD.partial_fit`, which takes the mean after the
    update and so cannot overshoot; any other model by `KalmanSGD.update`.
    """

    finds_lr = False
    lr = math.nan
    report: Report | None = None

    def __init__(self, objective: Objective, model_filter: ModelFilter) -> None:
        self.objective, self.model_filter = objective, model_filter

    def take(self, batch: Batch) -> tuple[float, Grads]:
        """Update with a batch; the loss is the model's, or half the mean of squared residuals."""
        rows, y = batch
        state, model = self.objective.state, self.model_filter.model
        if self.model_filter.is_glm:
            point = self.evaluate(batch)
            is_new_pass = state.n_epochs > 0 and state.epoch_steps == 0
            self.model_filter.absorb_rows(rows, y, new_pass=is_new_pass)
            return point
        mean, jac = self.objective.interrupts.deliver_during(model.mean_and_jacobian, state.x, rows)
        if hasattr(model, "loss_and_grad"):
            loss, grads = self.evaluate(batch)
            self.model_filter.absorb(y, mean, jac)
            return loss, grads
        loss = self.model_filter.absorb(y, mean, jac)
        state.nfev += 1
        return loss, None

    def evaluate(self, batch: Batch) -> tuple[float, Grads]:
        return self.objective(self.objective.state.x, batch)

    def extras(self) -> dict[str, Any]:
        """Return the filter; its standard errors take account of repeated passes."""
        kalman = self.model_filter.kalman
        if not self.model_filter.is_glm:  # `partial_fit` counts them itself
            kalman.n_passes = max(1, len(self.objective.state.history["loss"]))
        return {"kalman": kalman}
