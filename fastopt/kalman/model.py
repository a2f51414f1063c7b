"""A user's model of rows, made linear at given coefficients, as the triangle a filter keeps."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from fastopt.kalman import input as given
from fastopt.kalman.covariance import Floats
from fastopt.kalman.covariance.qr import with_rows
from fastopt.kalman.damped import Point

Fun = Callable[[Floats, Any], tuple[npt.ArrayLike, npt.ArrayLike]]


class Linear(NamedTuple):
    """A block of rows at some coefficients, times the roots of their weights."""

    y: Floats
    mean: Floats
    jac: Floats


class RowsModel:
    """Rows with a model of their mean, after what is known before them.

    That is a triangle [R d; 0 r] of min |R w - d|^2 + r^2. A point's has the rows too, and d of
    steps from there.
    """

    def __init__(
        self,
        fun: Fun,
        X: npt.NDArray[Any],
        y: Floats,
        weight: Floats | None,
        block: int,
        before: Floats,
    ) -> None:
        self.fun, self.x, self.y, self.before = fun, X, y, before
        self.root_weight = None if weight is None else np.sqrt(weight)
        self.block, self.nfev = block, 0

    def at(self, w: Floats) -> Point | None:
        p = w.size
        root = self.before.copy(order="F")
        root[:p, p] -= root[:p, :p] @ w
        kept = []
        for rows in self._linear(w):
            residual = rows.y - rows.mean
            if not (np.isfinite(residual).all() and np.isfinite(rows.jac).all()):
                return None
            root = with_rows(root, rows.jac, residual)
            if self.block >= len(self.y):
                kept.append(rows)
        point = Point(w, root, kept)
        return point if np.isfinite(point.cost) else None

    def curvature(self, point: Point, step: Floats, part: float) -> Floats | None:
        total = np.zeros(step.size)
        here = point.kept or self._linear(point.w)
        for rows, ahead in zip(here, self._linear(point.w + part * step), strict=True):
            second = 2 / part * ((ahead.mean - rows.mean) / part - rows.jac @ step)
            total += rows.jac.T @ second
        return total if np.isfinite(total).all() else None

    def _linear(self, w: Floats) -> Iterator[Linear]:
        """Yield blocks of rows."""
        self.nfev += 1
        n, p = len(self.y), w.size
        for first in range(0, n, self.block):
            own = slice(first, first + self.block)
            y = self.y[own]
            result = self.fun(w.copy(), self.x[own])
            if not isinstance(result, (tuple, list)) or len(result) != 2:
                raise TypeError(f"fun returned {result!r}; a pair (mean, jacobian) is needed")
            mean = given.floats("the mean of fun", result[0], (len(y),))
            jac = given.floats("the Jacobian of fun", result[1], (len(y), p))
            if self.root_weight is not None:
                root = self.root_weight[own]
                y, mean, jac = y * root, mean * root, jac * root[:, None]
            yield Linear(y, mean, jac)
