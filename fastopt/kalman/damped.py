"""Nonlinear least squares by the Levenberg-Marquardt method with geodesic acceleration.

At coefficients w the model is linearized, with Jacobian J and residual r. The step is the update of
a Kalman filter that starts at w with covariance (damping * D^2)^-1 and absorbs the rows::

    step = argmin |J step - r|^2 + damping |D step|^2

D is diagonal and has the largest recent norm of each column of J. Half the geodesic acceleration is
added to the step. The acceleration solves the same system with -f'' in place of r, where f'' is the
second derivative of the mean along the step, computed by one finite difference.

D is that of J. J. More, "The Levenberg-Marquardt algorithm", 1978, except that there norms do not
decay. Damping: H. B. Nielsen, "Damping parameter in Marquardt's method", 1999. Acceleration:
M. K. Transtrum and J. P. Sethna, arXiv 1201.5885, 2012.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import numpy as np
from scipy.linalg.lapack import dtrtrs  # type: ignore[import-untyped]
from scipy.optimize import OptimizeResult  # type: ignore[import-untyped]

from fastopt._errors import FastoptError
from fastopt.kalman.covariance import Floats
from fastopt.kalman.covariance.qr import with_triangle

FIRST_DAMPING = 1e-3
LEAST_GAIN = 1e-4  # a step must reduce the cost by this fraction of the predicted reduction
ACCELERATION = 0.75  # the largest ratio of twice the acceleration to the step, both scaled by D
PART = 0.1  # the fraction of the step over which the curvature is computed
MEMORY = 0.7  # the factor of the norms in D per step; at an earlier point they may be huge
NEAR = 1e-6  # the relative size of a step that counts as converged if rounding prevents progress
EPS = float(np.finfo(float).eps)
LEAST_DAMPING = EPS**2  # a smaller one has no effect in the decomposition

CONVERGED, NO_PROGRESS, USED_UP = range(3)  # statuses
MESSAGES = {
    CONVERGED: "converged",
    NO_PROGRESS: "no step reduces the sum of squares, and this is not its minimum",
    USED_UP: "max_iter was reached",
}


class Point(NamedTuple):
    """Coefficients, and the triangle [R d; 0 r] of the model linearized at them.

    The sum of squares after a step is |R step - d|^2 + r^2.
    """

    w: Floats
    root: Floats
    kept: Any  # data that the model needs again for `curvature`

    @property
    def cost(self) -> float:
        """Return the sum of squares."""
        return float(np.sum(self.root[:, -1] ** 2))


class Model(Protocol):
    """A model that can be linearized."""

    nfev: int  # the number of evaluations of the mean

    def at(self, w: Floats) -> Point | None:
        """Return the linear model at w; None if one of its numbers is not finite."""

    def curvature(self, point: Point, step: Floats, part: float) -> Floats | None:
        """Return J'f'' from the means at w and w + part * step; None as for `at`."""


def solve(model: Model, w: Floats, tol: float, max_iter: int) -> tuple[Point, OptimizeResult]:
    """Return the final point of the iteration that starts at w, and SciPy's result object."""
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):  # such steps are rejected
        start = model.at(w)
        if start is None:
            raise FastoptError(
                "y, or what fun returns where the coefficients start, has a NaN, an infinity "
                "or a number whose square overflows; nothing was done"
            )
        end, tried, status = fit(model, start, tol, max_iter)
    return end, OptimizeResult(
        x=end.w,
        fun=end.cost,
        nit=tried,
        nfev=model.nfev,
        status=status,
        success=status == CONVERGED,
        message=MESSAGES[status],
    )


def fit(model: Model, point: Point, tol: float, max_iter: int) -> tuple[Point, int, int]:
    """Return the final point, the number of steps tried, and the status."""
    p = len(point.w)
    norms = np.zeros(p)
    damping, growth = FIRST_DAMPING, 2.0
    tried = 0
    while True:
        r, d, cost = point.root[:p, :p], point.root[:p, p], point.cost
        if np.linalg.norm(d) <= tol * np.sqrt(cost):
            return point, tried, CONVERGED
        if tried == max_iter:
            return point, tried, USED_UP
        norms = np.maximum(MEMORY * norms, np.linalg.norm(r, axis=0))
        scale = np.where(norms > 0, norms, 1.0)  # a column of zeros: its coefficient does not move
        prior = np.zeros_like(point.root)
        np.fill_diagonal(prior[:p], np.sqrt(damping) * scale)
        damped = with_triangle(point.root, prior)[:p]
        step: Floats = dtrtrs(damped[:, :p], damped[:, p])[0]
        predicted = np.sum((r @ step) ** 2) + 2 * damping * np.sum((scale * step) ** 2)
        if predicted <= EPS * cost:  # a smaller reduction of the cost is below rounding
            return point, tried, _at_rest(point, scale, tol)
        change = _accelerated(model, point, step, damped[:, :p], scale)
        trial = None if change is None else model.at(point.w + change)
        gain = -1.0 if trial is None else (cost - trial.cost) / predicted
        if trial is not None and gain > LEAST_GAIN:
            point = trial
            damping = max(LEAST_DAMPING, damping * max(1 / 3, 1 - (2 * gain - 1) ** 3))
            growth = 2.0
        else:
            damping *= growth
            growth *= 2
        tried += 1


def _accelerated(
    model: Model, point: Point, step: Floats, damped: Floats, scale: Floats
) -> Floats | None:
    """Return the step with half the acceleration; None if the curvature is too large for it."""
    curvature = model.curvature(point, step, PART)
    if curvature is None:
        return None
    acceleration: Floats = -dtrtrs(damped, dtrtrs(damped, curvature, trans=1)[0])[0]
    allowed = ACCELERATION * np.linalg.norm(scale * step)
    if not 2 * np.linalg.norm(scale * acceleration) <= allowed:
        return None
    return step + acceleration / 2


def _at_rest(point: Point, scale: Floats, tol: float) -> int:
    """Return CONVERGED if the undamped step is short, else NO_PROGRESS."""
    p = len(point.w)
    r, d = point.root[:p, :p], point.root[:p, p]
    full = np.linalg.lstsq(r / scale, d)[0]
    near = max(tol, NEAR)
    small = np.linalg.norm(full) <= near * np.linalg.norm(scale * point.w)
    return CONVERGED if small or np.linalg.norm(d) <= near * np.sqrt(point.cost) else NO_PROGRESS
