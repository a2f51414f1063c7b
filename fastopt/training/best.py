"""The best point of a run, for ``restore_best``."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastopt._errors import FastoptError
from fastopt.arrays.dtypes import Array
from fastopt.optimizers.base.arguments import Grads, Params
from fastopt.optimizers.base.state.structure import each
from fastopt.training.state import RunState, copied


class Best:
    """A copy of the parameters with the least loss so far, with that loss and its gradient."""

    def __init__(self) -> None:
        self.x: Any = None
        self.loss = np.inf
        self.grad: Grads = None

    def observe(self, x: Params, loss: float, grad: Grads) -> None:
        """Copy the parameters if their loss is less than all losses before."""
        if loss < self.loss:
            self.x = each(lambda _, w: w.copy(), "x", x)
            self.loss, self.grad = loss, each(copied, "grad", grad)

    def restore(self, state: RunState) -> None:
        """Write the best parameters, their loss and gradient into the state of a run."""
        if self.x is not None:
            assign(state.x, self.x)
            state.loss, state.grad = self.loss, self.grad

    def load(self, saved: tuple[Any, float, Any], x: Params) -> None:
        """Load the content of a file, or raise if it does not fit the parameters."""
        best, loss, grad = saved
        if best is not None:
            found, own = _listed(best), _listed(x)
            is_equal = type(best) is type(x) and len(found) == len(own)
            if not is_equal or not all(map(_is_like, found, own)):
                raise FastoptError("the best parameters are not of the structure of x0")
        self.x, self.loss, self.grad = best, float(loss), grad


def assign(x: Params, values: Any) -> None:
    """Write values into parameters of the same structure."""
    for w, value in zip(_listed(x), _listed(values), strict=True):
        w[...] = value


def _is_like(found: object, own: Array) -> bool:
    """Return whether an object is an array of the same shape and dtype."""
    return isinstance(found, np.ndarray) and found.shape == own.shape and found.dtype == own.dtype


def _listed(x: Any) -> list[Any]:
    """Return the arrays of a structure."""
    return list(x.values()) if isinstance(x, dict) else x if isinstance(x, list) else [x]
