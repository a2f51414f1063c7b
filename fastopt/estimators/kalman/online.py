"""A filter of rows with an intercept, whose first rows determine its prior: `OnlineFilter`."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from fastopt._errors import FastoptError
from fastopt.estimators.base import SeparationWarning
from fastopt.estimators.inference.fitted import Fitted
from fastopt.estimators.scoring.model import Model
from fastopt.estimators.sources.block import Block
from fastopt.estimators.sources.interleaved import joined
from fastopt.kalman import KalmanSGD, diagnostics, starting
from fastopt.kalman.covariance.qr import Information
from fastopt.kalman.data import RowsToFit, checked_rows
from fastopt.kalman.rows import absorb_few_rows, absorb_rows, is_separated
from fastopt.kalman.state import State

__all__ = ["OnlineFilter"]

Array = np.ndarray[Any, np.dtype[Any]]
Floats = np.ndarray[Any, np.dtype[np.float64]]

AT_ONCE = 2**20  # elements of X that are copied at a time
AGREEMENT = (0.8, 1.25)  # the range of Fisher's information / that of the filter
DETERMINED = 1e-3  # tr(M L0): below, the weak prior L0 can be removed
NO_PULL = 1e-20  # squared standard errors that the prior may move the coefficients
SAMPLE = 2048  # rows for the comparison of these two

ORDER = (
    "the information that the filter gained from the rows is {ratio:.2g} of Fisher's, so that "
    "stderr_ is not right and coef_ can be many standard errors from the maximum of the "
    "likelihood; this happens to rows in an order that depends on y, and to labels that are nearly "
    "separated; shuffle the rows, or use GLMRegressor or GLMClassifier, which find the maximum in "
    "any order"
)
SORTED = (
    "{}, and shuffle is False; one pass over rows in this order can end far from the maximum of "
    "the likelihood; shuffle them, or use GLMRegressor or GLMClassifier, which find it in any order"
)
SEPARATED = (
    "the coefficients predict every label (complete separation): the likelihood has no maximum, "
    "and the prior m0 determines the size of the coefficients"
)


def _copied(block: Block) -> Block:
    """Return what a filter reads of a block, in new arrays."""
    weight = block.total_weight()
    return Block(
        block.x.copy(),
        block.y.copy(),
        None if weight is None else weight.copy(),
        None if block.offset is None else block.offset.copy(),
    )


class OnlineFilter:
    """Coefficients of a generalized linear model and their covariance, from rows as they come.

    The filter absorbs the rows (1, x - shift), where the shift is the mean of the first rows: a
    constant that is added to a column costs no digits.  The first rows also determine the prior,
    as of ``KalmanSGD(m0=None)``.  They are kept until there are as many as one call of
    `KalmanSGD.partial_fit` would use, and the filter starts again from all of them whenever their
    number has doubled.  So the result is the same, up to rounding, for rows that come one by one
    and for rows that come together.

    With any other ``m0``, or only a diagonal or blocks of the covariance, the shift is 0 and no row
    is kept.

    Parameters
    ----------
    n_features : int
    model : Model
    **options
        Of `KalmanSGD`.  A vector or matrix `m0`, and blocks, have the intercept first.
    """

    def __init__(self, n_features: int, model: Model, **options: Any) -> None:
        self.n_features = n_features
        self.model = model
        self.options = options
        self.shift: Floats = np.zeros(n_features)
        self.filter = self._new()
        centres = model.fit_intercept and self._state.options.chooses_start
        self._first: list[Block] | None = [] if self._state.options.chooses_start else None
        self._centres = centres
        self._again = 1  # the filter starts again at this number of first rows

    def _new(self) -> KalmanSGD:
        return KalmanSGD(self.n_features + self.model.fit_intercept, **self.options)

    @property
    def _state(self) -> State:
        return self.filter._state

    # Absorbing rows

    def absorb_few(self, x: object, y: object) -> bool:
        """Absorb few rows in little time; return False if that cannot be done.

        Parameters
        ----------
        x : object
            A C-ordered array of float64 or float32 and shape (n, n_features); other objects give
            False, and so do too many rows, or values that are not allowed.
        y : object
            An array of float64.

        Returns
        -------
        bool
            Whether they are absorbed, as `absorb` does it.
        """
        if self._first is not None:
            return False
        k = self.filter
        with k._one_thread:
            return absorb_few_rows(k._state, x, y, self.shift, self.model.fit_intercept)

    def absorb(self, rows: Block, new_pass: bool = False, warn: bool = True) -> None:
        """Absorb checked rows.

        Parameters
        ----------
        rows : Block
        new_pass : bool
            Whether a new pass over the same data begins with these rows.
        warn : bool
            Whether to give the warnings of `KalmanSGD.partial_fit`.

        Raises
        ------
        FastoptError
            An observation outside the range of the family; the rows before it are absorbed.
        """
        if not rows.n:
            return
        if new_pass:
            self._first = None
        first = self._first
        if first is None:
            self._absorb_parts(rows, new_pass, warn)
            return
        most = self.most_first_rows
        n = sum(each.n for each in first) + rows.n
        if n >= self._again:
            kept = joined([*first, rows])
            self._restart(kept.part(slice(most)), warn and not first)
            if n > most:
                self._first = None
                self._absorb_parts(kept.part(slice(most, None)), False, warn)
                return
            self._first = [_copied(kept)] if n < most else None
            self._again = min(2 * n, most)
        else:
            self._absorb_parts(rows, False, warn)
            first.append(_copied(rows))

    @property
    def most_first_rows(self) -> int:
        """The number of first rows that determine the prior."""
        return starting.most_rows(self._state, self.model.family)

    def _restart(self, rows: Block, warn: bool) -> None:
        """Replace the filter by one of these rows only; a failure changes nothing."""
        before = self.filter, self.shift
        try:
            self.filter = self._new()
            if self._centres:
                with np.errstate(over="ignore", invalid="ignore"):
                    mean = _mean(rows)
                self.shift = np.where(np.isfinite(mean), mean, 0.0)
            self._absorb_parts(rows, False, warn)
        except BaseException:
            self.filter, self.shift = before
            raise

    def _absorb_parts(self, rows: Block, new_pass: bool, warn: bool) -> None:
        at_once = max(self.most_first_rows, AT_ONCE // self.filter.n_params)
        for start in range(0, rows.n, at_once):
            part = rows.part(slice(start, start + at_once))
            x = self.design(part.x)
            now = new_pass and start == 0
            if warn:
                shape = self.model.shape if self.model.family == "negative_binomial" else None
                self.filter.partial_fit(
                    x,
                    part.y,
                    self.model.family,
                    self.model.link,
                    part.total_weight(),
                    offset=part.offset,
                    alpha=shape,
                    new_pass=now,
                )
            else:
                with self.filter._one_thread:
                    checked = self._checked(part, x, now)
                    absorb_rows(self._state, checked)
                    is_separated(self._state, checked)

    def _checked(self, rows: Block, x: Floats, new_pass: bool = False) -> RowsToFit:
        model = self.model
        shape = model.shape if model.family == "negative_binomial" else None
        return checked_rows(
            self._state,
            x,
            rows.y,
            model.family,
            model.link,
            rows.total_weight(),
            rows.offset,
            shape,
            new_pass,
        )

    def design(self, x: Array) -> Array:
        """Return the rows that the filter absorbs.

        Parameters
        ----------
        x : array of shape (n, n_features)

        Returns
        -------
        array of shape (n, n_features), or (n, n_features + 1) with an intercept
        """
        if not self.model.fit_intercept:
            return x
        rows = np.empty((len(x), self.n_features + 1), order="C")
        rows[:, 0] = 1.0
        np.subtract(x, self.shift, out=rows[:, 1:])
        return rows

    # Results

    @property
    def n_obs(self) -> int:
        """The number of rows absorbed."""
        return self.filter.n_obs

    def coef(self) -> Floats:
        """Return the coefficients, the intercept first if there is one.

        Those of least squares are without the pull of the weak prior, as far as the rows determine
        them.

        Returns
        -------
        array of shape (n_features,) or (n_features + 1,)
        """
        w = self.filter.coef
        prior = self._weak_prior()
        if prior is not None:
            moved = w - self._state.origin[0]
            # A bound of the squared distance that the prior pulls, in units of M.
            pulled = float(moved @ (prior * moved)) * float(prior @ self._state.form.variances())
            if pulled > NO_PULL * self.dispersion:
                w += self._state.form.covariance() @ (prior * moved)
        if self.model.fit_intercept:
            w[0] -= self.shift @ w[1:]
        return w

    def _weak_prior(self) -> Floats | None:
        """Return the precisions of the prior of least squares; None where they cannot be removed.

        With the prior L0, M^-1 = X'X + L0 and M^-1 w = X'y + L0 w0.  Without it, up to the square
        of M L0, the coefficients are w + M L0 (w - w0), with the covariance M + M L0 M.  Directions
        that the rows do not determine have a large M L0.
        """
        state = self._state
        if not (state.options.chooses_start and state.history.is_linear and state.n_obs):
            return None
        prior: Floats = 1.0 / state.origin[1]
        return prior if float(prior @ state.form.variances()) < DETERMINED else None

    @property
    def dispersion(self) -> float:
        """The dispersion; for least squares without the part that the weak prior adds.

        The sum of the innovations is that of the squared residuals, plus (w - w0)' M0^-1 (w - w0).
        """
        state = self._state
        found = float(self.filter.dispersion)
        if not (state.options.chooses_start and state.history.is_linear and np.isfinite(found)):
            return found
        total = state.form.counts[2]
        moved = state.form.coef() - state.origin[0]
        added = float(moved @ (moved / state.origin[1]))
        return found * max(0.0, 1.0 - added / total) if total > 0 else found

    def covariance(self) -> Floats:
        """Return the covariance of `coef`, times the dispersion.

        Returns
        -------
        array of shape (p, p)
        """
        m = self._centred_covariance()
        if self.shift.any():
            m[0] -= self.shift @ m[1:]
            m[:, 0] -= m[:, 1:] @ self.shift
        return m * self.dispersion

    def _centred_covariance(self) -> Floats:
        """Return the covariance of the filter's coefficients for a dispersion of 1."""
        m = self.filter.covariance(scaled=False)
        prior = self._weak_prior()
        if prior is not None:
            m += (m * prior) @ m
        return m * max(1, self.filter.n_passes)

    def stderr(self) -> Floats:
        """Return the standard errors of `coef`.

        Returns
        -------
        array of shape (p,)

        Raises
        ------
        FastoptError
            The covariance is no longer positive definite, by rounding.
        """
        prior = self._weak_prior()
        errors = self.filter.stderr
        if prior is None and not self.shift.any():
            return errors
        m = self.filter.covariance(scaled=False)
        variances = np.diagonal(m).copy()
        along = m[0] - self.shift @ m[1:] if self.model.fit_intercept else m[0]
        if self.model.fit_intercept:
            variances[0] = along[0] - self.shift @ along[1:]
        if prior is not None:
            variances += (m * m) @ prior
            if self.model.fit_intercept:
                variances[0] += (along * along - m[0] * m[0]) @ prior
        return np.sqrt(variances * (self.dispersion * max(1, self.filter.n_passes)))

    def fitted(self, feature_names: Sequence[str] | None, y_name: str = "y") -> Fitted:
        """Return the coefficients with what inference needs; the filter has no likelihood.

        Parameters
        ----------
        feature_names : sequence of str or None
            Default x1, x2, ...
        y_name : str

        Returns
        -------
        Fitted
            With NaN for the likelihoods, the deviances and Pearson's chi-squared.
        """
        k, model = self.filter, self.model
        passes, first, p = max(1, k.n_passes), int(model.fit_intercept), k.n_params
        names = feature_names
        if names is None:
            names = [f"x{j + 1}" for j in range(self.n_features)]
        inverse = self._centred_covariance()
        n, nothing = k.n_obs // passes, math.nan
        return Fitted(
            coef=self.coef(),
            names=("const",) * first + tuple(map(str, names)),
            family=model.family,
            link=model.link,
            information=np.asarray(np.linalg.pinv(inverse, hermitian=True)),
            inverse=inverse,
            center=np.concatenate([[0.0], self.shift]) if first else None,
            scale=self.dispersion,
            n=n,
            n_effective=float(n),
            weight_sum=float(n),
            deviance=nothing,
            null_deviance=nothing,
            llf=nothing,
            llnull=nothing,
            pearson_chi2=nothing,
            df_model=p - 1,
            df_resid=float(n - p),
            n_iter=passes,
            converged=True,
            shape=model.shape,
            has_intercept=bool(first),
            y_name=y_name,
        )

    def warn_of_sorted_rows(self, y: Floats) -> bool:
        """Warn if a new filter will absorb rows in an order that depends on y.

        Parameters
        ----------
        y : array of shape (n,)

        Returns
        -------
        bool
            Whether there was a warning.
        """
        model, nothing = self.model, np.empty((0, 0))
        rows = RowsToFit(nothing, y, None, None, model.kind, model.link, model.shape, False)
        found = diagnostics.order_of(self._state, rows)
        if found:
            warnings.warn(SORTED.format(found), stacklevel=4)
        return bool(found)

    def warn_of_order(self, sample: Block, n: int) -> None:
        """Warn if the result cannot be trusted because of the order of the rows, or separation.

        Fisher's information at the final coefficients and that which the filter gained must agree.

        Parameters
        ----------
        sample : Block
            Some of the rows, regularly spaced.
        n : int
            The number of all rows, in all passes.
        """
        state = self._state
        rows = self._checked(sample, self.design(sample.x))
        if state.history.separable and rows.family.name == "binomial":
            if state.n_obs > 2 * self.filter.n_params:
                warnings.warn(SEPARATED, SeparationWarning, stacklevel=4)
            return
        if not diagnostics.can_compare(state, rows):
            return
        ratio = diagnostics.information_ratio(state, rows, None) * n / sample.n
        if not AGREEMENT[0] <= ratio <= AGREEMENT[1]:
            warnings.warn(ORDER.format(ratio=1 / ratio), stacklevel=4)

    # Merging

    def merge(self, other: OnlineFilter) -> None:
        """Add everything that another filter has absorbed.

        Parameters
        ----------
        other : OnlineFilter

        Raises
        ------
        FastoptError
            The models or options differ, or there is no exact sum, as in `KalmanSGD.merge`.
        """
        if self.model != other.model or self.n_features != other.n_features:
            raise FastoptError(
                f"the estimators differ: {self.model} of {self.n_features} features, and "
                f"{other.model} of {other.n_features}"
            )
        if other._first is not None:  # its rows are known
            for rows in other._first:
                self.absorb(rows, warn=False)
        elif self._first is not None:
            own, taken = self._first, other.copy()
            for rows in own:
                taken.absorb(rows, warn=False)
            self.__dict__.update(taken.__dict__)
        else:
            theirs = other.filter
            if self.model.fit_intercept:
                theirs = _moved(theirs, _translation(self.shift - other.shift))
            self.filter.merge(theirs)

    def copy(self) -> OnlineFilter:
        """Return an independent copy.

        Returns
        -------
        OnlineFilter
        """
        copied = OnlineFilter.__new__(OnlineFilter)
        copied.__dict__.update(self.__dict__)
        copied.filter = self.filter.copy()
        copied._first = None if self._first is None else list(self._first)
        return copied


