"""The forms in which `KalmanSGD` stores a covariance M, and what they have in common.

Each form stores the coefficients too, and has the methods of `Form`.

| module | what it answers |
|---|---|
| `plain` | mode "plain": one triangle of M |
| `ud` | mode "ud": the factors of M = U D U' |
| `qr` | mode "qr": a triangle R with R'R = M^-1 |
| `decoupled` | a diagonal, or blocks of M |
| `choosing` | which form the options select, and the memory it needs |
| `blockwise` | what "plain" and "ud" share: rows are absorbed in blocks |
| `refining` | how digits that rounding has lost are restored in the coefficients of "qr" |
| `merging` | the sum of the information of two covariances |
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

import numpy as np

Floats = np.ndarray[Any, np.dtype[np.float64]]
Wholes = np.ndarray[Any, np.dtype[np.int64]]


class Glm(NamedTuple):
    """A generalized linear model, and how an update takes its mean."""

    family: tuple[str, str]  # the names of the family and the link
    shape: float  # alpha of the negative binomial
    is_explicit: bool
    low: float  # bounds of the variance
    high: float


class Form(Protocol):
    """Coefficients w with a covariance M, in some form.

    `rows` and `outputs` return "" for success, or the name of a failure: a key of `FAILURES`.
    """

    reads: str  # the dtype that rows must have
    counts: tuple[int, int, float]  # n_obs, n_clipped, sum of (y - m)^2 / s; can be set

    def coef(self) -> Floats:
        """Return a copy of the coefficients."""

    def rows(
        self, glm: Glm, x: Floats, y: Floats, weight: Floats | None, offset: Floats | None = None
    ) -> str:
        """Absorb rows of a model; after a failure the blocks before it remain absorbed."""

    def outputs(self, x: Floats, residual: Floats) -> str:
        """Absorb the outputs of one observation jointly.

        `residual` has variance 1 (see `outputs.whitened`); x are the gradients.
        """

    def covariance(self) -> Floats:
        """Return M as a new square matrix with both triangles."""

    def variances(self) -> Floats:
        """Return the diagonal of M."""

    def trace(self) -> float:
        """Return the trace of M."""

    def arrays(self) -> dict[str, Floats]:
        """Return copies of the arrays that change when data are absorbed."""

    def restore(self, arrays: Mapping[str, Floats]) -> None:
        """Copy arrays with the names and shapes of those of `arrays`; an error changes nothing."""


class _Filter(Protocol):
    counts: tuple[int, int, float]

    def trace(self) -> float: ...


class Counted:
    """Base of the forms whose counts and trace are those of a filter in `_kalman`."""

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
    """Return the triangle [R d; 0 r] with d = R w and r^2 = `squares`."""
    p = w.size
    root = np.zeros((p + 1, p + 1), order="F")
    root[:p, :p] = r
    root[:p, p] = root[:p, :p] @ w
    root[p, p] = math.sqrt(squares)
    return root


FAILURES = {
    "indefinite": "the covariance is no longer positive definite: x'Mx < 0 beyond rounding; "
    "mode='ud' prevents this; with a smaller m0 or columns of equal scale rounding matters less",
    "nonfinite": "a mean, a coefficient or the covariance left the range of its dtype",
}
