"""Rounds of Fisher scoring from sums: the maximum of a likelihood, with or without a penalty.

With the information I and the score g of `Moments` at coefficients v, and penalty weights l1, l2::

    objective(v) = deviance(v) / 2 + sum(l1 |v|) + sum(l2 v^2) / 2
    step = argmin_d  d'I d / 2 - g'd + sum(l1 |v + d|) + sum(l2 (v + d)^2) / 2;   v <- v + t step

t is halved until the objective decreases.  The length of the step in standard errors, the Newton
decrement, ends the iteration.  The sums come from a function, so that it does not matter where the
rows are.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
from scipy.linalg.lapack import dpocon, dpotrf, dpotri, dpotrs  # type: ignore[import-untyped]

from fastopt.estimators._glm import descend
from fastopt.estimators.scoring.moments import Moments

__all__ = ["Evaluate", "Penalty", "Scoring"]

Floats = np.ndarray[Any, np.dtype[np.float64]]

HALVINGS = 40
ROUNDING = 1e-12  # relative, of the objective
WELL_CONDITIONED = 1e-9  # the reciprocal condition number down to which Cholesky is used
DEPENDENT = 1e-11  # R's glm: relative length of a column's residual, given the columns before
# The last step changes no linear predictor by more than `STILL`.  If the likelihood has no maximum,
# the information vanishes with the gradient: a step that is short in standard errors, `SHORT`,
# still changes a predictor by more than `LONG`.
STILL = 1e-3
SHORT, LONG = 1e-6, 1e-2


class Evaluate(Protocol):
    """Returns the sums over all rows at coefficients."""

    def __call__(
        self, v: Floats, /, *, with_information: bool = True, by_qr: bool = False
    ) -> Moments: ...


@dataclass(frozen=True)
class Penalty:
    """sum(l1 |v|) + sum over equations a, b of mix_ab sum(l2 v_a v_b) / 2.

    Attributes
    ----------
    l1 : array of shape (q,)
        Weights of the L1 penalty; 0 for an intercept.
    l2 : array of shape (q / k,)
        Weights of the L2 penalty, for one of k equations.
    mix : array of shape (k, k)
        1 for a single equation.
    """

    l1: Floats
    l2: Floats
    mix: Floats

    def __call__(self, v: Floats) -> float:
        """Return the penalty at v."""
        return float(self.l1 @ np.abs(v) + 0.5 * (self.gradient(v) @ v))

    def gradient(self, v: Floats) -> Floats:
        """Return the gradient of the L2 penalty."""
        rows = v.reshape(len(self.mix), -1)
        found: Floats = (self.mix @ (rows * self.l2)).ravel()
        return found

    def matrix(self) -> Floats:
        """Return the second derivative of the L2 penalty."""
        return np.asarray(np.kron(self.mix, np.diag(self.l2)), dtype=float)

    def root(self) -> Floats:
        """Return rows A with A'A = matrix()."""
        return np.asarray(np.kron(np.linalg.cholesky(self.mix).T, np.diag(np.sqrt(self.l2))))


class _Solver:
    """Solves with the information plus the L2 penalty, with columns scaled to length 1."""

    def __init__(
        self,
        information: Floats,
        penalty: Penalty,
        root: Floats | None = None,
        kept: np.ndarray[Any, np.dtype[np.bool_]] | None = None,
    ) -> None:
        matrix = information + penalty.matrix()
        size = np.sqrt(np.diagonal(matrix))
        self.scale = np.where(size > 0, size, 1.0)
        self.kept = np.ones(len(size), dtype=bool) if kept is None else kept
        matrix = matrix / np.outer(self.scale, self.scale)
        self.rcond = 0.0
        self.right: Floats | None = None
        self.inverse_root: Floats | None = None
        if root is None:
            factor, failed = dpotrf(matrix, lower=0, clean=1)
            if not failed:
                self.rcond = float(dpocon(factor, np.abs(matrix).sum(axis=0).max())[0])
                self.right = factor
        else:
            rows = np.vstack([root, penalty.root()]) / self.scale
            self.triangle = np.asarray(np.linalg.qr(rows, mode="r"))
            if kept is None:
                self.kept = np.abs(np.diagonal(self.triangle)) > DEPENDENT
            self._invert()

    def _invert(self) -> None:
        """Set the inverse of the triangle of the columns that are kept."""
        own = self.triangle[:, self.kept]
        _, s, vt = np.linalg.svd(own, full_matrices=False)
        s = np.where(s > DEPENDENT * s.max(initial=0.0), s, np.inf)
        self.inverse_root = vt.T / s
        self.rcond = 1.0

    def solve(self, g: Floats) -> Floats:
        """Return the solution for a right-hand side; 0 for the columns that are not kept."""
        scaled = g / self.scale
        if self.right is not None:
            found: Floats = dpotrs(self.right, scaled)[0] / self.scale
            return found
        assert self.inverse_root is not None
        step = np.zeros_like(g)
        step[self.kept] = self.inverse_root @ (self.inverse_root.T @ scaled[self.kept])
        return step / self.scale

    def inverse(self) -> Floats:
        """Return the inverse matrix; 0 for the columns that are not kept."""
        if self.right is not None:
            half = dpotri(self.right)[0]
            whole = np.triu(half) + np.triu(half, 1).T
        else:
            assert self.inverse_root is not None
            whole = np.zeros((len(self.scale), len(self.scale)))
            whole[np.ix_(self.kept, self.kept)] = self.inverse_root @ self.inverse_root.T
        found: Floats = whole / np.outer(self.scale, self.scale)
        return found

    def null_space(self) -> Floats:
        """Return a vector for each column that is not kept; its product with the rows is 0."""
        own, rest = self.triangle[:, self.kept], self.triangle[:, ~self.kept]
        vectors = np.zeros((len(self.scale), rest.shape[1]))
        vectors[self.kept] = -np.linalg.lstsq(own, rest, rcond=None)[0]
        vectors[~self.kept] = np.eye(rest.shape[1])
        found: Floats = vectors / self.scale[:, None]
        return found