def _mean(rows: Block) -> Floats:
    """Return the weighted mean of each column; NaN if all weights are 0."""
    x = np.asarray(rows.x, dtype=np.float64)
    weight = rows.total_weight()
    total = rows.n if weight is None else weight.sum()
    sums: Floats = x.sum(axis=0) if weight is None else weight @ x
    return sums / (total if total > 0 else np.nan)


def _translation(by: Floats) -> Floats:
    """Return T, with (1, x)'T w = (1, x + by)'w for any x and w: T w moves the origin of x."""
    t = np.eye(len(by) + 1)
    t[0, 1:] = by
    return t


def _moved(k: KalmanSGD, t: Floats) -> KalmanSGD:
    """Return a filter of the coefficients T w, for a unit upper triangle T."""
    new = k.copy()
    state = new._state
    if isinstance(state.form, Information):
        root = state.form.root.copy(order="F")
        root[:-1, :-1] = np.triu(root[:-1, :-1] @ np.linalg.inv(t))
        state.form.restore({"root": root, "correction": t @ state.form.correction})
        return new
    w, m = state.form.coef(), state.form.covariance()
    start = state.origin[1]
    form = state.options.make_form(t @ w, _symmetric(t @ m @ t.T))
    form.counts = state.form.counts
    state.form = form
    square = np.diag(start) if start.ndim == 1 else start
    state.origin = t @ state.origin[0], _symmetric(t @ square @ t.T)
    return new


def _symmetric(m: Floats) -> Floats:
    full: Floats = np.tril(m) + np.tril(m, -1).T
    return full
