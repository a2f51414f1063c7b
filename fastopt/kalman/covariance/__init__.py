"""The forms in which KalmanSGD keeps a covariance: what each must offer."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

import numpy as np

Floats = np.ndarray[Any, np.dtype[np.float64]]
Wholes = np.ndarray[Any, np.dtype[np.int64]]


class Glm(NamedTuple):
    """A generalized linear model, and how an update takes its mean."""

    family: tuple[str, str]  # and link
    shape: float  # alpha of the negative binomial
    is_explicit: bool
    low: float  # bounds of the variance
    high: float


class Form(Protocol):
    """Coefficients w with a covariance M, in some form.

    `rows` and `outputs` return "" or the name of a failure, a key of `FAILURES`.
    """

    reads: str  # the dtype of the rows that are passed
    counts: tuple[int, int, float]  # n_obs, n_clipped, sum of (y - m)^2 / s; may be set

    def coef(self) -> Floats:
        """Return a copy of the coefficients."""

    def rows(self, glm: Glm, x: Floats, y: Floats, weight: Floats | None) -> str:
        """Absorb rows of a model; a failure leaves what was before the block at fault."""

    def outputs(self, x: Floats, residual: Floats) -> str:
        """Absorb one observation, jointly: residuals of unit variance, and their gradients."""

    def covariance(self) -> Floats:
        """Return M as a matrix of its own, both triangles."""

    def variances(self) -> Floats:
        """Return the diagonal of M."""

    def trace(self) -> float:
        """Return the trace of M."""

    def arrays(self) -> dict[str, Floats]:
        """Return copies of the arrays that data change."""

    def restore(self, arrays: Mapping[str, Floats]) -> None:
        """Take arrays as `arrays` gives them, of the right shapes, or raise and change nothing."""


class _Filter(Protocol):
    counts: tuple[int, int, float]

    def trace(self) -> float: ...


class Counted:
    """A form whose work is done by a filter of `fastopt.kalman._kalman`."""

    _filter: _Filter

    @property
    def counts(self) -> tuple[int, int, float]:
        return self._filter.counts

    @counts.setter
    def counts(self, values: tuple[int, int, float]) -> None:
        self._filter.counts = values

    def trace(self) -> float:
        return self._filter.trace()


def triangle(r: Floats, w: Floats, squares: float) -> Floats:
    """Return [R d; 0 r], where R w = d and r^2 is a sum of squares."""
    p = w.size
    root = np.zeros((p + 1, p + 1), order="F")
    root[:p, :p] = r
    root[:p, p] = root[:p, :p] @ w
    root[p, p] = math.sqrt(squares)
    return root


FAILURES = {
    "indefinite": "the covariance is no longer positive definite: x'Mx < 0 beyond rounding; "
    "mode='ud' cannot lose it, a smaller m0 or columns of equal scale keep more of its digits",
    "nonfinite": "a mean, a coefficient or the covariance left the range of its dtype",
}
