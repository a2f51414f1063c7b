"""Maximum likelihood of a generalized linear model by Fisher scoring, from all of its rows.

At coefficients w, with the score q_i = (y_i - m_i) h_i / V_i and the weight u_i = h_i^2 / V_i of
each row, one round is::

    R'R = X' diag(u) X + L0;   g = X' q - L0 (w - w0);   R'R step = g;   w <- w + t step

R comes from a QR decomposition of the rows, so the condition number is not squared.  L0 = M0^-1 is
the information of a finite prior, and 0 for maximum likelihood.  t = 1 unless the step overshoots.
The log-likelihood is concave for every family and link here, so the step is halved until the
derivative of the log-likelihood along it has become smaller.  The iteration ends when the Newton
decrement sqrt(step'g), the length of the step in standard errors, is at most ``tol`` (McCullagh &
Nelder 1989, section 2.5).  For the Gaussian family the first step is exact.

If one column is constant, the others are centred by their means, and the coefficients and R are
transformed back: a column with a mean of 1e6 standard deviations loses no digits.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from scipy.linalg.lapack import dtrtri, dtrtrs  # type: ignore[import-untyped]

from fastopt._errors import FastoptError
from fastopt.kalman import input as given
from fastopt.kalman._kalman import implicit, observe_rows
from fastopt.kalman.covariance import Floats
from fastopt.kalman.covariance.qr import undetermined, with_rows
from fastopt.kalman.data import RowsToFit

NUMBERS = 2**19  # elements of X that are read at a time; a weighted copy of them is made
HALVINGS = 40
# The last step changes no linear predictor by more than `STILL`.  If the likelihood has no maximum,
# the information vanishes with the gradient: a step that is short in standard errors, `SHORT`,
# still changes a predictor by more than `LONG`.  The standard error of that predictor is over 1e4.
STILL = 1e-3
SHORT, LONG = 1e-6, 1e-2
FAR = 1e30  # with this variance of the linear predictor, an implicit update gives link(y)


def rows_at_a_time(n_params: int) -> int:
    return max(64, min(4096, NUMBERS // n_params))


class Fit(NamedTuple):
    """The maximum of the likelihood, with the information and Pearson's statistic."""

    coef: Floats
    root: Floats  # the triangle [R d; 0 r]: R'R = M^-1, R coef = d, r^2 = Pearson's chi-squared


class _At(NamedTuple):
    """Sums over all rows at given coefficients."""

    root: Floats  # R, including the information of the prior
    gradient: Floats
    chi2: float


