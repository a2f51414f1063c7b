"""Nonlinear least squares for a user's model of the rows (`KalmanSGD.fit_model`).

The model is linearized at given coefficients, and its rows are reduced to the triangular system
from which `damped` takes its steps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.optimize import OptimizeResult  # type: ignore[import-untyped]

from fastopt._checks import Whole, at_least_0
from fastopt._errors import FastoptError
from fastopt.kalman import input as given
from fastopt.kalman.covariance import Floats
from fastopt.kalman.covariance.plain import Plain
from fastopt.kalman.covariance.qr import Information, undetermined, with_rows
from fastopt.kalman.covariance.ud import UD
from fastopt.kalman.damped import Point, solve
from fastopt.kalman.state import State

Fun = Callable[[Floats, Any], tuple[npt.ArrayLike, npt.ArrayLike]]

UNDETERMINED = 3  # a status, after those of `damped`


def fit_rows(
    state: State,
    fun: Fun,
    X: npt.ArrayLike,
    y: npt.ArrayLike,
    weight: npt.ArrayLike | None,
    block: int | None,
    tol: float,
    max_iter: int | None,
) -> OptimizeResult:
    """Minimize the sum of squares and absorb the rows at the minimum, if it is found."""
    form = _form_for_models(state, fun)
    rows = given.numbers("X", X)
    if rows.ndim == 0 or not len(rows):
        raise FastoptError(f"X has shape {rows.shape}; (n, ...) with n >= 1 is needed")
    n, p = len(rows), state.options.n_params
    target = given.vector("y", y, n)
    weights = given.weights(weight, n)
    per_call = n if block is None else Whole(1)("block", block)
    limit = 1000 * p if max_iter is None else Whole(1)("max_iter", max_iter)
    accuracy = at_least_0("tol", tol)
    state.require_covariance()

    before = form.information()
    model = RowsModel(fun, rows, target, weights, per_call, before)
    end, result = solve(model, state.current_coefficients(), accuracy, limit)
    if result.success and isinstance(form, Information):
        _require_determined(result, end.root, state.n_obs + n)
    if result.success:
        state.require_done(form.fitted(end.w, end.root, state.n_obs + n))
        state.history = state.history._replace(
            n_passes=max(1, state.history.n_passes),
            estimates_dispersion=True,
            is_linear=False,
            separable=False,
        )
        if state.stop is not None and state.history.n_passes == 1:
            state.stop.add_squares(np.sum(end.root**2 - before**2, axis=0)[:-1], target)
            state.stop.evaluate(state.form, state.dispersion, has_identity_link=False)
    return result


def _require_determined(result: OptimizeResult, root: Floats, n_obs: int) -> None:
    """Change a success to status 3 if the rows do not determine a coefficient at the minimum."""
    is_open = undetermined(root[:-1, :-1])
    is_open[n_obs:] = True
    if is_open.any():
        result.success, result.status = False, UNDETERMINED
        result.message = (
            f"the rows do not determine coefficient {int(np.argmax(is_open))} at the minimum; more "
            "rows are needed, or a finite m0"
        )


def _form_for_models(state: State, fun: object) -> Plain | UD | Information:
    """Return the form of covariance, if the options allow `fit_model`."""
    if not callable(fun):
        raise TypeError(f"fun is {fun!r}; a callable is needed")
    if not isinstance(state.form, Plain | UD | Information):
        raise FastoptError(f"covariance is {state.options.kind.kept!r}; fit_model needs 'full'")
    if state.options.forgetting < 1.0:
        raise FastoptError(f"forgetting is {state.options.forgetting}; fit_model needs 1.0")
    if state.options.is_bounded:
        raise FastoptError(f"gamma is {state.options.given_gamma}; fit_model needs (None, None)")
    return state.form


class LinearizedRows(NamedTuple):
    """Rows of the model at some coefficients, each multiplied by the root of its weight."""

    y: Floats
    mean: Floats
    jac: Floats


class RowsModel:
    """The model of the rows, added to the information `before` them.

    `before` is a triangle [R d; 0 r] that stands for |R w - d|^2 + r^2. The root of a `Point`
    includes the rows, and is in terms of steps from the point's coefficients.
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
        for rows in self._linearized(w):
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
        here = point.kept or self._linearized(point.w)
        for rows, ahead in zip(here, self._linearized(point.w + part * step), strict=True):
            second = 2 / part * ((ahead.mean - rows.mean) / part - rows.jac @ step)
            total += rows.jac.T @ second
        return total if np.isfinite(total).all() else None

    def _linearized(self, w: Floats) -> Iterator[LinearizedRows]:
        """Yield the rows in blocks, at most `block` in each."""
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
            yield LinearizedRows(y, mean, jac)
