"""Two filters of the same linear model made one: information adds."""

from __future__ import annotations

import numpy as np
from scipy.linalg import cho_factor, cho_solve  # type: ignore[import-untyped]

from fastopt._errors import FastoptError
from fastopt.kalman.covariance import Floats

Estimate = tuple[Floats, Floats]  # coefficients; covariance, or its diagonal


def merged(one: Estimate, other: Estimate, start: Estimate) -> tuple[Floats, Floats, float]:
    """Return coefficients and covariance of both data, whose start is the same.

    And by how much the least sum of squares, (w - w0)' L0 (w - w0) included, exceeds the sum of
    both: each is RSS + that = least + (w - own w)' L (w - own w).
    """
    parts = [(w, _inverse(m), sign) for (w, m), sign in ((one, 1), (other, 1), (start, -1))]
    total = sum((sign * information for _, information, sign in parts), np.zeros(()))
    covariance = _inverse(total)
    # The weighted mean of what is near it loses fewer digits than that of the whole.
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
