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
from fastopt.arrays.sparse import as_dense, is_of_rows
from fastopt.optimizers.base.arguments import Grads, Params
from fastopt.optimizers.base.optimizer import Optimizer, dense_gradients
from fastopt.optimizers.base.state.groups import arrays_of
from fastopt.training.fun import Fun, loss_and_grads
from fastopt.training.interrupts import Interrupts
from fastopt.training.state import RunState

if TYPE_CHECKING:
    from fastopt.training.model_filter import ModelFilter

Batch = tuple[Array, ...]
Report = Callable[[float], object]
Point = tuple[float, Grads]  # loss and gradients


class Steps(Protocol):
    """A way to take steps."""

    finds_lr: bool  # whether the learning rate is known only after the step
    sees_x: bool  # whether loss and gradient of a step are those at x
    averages: bool  # whether x is an average, to which `Optimizer.averaged` moves the parameters
    report: Report | None  # called with the mean loss of each epoch

    @property
    def lr(self) -> float:
        """The learning rate of the next step; of the last one if `finds_lr`."""

    def take(self, batch: Batch, known: Point | None = None) -> Point:
        """Take a step; return loss and gradients before it, which may be given as ``known``."""

    def evaluate(self, batch: Batch) -> Point:
        """Return loss and gradients at x."""

    def dense(self, grads: Grads) -> list[Array]:
        """Return checked gradients as arrays, in the order of the parameters; 0 for None."""

    def in_structure(self, arrays: list[Array]) -> Grads:
        """Return what `dense` returned in the structure and dtypes of x; None without gradients."""

    def extras(self) -> dict[str, Any]:
        """Return further fields of the result."""


class Objective:
    """The user's function; calls are counted and may be interrupted, and results are checked."""

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
        self.averages = any(optimizer._average(g.options) for g in optimizer.param_groups)
        self.sees_x = not (optimizer.looks_ahead or self.averages)
        schedule = optimizer.param_groups[0].schedule
        self.report: Report | None = getattr(schedule, "report", None)

    @property
    def lr(self) -> float:
        return self.optimizer.lr

    def take(self, batch: Batch, known: Point | None = None) -> Point:
        if known is None:
            ahead = self.optimizer.looks_ahead
            with self.optimizer.extrapolated() if ahead else nullcontext():
                known = self.objective(self.objective.state.x, batch)
        self.optimizer.step(known[1])
        return known

    def evaluate(self, batch: Batch) -> Point:
        with self.optimizer.averaged() if self.averages else nullcontext():
            return self.objective(self.objective.state.x, batch)

    def dense(self, grads: Grads) -> list[Array]:
        return dense_of(self.optimizer, grads)

    def in_structure(self, arrays: list[Array]) -> Grads:
        keys = arrays_of(self.optimizer.param_groups)
        return like(self.objective.state.x, dict(zip(keys, arrays, strict=True)))

    def extras(self) -> dict[str, Any]:
        return {}


def dense_of(optimizer: Optimizer, grads: Grads) -> list[Array]:
    """Return checked gradients as arrays, in the order of the parameters; 0 for None."""
    arrays = arrays_of(optimizer.param_groups)

    def dense(key: Any, grad: Any) -> Any:
        known = key in arrays and is_of_rows(grad)
        return as_dense(f"parameter {key!r}", arrays[key], grad) if known else grad

    if isinstance(grads, dict):
        grads = {key: dense(key, grad) for key, grad in grads.items()}
    elif isinstance(grads, (list, tuple)):
        grads = [dense(i, grad) for i, grad in enumerate(grads)]
    else:
        grads = dense(0, grads)
    given = dense_gradients(optimizer, grads)
    return [
        np.zeros(w.shape) if g is None else g for w, g in zip(arrays.values(), given, strict=True)
    ]


def _listed(grads: Grads) -> Any:
    return grads if isinstance(grads, (list, tuple)) else [grads]


def like(x: Params, arrays: dict[Any, Array]) -> Grads:
    """Return arrays by key or index in the structure and dtypes of x."""
    if isinstance(x, dict):
        return {key: arrays[key].astype(w.dtype) for key, w in x.items()}
    if isinstance(x, list):
        return [arrays[i].astype(w.dtype) for i, w in enumerate(x)]
    return arrays[0].astype(x.dtype)


class FilterSteps:
    """Updates of a `KalmanSGD` with a model's mean and Jacobian; there is no learning rate.

    A `fastopt.models.GLM` is updated by `KalmanSGD.partial_fit`, which evaluates the mean
    after the update and therefore cannot overshoot; any other model by `KalmanSGD.update`.
    """

    finds_lr = False
    sees_x = averages = False
    lr = math.nan
    report: Report | None = None

    def __init__(self, objective: Objective, model_filter: ModelFilter) -> None:
        self.objective, self.model_filter = objective, model_filter
        self.has_loss = hasattr(model_filter.model, "loss_and_grad")

    def take(self, batch: Batch, known: Point | None = None) -> Point:
        """Update with a batch; the loss is the model's, or half the mean of squared residuals."""
        del known
        rows, y = batch
        state = self.objective.state
        if self.model_filter.is_glm:
            point = self.evaluate(batch)
            is_new_pass = state.n_epochs > 0 and state.epoch_steps == 0
            self.model_filter.absorb_rows(rows, y, new_pass=is_new_pass)
            return point
        mean, jac = self._mean_and_jacobian(rows)
        if self.has_loss:
            point = self.evaluate(batch)
            self.model_filter.absorb(y, mean, jac)
            return point
        loss = self.model_filter.absorb(y, mean, jac)
        state.nfev += 1
        return loss, None

    def evaluate(self, batch: Batch) -> Point:
        """Return loss and gradients; if the model has no loss, the filter's score as one array."""
        if self.has_loss:
            return self.objective(self.objective.state.x, batch)
        rows, y = batch
        mean, jac = self._mean_and_jacobian(rows)
        self.objective.state.nfev += 1
        return self.model_filter.loss_and_score(y, mean, jac)

    def _mean_and_jacobian(self, rows: Array) -> tuple[Array, Array]:
        state, model = self.objective.state, self.model_filter.model
        mean, jac = self.objective.interrupts.deliver_during(model.mean_and_jacobian, state.x, rows)
        return mean, jac

    def dense(self, grads: Grads) -> list[Array]:
        x = self.objective.state.x
        if isinstance(grads, dict) and isinstance(x, dict):
            return [np.asarray(grads[name]) for name in x]
        return [np.asarray(g) for g in _listed(grads)]

    def in_structure(self, arrays: list[Array]) -> Grads:
        x = self.objective.state.x
        keys = list(x) if isinstance(x, dict) else range(len(arrays))
        return like(x, dict(zip(keys, arrays, strict=True))) if self.has_loss else None

    def extras(self) -> dict[str, Any]:
        """Return the filter; its standard errors take account of repeated passes."""
        kalman = self.model_filter.kalman
        if not self.model_filter.is_glm:  # `partial_fit` counts passes itself
            kalman.n_passes = max(1, len(self.objective.state.history["loss"]))
        return {"kalman": kalman}
