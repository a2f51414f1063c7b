"""Iterative refinement of least-squares coefficients after a rounded QR decomposition.

R^-1 d has an error of eps cond^2 times the residual, because rounding makes R and d those of
slightly different rows. One step of iterative refinement with the rows themselves removes this
error, and the rounding errors of d and of the solution: R'R dw = X'f with f = y - X w, the
corrected seminormal equations (A. Bjorck and G. H. Golub, "Iterative refinement of linear least
squares solutions by Householder transformation", 1967; A. Bjorck, "Stability analysis of the method
of seminormal equations for linear least squares problems", 1987).

The remaining error is eps cond times the correction, because R comes from an orthogonal
decomposition. This requires f and X'f in more than double precision: both are small sums of large
terms.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from scipy.linalg.blas import dgemv  # type: ignore[import-untyped]
from scipy.linalg.lapack import dtrtrs  # type: ignore[import-untyped]

from fastopt.kalman.covariance import Floats

Rows = tuple[Floats, Floats, Floats | None]  # x, y, weight

MOST = 2**12  # sums over at most this many rows or coefficients are exact
LEADING = 2.0**33  # leaves 20 leading bits: a sum of MOST products of two such numbers needs 52
CACHED = 2**14  # elements; malloc returns larger blocks to the system after each use


def rows_at_a_time(n_params: int) -> int:
    """Return how many rows each item of the argument `rows` of `correction` should have."""
    return min(MOST, max(256, CACHED // n_params))


def correction(root: Floats, rows: Iterable[Rows]) -> Floats:
    """Return the correction of R^-1 d, where [R d; 0 r] is the triangle of exactly these rows."""
    with np.errstate(over="ignore", invalid="ignore"):
        r = root[:-1, :-1]
        # Scaling columns to norm <= 1 by powers of 2 is exact and prevents underflow.
        scale = np.ldexp(1.0, -np.frexp(np.linalg.norm(r, axis=0))[1])
        r = r * scale
        w = dtrtrs(r, root[:-1, -1])[0]
        gradient, lost = np.zeros_like(w), np.zeros_like(w)
        for x, y, weight in rows:
            leading, rest = _gradient(x, y, weight, scale, w)
            total = gradient + leading
            grown = total - gradient
            # Knuth's two-sum: the gradient of all rows is near 0, that of a block is not.
            lost += (gradient - (total - grown)) + (leading - grown) + rest
            gradient = total
        step = dtrtrs(r, dtrtrs(r, gradient + lost, trans=1)[0])[0] * scale
    # A product may overflow although R does not; then there is no correction.
    return step if np.isfinite(step).all() else np.zeros_like(step)


def _gradient(
    x: Floats, y: Floats, weight: Floats | None, scale: Floats, w: Floats
) -> tuple[Floats, Floats]:
    """Return X'W(y - X w), X = x * scale, as an exact part and a rest of 2^-20 of its size."""
    x = x * scale
    if weight is not None:
        # Multiply X by the powers of 2 of the weights' square roots, which is exact.
        factor, exponent = np.frexp(np.sqrt(weight))
        by = np.ldexp(np.sign(factor), exponent)
        x, y = x * by[:, None], y * by
    x_leading, w_leading = _leading(x, 1.0), _leading(w, np.abs(w).max())
    x_rest = x - x_leading
    f = y - dgemv(1.0, x_leading.T, w_leading, trans=1)
    f -= dgemv(1.0, x_leading.T, w - w_leading, trans=1)
    f -= dgemv(1.0, x_rest.T, w, trans=1)
    if weight is not None:
        f *= factor**2
    f_leading = _leading(f, np.abs(f).max())
    rest = dgemv(1.0, x_leading.T, f - f_leading) + dgemv(1.0, x_rest.T, f)
    return dgemv(1.0, x_leading.T, f_leading), rest


def _leading(a: Floats, largest: float) -> Floats:
    """Return the numbers without the bits below one position, which is the same for all.

    Sums of products of such numbers are exact, for any BLAS and any order of the sum (S. M. Rump,
    T. Ogita and S. Oishi, "Accurate floating-point summation", 2008).
    """
    shift = LEADING * largest
    leading: Floats = (a + shift) - shift
    return leading