class Scoring:
    """The state of a fit: the coefficients, and the sums at them.

    Parameters
    ----------
    evaluate : Evaluate
    largest_move : callable
        Returns the largest change of a row's linear predictor by a step, or an upper bound of it
        that is below `STILL`.
    penalty : Penalty
    variance : callable
        Returns the dispersion to which the standard errors of the tolerance belong.
    linear : bool
        Whether the information is the same for all coefficients, so that it is summed once.
    may_separate : bool
        Whether the likelihood of the family may have no maximum.
    separated_below : float
        Half the deviance below which the likelihood has no maximum; -inf if there is one.
    reach : array of shape (q,)
        The largest size of each column, to tell which coefficient moves most.
    report : callable, optional
        Called with the round, the objective and the decrement.

    Attributes
    ----------
    v : array of shape (q,)
        The coefficients.
    at : Moments
        The sums at ``v``, or at the coefficients before the last, negligible step.
    losses : list of float
        The objective after each round.
    n_rounds : int
    converged : bool
    separated : int or None
        The index of a coefficient that grows without limit.
    problem : str
        Why the iteration has ended, if it has not converged.
    """

    def __init__(
        self,
        evaluate: Evaluate,
        largest_move: Callable[[Floats], float],
        penalty: Penalty,
        variance: Callable[[Moments], float] = lambda _: 1.0,
        linear: bool = False,
        may_separate: bool = False,
        separated_below: float = -math.inf,
        reach: Floats | float = 1.0,
        report: Callable[[int, float, float], None] | None = None,
    ) -> None:
        self.evaluate, self.largest_move = evaluate, largest_move
        self.variance, self.linear = variance, linear
        self.may_separate = may_separate
        self.separated_below, self.reach = separated_below, reach
        self.penalty, self.report = penalty, report
        self.by_qr = False
        self.losses: list[float] = []
        self.n_rounds = 0
        self.converged = False
        self.separated: int | None = None
        self.problem = ""
        self.kept: np.ndarray[Any, np.dtype[np.bool_]] | None = None
        self.v: Floats
        self.at: Moments
        self.solver: _Solver

    @property
    def has_l1(self) -> bool:
        return bool(self.penalty.l1.any())

    def objective(self, v: Floats, at: Moments) -> float:
        """Return half the deviance plus the penalty."""
        return 0.5 * at.deviance + self.penalty(v)

    def begin(self, v: Floats, at: Moments) -> None:
        """Set the coefficients and the sums at them."""
        self.v, self.at = v, at
        self.losses.append(self.objective(v, at))

    @np.errstate(over="ignore", invalid="ignore")  # a step that is too long is halved
    def run(self, tol: float, max_iter: int) -> None:
        """Take rounds until the step is shorter than ``tol`` standard errors."""
        decrement = math.inf
        for _ in range(max_iter):
            self.n_rounds += 1
            step, before = self._direction(), decrement
            if self._has_no_information():
                self.problem = (
                    "no row has information on the coefficients, as if all linear predictors were "
                    "far outside the range of the data; compare the scale of the offset with y"
                )
                return
            decrement = self._decrement(step)
            if self.report is not None:
                self.report(self.n_rounds, self.losses[-1], decrement)
            if 0.5 * self.at.deviance < self.separated_below:
                self._no_maximum(step)
                return
            settled = bool((np.abs(step) <= 4 * np.finfo(float).eps * np.abs(self.v)).all())
            # The decrement stops decreasing when it reaches the accuracy of the sums.
            stalled = decrement < SHORT and decrement > 0.5 * before
            can_end = decrement <= tol or settled or stalled
            if can_end and self.linear:
                self._end(step)
                return
            if can_end or (self.may_separate and decrement < SHORT):
                move = self.largest_move(step)
                if can_end and move <= STILL:
                    self._end(step)
                    return
                if self.may_separate and decrement < SHORT and move > LONG:
                    self._no_maximum(step)
                    return
            if not self._line_search(step):
                self.problem = "no step along the scoring direction decreases the objective"
                return
        self.problem = f"max_iter={max_iter} rounds did not reach the maximum"

    def _end(self, step: Floats) -> None:
        self.v = self.v + step
        self.converged = True

    def _has_no_information(self) -> bool:
        """Return whether the weights of all rows vanish, though columns are not 0."""
        assert self.at.information is not None
        return bool(np.any(self.reach)) and not np.diagonal(self.at.information).any()

    def _no_maximum(self, step: Floats) -> None:
        self.separated = int(np.argmax(np.abs(step) * self.reach))
        self.problem = "the likelihood has no maximum"

    def _direction(self) -> Floats:
        """Return the minimiser of the quadratic model."""
        gradient = self.at.score - self.penalty.gradient(self.v)
        information = self.at.information
        assert information is not None
        if self.has_l1:
            self.solver = _Solver(information, self.penalty)
            return _coordinate_descent(information, gradient, self.v, self.penalty)
        root = self.at.root if self.by_qr else None
        self.solver = _Solver(information, self.penalty, root, self.kept)
        if not self.by_qr and self.solver.rcond < WELL_CONDITIONED:
            self.by_qr = True
            self.at = self.evaluate(self.v, by_qr=True)
            self.solver = _Solver(information, self.penalty, self.at.root, self._all_later())
            self.kept = self.solver.kept
        return self.solver.solve(gradient)

    def _all_later(self) -> np.ndarray[Any, np.dtype[np.bool_]] | None:
        """Return None in the first round, which decides which columns depend on others.

        Later, columns only seem to depend on others, because the weights of their rows vanish.
        """
        return None if self.n_rounds == 1 else np.ones(len(self.v), dtype=bool)

    def _decrement(self, step: Floats) -> float:
        """Return the length of the step in standard errors."""
        information = self.at.information
        assert information is not None
        if self.at.root is not None:  # without the rounding errors of the squares
            square = float(np.sum((self.at.root @ step) ** 2))
        else:
            square = float(step @ (information @ step))
        square += float(step @ self.penalty.gradient(step))
        return math.sqrt(max(0.0, square / self.variance(self.at)))

    def _line_search(self, step: Floats) -> bool:
        """Halve the step until the objective decreases, up to rounding; False if it never does."""
        last = self.losses[-1]
        slope = float(step @ (self.at.score - self.penalty.gradient(self.v)))
        for _ in range(HALVINGS):
            moved = self.v + step
            new = self._sums(moved)
            if new.is_finite:
                loss = self.objective(moved, new)
                now = abs(float(step @ (new.score - self.penalty.gradient(moved))))
                # Rounding may hide the decrease of the loss; the slope along the step shows it.
                is_flatter = self.has_l1 or now <= 0.99 * abs(slope)
                if loss <= last - 0.1 * abs(slope) or (
                    loss <= last + ROUNDING * abs(last) and is_flatter
                ):
                    self.begin(moved, new)
                    return True
            step, slope = 0.5 * step, 0.5 * slope
        return False

    def _sums(self, v: Floats) -> Moments:
        if not self.linear:
            return self.evaluate(v, by_qr=self.by_qr)
        new = self.evaluate(v, with_information=False)
        return replace(new, information=self.at.information, root=self.at.root)


def _coordinate_descent(
    information: Floats, gradient: Floats, v: Floats, penalty: Penalty
) -> Floats:
    """Return the step that minimises the quadratic model with the L1 penalty.

    Friedman, Hastie & Tibshirani 2010, Journal of Statistical Software 33(1).
    """
    matrix = np.ascontiguousarray(information + penalty.matrix())
    size = np.sqrt(np.maximum(np.diagonal(matrix), 0.0))
    moved, rest = v.copy(), gradient.copy()
    floor = 4 * np.finfo(float).eps * float((np.abs(v) * size).max())
    descend(matrix, penalty.l1, moved, rest, floor)
    return moved - v
