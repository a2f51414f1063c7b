"""How far to go down the gradient: SciPy's search for the strong Wolfe conditions."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.optimize import line_search  # type: ignore[import-untyped]

from fastopt.arrays.dtypes import Array
from fastopt.optimizers.base.arguments import Grads, Params
from fastopt.optimizers.base.groups import arrays_of
from fastopt.optimizers.base.optimizer import Optimizer, dense_gradients


class NoStepError(Exception):
    """No step has been found that lowers the loss as the conditions ask."""


class LineSearch:
    """Steps of gradient descent whose learning rates are searched for."""

    def __init__(self, optimizer: Optimizer, x: Params) -> None:
        self.optimizer, self.x = optimizer, x
        self._arrays = arrays_of(optimizer.param_groups)
        self._before: float | None = None  # the loss a step ago, from which the first try follows
        self._seen: tuple[Array, float, Array] | None = None  # point, loss and gradient

    def evaluate(self, call: Callable[[Params], tuple[float, Grads]]) -> tuple[float, Grads]:
        """Return loss and gradients at x; `call` gives them anywhere."""
        loss, gradient = self._at(_flat(list(self._arrays.values())), call)
        return loss, self._shaped(gradient)

    def step(self, call: Callable[[Params], tuple[float, Grads]]) -> tuple[float, Grads]:
        """Take a step and return loss and gradients before it."""
        start = _flat(list(self._arrays.values()))
        loss, gradient = self._at(start, call)
        before = loss + np.linalg.norm(gradient) / 2 if self._before is None else self._before
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that it has failed is said by what it returns
            length = line_search(
                lambda point: self._at(point, call)[0],
                lambda point: self._at(point, call)[1],
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

    def _at(
        self, point: Array, call: Callable[[Params], tuple[float, Grads]]
    ) -> tuple[float, Array]:
        """Return loss and gradient at a point, the last one remembered."""
        if self._seen is None or not np.array_equal(self._seen[0], point):
            loss, grads = call(self._shaped(point))
            found = [
                np.zeros(w.shape) if g is None else g
                for w, g in zip(
                    self._arrays.values(), dense_gradients(self.optimizer, grads), strict=True
                )
            ]
            self._seen = point.copy(), loss, _flat(found)
        return self._seen[1:]

    def _shaped(self, flat: Array) -> Any:
        """Return a vector in the form of x."""
        ends = np.cumsum([w.size for w in self._arrays.values()])[:-1]
        parts = [
            part.reshape(w.shape).astype(w.dtype)
            for part, w in zip(np.split(flat, ends), self._arrays.values(), strict=True)
        ]
        if isinstance(self.x, dict):
            return dict(zip(self._arrays, parts, strict=True))
        return parts if isinstance(self.x, list) else parts[0]


def _flat(arrays: list[Array]) -> Array:
    """Return all elements in one new vector."""
    return np.concatenate([np.asarray(w, np.float64).reshape(-1) for w in arrays])
