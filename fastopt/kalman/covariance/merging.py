"""The coefficients and covariance of two data sets together: the information is added."""

from __future__ import annotations

import numpy as np
from scipy.linalg import cho_factor, cho_solve  # type: ignore[import-untyped]

from fastopt._errors import FastoptError
from fastopt.kalman.covariance import Floats

Estimate = tuple[Floats, Floats]  # coefficients, and their covariance or its diagonal


def merged(one: Estimate, other: Estimate, start: Estimate) -> tuple[Floats, Floats, float]:
    """Return the coefficients, the covariance and the increase of the sum of squares.

    Both estimates started from coefficients w0 and covariance L0^-1. The sum of squares of each,
    RSS plus (w - w0)' L0 (w - w0), equals its minimum plus (w - v)' L (w - v), where v and L are
    its coefficients and information. The increase is the minimum for both data sets together minus
    the sum of the two minima.
    """
    parts = [(w, _inverse(m), sign) for (w, m), sign in ((one, 1), (other, 1), (start, -1))]
    total = sum((sign * information for _, information, sign in parts), np.zeros(()))
    covariance = _inverse(total)
    # Averaging differences from a nearby point loses fewer digits than averaging coefficients.
    near = one[0]
    w = near + covariance @ sum(
        (sign * (information @ (own - near)) for own, information, sign in parts), np.zeros(())
    )
    moved = sum(sign * ((w - own) @ information @ (w - own)) for own, information, sign in parts)
    return w, covariance, max(0.0, float(moved))


def _inverse(matrix: Floats) -> Floats:
    """Return the symmetric inverse of a positive definite matrix, or of a diagonal."""
    if matrix.ndim == 1:
        return np.diag(1.0 / matrix)
    try:
        inverse = cho_solve(cho_factor(matrix, lower=True), np.eye(len(matrix)))
    except np.linalg.LinAlgError:
        raise FastoptError("a covariance is no longer positive definite; cannot merge") from None
    symmetric: Floats = (inverse + inverse.T) / 2
    return symmetric