class _Design:
    """The rows with their columns centred, and the prior, in coordinates v = T w.

    T differs from the identity only in the row of the constant column c:
    v_c = w_c + sum_j mean_j w_j / constant.
    """

    def __init__(self, data: RowsToFit, w0: Floats, m0: Floats | None) -> None:
        self.data = data
        self.w0 = w0
        p = data.x.shape[1]
        self.mean, self.constant, self.value, self.scale = _columns(data)
        self._shift = self.mean / self.value
        self.prior = np.zeros((p, p), order="F")  # R with R'R = L0, in coordinates v
        if m0 is not None:
            root = np.diag(m0**-0.5) if m0.ndim == 1 else _inverse_root(m0)
            self.prior = np.asfortranarray(np.linalg.qr(self._from_v(root), mode="r"))

    def to_v(self, w: Floats) -> Floats:
        v = w.copy()
        if self.constant is not None:
            v[self.constant] += self._shift @ w
        return v

    def to_w(self, v: Floats) -> Floats:
        w = v.copy()
        if self.constant is not None:
            w[self.constant] -= self._shift @ v
        return w

    def _from_v(self, a: Floats) -> Floats:
        """Return A T^-1, whose product with v is A w."""
        if self.constant is None:
            return a
        return a - np.outer(a[:, self.constant], self._shift)

    def _to_v(self, a: Floats) -> Floats:
        """Return A T, whose product with w is A v."""
        if self.constant is None:
            return a
        return a + np.outer(a[:, self.constant], self._shift)

    def root_of_w(self, root: Floats) -> Floats:
        """Return the triangle R for coordinates w, from that for coordinates v."""
        r = np.asarray(np.linalg.qr(self._to_v(root), mode="r"))
        return r * np.where(np.diagonal(r) < 0, -1.0, 1.0)[:, None]

    def blocks(self) -> Iterator[tuple[slice, Floats]]:
        for first, part in given.parts(self.data.x, rows_at_a_time(self.data.x.shape[1])):
            rows = part if self.constant is None else part - self.mean
            yield slice(first, first + len(part)), rows

    def predictor(self, x: Floats, own: slice, v: Floats) -> Floats:
        z: Floats = x @ v
        return z if self.data.offset is None else z + self.data.offset[own]

    def at(self, v: Floats) -> _At | None:
        """Return the sums over all rows at v, or None if a mean or a sum is not finite."""
        family, shape = self.data.model, self.data.alpha
        gradient = -(self.prior.T @ (self.prior @ (v - self.to_v(self.w0))))
        p = len(v)
        root = np.zeros((p + 1, p + 1), order="F")
        root[:p, :p] = self.prior
        chi2 = 0.0
        for own, x in self.blocks():
            y = self.data.y[own]
            z = np.ascontiguousarray(self.predictor(x, own, v))
            mean, variance, score, weight, _ = observe_rows(family, shape, y, z)
            prior = 1.0 if self.data.weight is None else self.data.weight[own]
            with np.errstate(all="ignore"):
                residual = (y - mean) ** 2 / variance
                chi2 += float(np.sum(np.where(y == mean, 0.0, residual) * prior))
                gradient += x.T @ (score * prior)
                rows = x * np.sqrt(weight * prior)[:, None]
                root = with_rows(root, rows, np.zeros(len(y)))
        is_finite = np.isfinite(gradient).all() and np.isfinite(root).all()
        return _At(root[:p, :p], gradient, chi2) if is_finite else None

    def largest_move(self, step: Floats) -> float:
        """Return the largest change of a row's linear predictor."""
        return max(float(np.abs(x @ step).max()) for _, x in self.blocks())

    def information_scale(self) -> float:
        """Return the largest weight, times y if all y are below 1.

        0 for the families whose likelihood always has a maximum.
        """
        if not self.data.family.known_dispersion:
            return 0.0
        weight = 1.0 if self.data.weight is None else float(self.data.weight.max())
        largest = float(self.data.y.max())
        return weight * largest if 0.0 < largest < 1.0 else weight

    def start(self) -> Floats | None:
        """Return the coefficients whose predictors are nearest to link(mean of y)."""
        mean = float(self.data.y.mean())
        z = mean
        if self.data.link != "identity":
            z, _ = implicit(self.data.model, self.data.alpha, mean, 1.0, 1.0, FAR)
        if not math.isfinite(z):
            return None
        if self.constant is not None and self.data.offset is None:
            v = np.zeros(len(self.w0))
            v[self.constant] = z / self.value
            return v
        p = len(self.w0)
        root = np.zeros((p + 1, p + 1), order="F")
        np.fill_diagonal(root[:p, :p], 1e-6 * self.scale)
        for own, x in self.blocks():
            target = np.full(len(x), z)
            if self.data.offset is not None:
                target -= self.data.offset[own]
            root = with_rows(root, x, target)
        v = dtrtrs(root[:p, :p], root[:p, p])[0]
        return v if np.isfinite(v).all() else None


def maximum_likelihood(
    data: RowsToFit, w0: Floats, m0: Floats | None, tol: float, max_rounds: int
) -> Fit:
    """Return the maximum of the likelihood, or of the posterior if there is a prior ``m0``.

    Raises
    ------
    FastoptError
        The rows do not determine a coefficient, the likelihood has no maximum (separation), or
        ``max_rounds`` did not suffice.
    """
    design = _Design(data, w0, m0)
    v, at = _start(design)
    if data.family.name == "gaussian":
        return _least_squares(design, v, at)
    decrement, short = math.inf, SHORT * math.sqrt(design.information_scale())
    for _ in range(max_rounds):
        step = _scoring_step(at)
        before = decrement
        decrement = math.sqrt(max(0.0, float(step @ at.gradient)))
        settled = bool((np.abs(step) <= 4 * np.finfo(float).eps * np.abs(v)).all())
        # The decrement stops decreasing when it reaches the accuracy of the sums.
        stalled = decrement < SHORT and decrement > 0.5 * before
        can_end = decrement <= tol or settled or stalled
        vanishes = m0 is None and decrement < short
        if can_end or vanishes:
            move = design.largest_move(step)
            if can_end and move <= STILL:
                return _fitted(design, v + step, at)
            if vanishes and move > LONG:
                raise FastoptError(_no_maximum(design, step))
        v, at = _line_search(design, v, at, step)
    raise FastoptError(
        f"max_rounds={max_rounds} rounds of scoring did not reach the maximum: the last step was "
        f"{decrement:.3g} standard errors long and tol is {tol:g}"
    )


