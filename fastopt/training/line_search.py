"""Gradient descent whose learning rates are found by SciPy's line search."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from scipy.optimize import line_search  # type: ignore[import-untyped]

from fastopt.arrays.dtypes import Array
from fastopt.optimizers.base.arguments import Grads
from fastopt.optimizers.base.optimizer import Optimizer
from fastopt.optimizers.base.state.groups import arrays_of
from fastopt.training.steps import Batch, Objective, Point, Report, dense_of


class NoStepError(Exception):
    """No step was found that satisfies the strong Wolfe conditions."""


class LineSearch:
    """Steps along the negative gradient to a point that satisfies the strong Wolfe conditions.

    `steps.Steps` describes the methods.  The point evaluated last is remembered, since the search
    ends where the next step begins.
    """

    finds_lr = True
    sees_x = True
    averages = False
    report: Report | None = None

    def __init__(self, objective: Objective, optimizer: Optimizer) -> None:
        self.objective, self.optimizer = objective, optimizer
        self._arrays = arrays_of(optimizer.param_groups)
        self._before: float | None = None  # the loss before the last step; gives the first trial
        self._seen: tuple[Array, float, Array] | None = None  # point, loss and gradient

    @property
    def lr(self) -> float:
        return self.optimizer.lr

    def take(self, batch: Batch, known: Point | None = None) -> Point:
        """Take a step; return loss and gradients before it."""
        del known  # it is the point that was seen last
        start = self._point()
        loss, gradient = self._at(start, batch)
        before = loss + np.linalg.norm(gradient) / 2 if self._before is None else self._before
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # after a failure the length is None
            length = line_search(
                lambda point: self._at(point, batch)[0],
                lambda point: self._at(point, batch)[1],
                start,
                -gradient,
                gradient,
                loss,
                before,
            )[0]
        if length is None:
            raise NoStepError
        self._before = loss
        grads = self._shaped(gradient)
        self.optimizer.lr = float(length)
        self.optimizer.step(grads)
        return loss, grads

    def evaluate(self, batch: Batch) -> Point:
        """Return loss and gradients at the current parameters."""
        loss, gradient = self._at(self._point(), batch)
        return loss, self._shaped(gradient)

    def dense(self, grads: Grads) -> list[Array]:
        return dense_of(self.optimizer, grads)

    def in_structure(self, arrays: list[Array]) -> Grads:
        return self._shaped(_flat(arrays))

    def extras(self) -> dict[str, Any]:
        return {}

    def _point(self) -> Array:
        """Return the current parameters as one vector."""
        return _flat(list(self._arrays.values()))

    def _at(self, point: Array, batch: Batch) -> tuple[float, Array]:
        """Return loss and gradient at a point."""
        if self._seen is None or not np.array_equal(self._seen[0], point):
            loss, grads = self.objective(self._shaped(point), batch)
            self._seen = point.copy(), loss, _flat(dense_of(self.optimizer, grads))
        return self._seen[1:]

    def _shaped(self, flat: Array) -> Any:
        """Return a vector in the structure of x, as new arrays."""
        ends = np.cumsum([w.size for w in self._arrays.values()])[:-1]
        parts = [
            part.reshape(w.shape).astype(w.dtype)
            for part, w in zip(np.split(flat, ends), self._arrays.values(), strict=True)
        ]
        x = self.objective.state.x
        if isinstance(x, dict):
            return dict(zip(self._arrays, parts, strict=True))
        return parts if isinstance(x, list) else parts[0]


def _flat(arrays: list[Array]) -> Array:
    """Return all elements in one new float64 vector."""
    return np.concatenate([np.asarray(w, np.float64).reshape(-1) for w in arrays])
