"""What the rounding of a decomposition has left in the coefficients of least squares.

R^-1 d is off by eps cond^2 times the residual, for R and d are those of rows a little beside the
given ones. One step of iterative refinement with the rows themselves takes that out, and what the
rounding of d and the solution cost besides: R'R dw = X'f with f = y - X w, corrected seminormal
equations (A. Bjorck and G. H. Golub, "Iterative refinement of linear least squares solutions by
Householder transformation", 1967; A. Bjorck, "Stability analysis of the method of seminormal
equations for linear least squares problems", 1987). What remains is eps cond times the correction,
because R is of an orthogonal decomposition, if f and X'f have more digits than a number: both are
small sums of large ones.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from scipy.linalg.blas import dgemv  # type: ignore[import-untyped]
from scipy.linalg.lapack import dtrtrs  # type: ignore[import-untyped]

from fastopt.kalman.covariance import Floats

Rows = tuple[Floats, Floats, Floats | None]  # x, y, weight

MOST = 2**12  # rows or coefficients, whose sums are still exact
LEADING = 2.0**33  # leaves 20 bits: of two of them times MOST, 52
CACHED = 2**14  # numbers; twice as many are memory that malloc gives back each time


def rows_at_a_time(n_params: int) -> int:
    return min(MOST, max(256, CACHED // n_params))


def correction(root: Floats, rows: Iterable[Rows]) -> Floats:
    """Return what to add to R^-1 d, of the triangle [R d; 0 r] of these rows and no others."""
    with np.errstate(over="ignore", invalid="ignore"):
        r = root[:-1, :-1]
        # Of norm 1 or less, by powers of 2: nothing is rounded, and products do not underflow.
        scale = np.ldexp(1.0, -np.frexp(np.linalg.norm(r, axis=0))[1])
        r = r * scale
        w = dtrtrs(r, root[:-1, -1])[0]
        gradient, lost = np.zeros_like(w), np.zeros_like(w)
        for x, y, weight in rows:
            leading, rest = _gradient(x, y, weight, scale, w)
            total = gradient + leading
            grown = total - gradient
            # Knuth's sum of two: the gradient of all is near 0, that of a block is not.
            lost += (gradient - (total - grown)) + (leading - grown) + rest
            gradient = total
        step = dtrtrs(r, dtrtrs(r, gradient + lost, trans=1)[0])[0] * scale
    # Some products overflow sooner than R does, which leaves R^-1 d as it was.
    return step if np.isfinite(step).all() else np.zeros_like(step)


def _gradient(
    x: Floats, y: Floats, weight: Floats | None, scale: Floats, w: Floats
) -> tuple[Floats, Floats]:
    """Return X'W(y - X w), X = x * scale, in two parts: one exact, and 2^-20 of it."""
    x = x * scale
    if weight is not None:
        # The powers of 2 of the weights' roots go into X, which they do not round.
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
    """Return the leading bits of numbers, down to the same for all.

    Sums of products of two such are exact, whatever BLAS and its order (S. M. Rump, T. Ogita and
    S. Oishi, "Accurate floating-point summation", 2008).
    """
    shift = LEADING * largest
    leading: Floats = (a + shift) - shift
    return leading