def _least_squares(design: _Design, v: Floats, at: _At) -> Fit:
    """Return the fit after two steps: the first is exact, the second corrects its rounding."""
    v = v + _scoring_step(at)
    new = design.at(v)
    if new is None:
        raise FastoptError("the sum of squared residuals is not finite; divide y by its size")
    return _fitted(design, v + _scoring_step(new), new)


def _start(design: _Design) -> tuple[Floats, _At]:
    """Return the first coefficients with a finite mean for each row."""
    for v in (design.start(), design.to_v(design.w0)):
        if v is not None and (at := design.at(v)) is not None:
            return v, at
    raise FastoptError(
        f"the {design.data.link} link gives no finite mean at the start; make the filter "
        "with coefficients w0 for which X w0 is in the link's range"
    )


def _scoring_step(at: _At) -> Floats:
    """Return the step, or raise if the information on a coefficient is 0 up to rounding."""
    r = at.root
    open_ = undetermined(r)
    if open_.any():
        raise FastoptError(
            f"the rows do not determine coefficient {int(np.argmax(open_))}: its column is a "
            "combination of others, or the weights of its rows have become 0 (separation); "
            "leave it out, or make the filter with a finite m0"
        )
    half = dtrtrs(r, at.gradient, trans=1)[0]
    step: Floats = dtrtrs(r, half)[0]
    return step


def _line_search(design: _Design, v: Floats, at: _At, step: Floats) -> tuple[Floats, _At]:
    """Halve the step until the likelihood's derivative along it has become smaller."""
    slope = float(step @ at.gradient)
    for _ in range(HALVINGS):
        moved = v + step
        new = design.at(moved)
        if new is not None and abs(float(step @ new.gradient)) <= 0.99 * abs(slope):
            return moved, new
        step, slope = 0.5 * step, 0.5 * slope
    raise FastoptError("no step along the scoring direction increases the likelihood")


def _no_maximum(design: _Design, step: Floats) -> str:
    grows = int(np.argmax(np.abs(step) * design.scale))
    return (
        f"the likelihood has no maximum: it keeps increasing as the size of coefficient {grows} "
        "increases (separation); leave its column out, or make the filter with a finite m0"
    )


def _fitted(design: _Design, v: Floats, at: _At) -> Fit:
    w = design.to_w(v)
    p = len(w)
    root = np.zeros((p + 1, p + 1), order="F")
    root[:p, :p] = design.root_of_w(at.root)
    root[:p, p] = root[:p, :p] @ w
    moved = design.prior @ (v - design.to_v(design.w0))
    root[p, p] = math.sqrt(at.chi2 + float(moved @ moved))
    return Fit(w, root)


def _columns(data: RowsToFit) -> tuple[Floats, int | None, float, Floats]:
    """Return the means to subtract, the index and value of a constant column, and the RMS."""
    X, p = data.x, data.x.shape[1]
    low, high = np.full(p, np.inf), np.full(p, -np.inf)
    total, squares = np.zeros(p), np.zeros(p)
    for _, part in given.parts(X, rows_at_a_time(p)):
        low, high = np.minimum(low, part.min(axis=0)), np.maximum(high, part.max(axis=0))
        total += part.sum(axis=0)
        squares += np.einsum("ij,ij->j", part, part)
    constant = np.flatnonzero((low == high) & (low != 0))
    scale = np.sqrt(squares / len(X))
    if not constant.size:
        return np.zeros(p), None, 1.0, scale
    mean = total / len(X)
    mean[constant[0]] = 0.0
    return mean, int(constant[0]), float(low[constant[0]]), scale


def _inverse_root(m0: Floats) -> Floats:
    """Return an upper triangle R with R'R = M0^-1."""
    lower = np.linalg.cholesky(m0)
    return np.asarray(dtrtri(lower, lower=1)[0])
