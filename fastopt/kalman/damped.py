"""Nonlinear least squares, each step that of a Kalman filter whose prior covariance is damped.

At coefficients w the model is linear, J its Jacobian and r the residual. The step is where the
rows pull a filter that starts at w with covariance (damping * D^2)^-1, D the largest norms of the
columns of J of late::

    step = argmin |J step - r|^2 + damping |D step|^2

which is Levenberg's and Marquardt's. Half the geodesic acceleration is added to it: a, the same
filter's response to the curvature f'' of the mean along the step, found by one difference.

D: J. J. More, "The Levenberg-Marquardt algorithm", 1978, who forgets no norm. Damping:
H. B. Nielsen, "Damping parameter in Marquardt's method", 1999. Acceleration: M. K. Transtrum and
J. P. Sethna, arXiv 1201.5885, 2012.
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
LEAST_GAIN = 1e-4  # of what was predicted, or a step is not taken
ACCELERATION = 0.75  # at most, twice the acceleration to the step, both in the measure of D
PART = 0.1  # of the step, over which the curvature is found
MEMORY = 0.7  # of the norms at a step; they may have been huge far from here
NEAR = 1e-6  # the solution: steps that short are short enough where rounding ends all progress
EPS = float(np.finfo(float).eps)
LEAST_DAMPING = EPS**2  # less is lost beside J in the decomposition

CONVERGED, NO_PROGRESS, USED_UP = range(3)  # statuses
MESSAGES = {
    CONVERGED: "converged",
    NO_PROGRESS: "no step reduces the sum of squares, and this is not its minimum",
    USED_UP: "max_iter is used up",
}


class Point(NamedTuple):
    """Coefficients, and the triangle [R d; 0 r] of |J step - r|^2 = |R step - d|^2 + r^2 there."""

    w: Floats
    root: Floats
    kept: Any  # by the model, for `curvature`

    @property
    def cost(self) -> float:
        """Return the sum of squares."""
        return float(np.sum(self.root[:, -1] ** 2))


class Model(Protocol):
    nfev: int  # evaluations of the mean

    def at(self, w: Floats) -> Point | None:
        """Return the linear model at w; None where a number of it is not finite."""

    def curvature(self, point: Point, step: Floats, part: float) -> Floats | None:
        """Return J'f'' from means at w and w + part * step; None as for `at`."""


def solve(model: Model, w: Floats, tol: float, max_iter: int) -> tuple[Point, OptimizeResult]:
    """Return the last point from w on, and what is said of it."""
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):  # no step to there
        start = model.at(w)
        if start is None:
            raise FastoptError(
                "y, or what fun returns where the coefficients start, has a NaN, an infinity "
                "or too large a number; nothing was done"
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
    """Return the last point, the number of steps tried, and the status."""
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
        scale = np.where(norms > 0, norms, 1.0)  # so that no row's coefficient does not move
        prior = np.zeros_like(point.root)
        np.fill_diagonal(prior[:p], np.sqrt(damping) * scale)
        damped = with_triangle(point.root, prior)[:p]
        step: Floats = dtrtrs(damped[:, :p], damped[:, p])[0]
        predicted = np.sum((r @ step) ** 2) + 2 * damping * np.sum((scale * step) ** 2)
        if predicted <= EPS * cost:  # no cost could show it
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
    """Return the step on a parabola; None where the model is too curved for it."""
    curvature = model.curvature(point, step, PART)
    if curvature is None:
        return None
    acceleration: Floats = -dtrtrs(damped, dtrtrs(damped, curvature, trans=1)[0])[0]
    allowed = ACCELERATION * np.linalg.norm(scale * step)
    if not 2 * np.linalg.norm(scale * acceleration) <= allowed:
        return None
    return step + acceleration / 2


def _at_rest(point: Point, scale: Floats, tol: float) -> int:
    """Tell rounding near the solution from a model that lets no step."""
    p = len(point.w)
    r, d = point.root[:p, :p], point.root[:p, p]
    full = np.linalg.lstsq(r / scale, d)[0]
    near = max(tol, NEAR)
    small = np.linalg.norm(full) <= near * np.linalg.norm(scale * point.w)
    return CONVERGED if small or np.linalg.norm(d) <= near * np.sqrt(point.cost) else NO_PROGRESS
