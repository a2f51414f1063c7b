"""What the estimators share with scikit-learn: checks of arguments, fitted attributes, warnings."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from scipy.sparse import issparse  # type: ignore[import-untyped]
from sklearn.base import BaseEstimator
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.validation import (
    _check_sample_weight,
    check_array,
    check_consistent_length,
    validate_data,
)

from fastopt._checks import Choice, Real, Whole, at_least_0, flag, fraction
from fastopt._errors import FastoptError
from fastopt.arrays.accepted import refuse_masked
from fastopt.estimators.epochs.by_epochs import ByEpochs, takes_epochs
from fastopt.estimators.epochs.steps import SOLVERS
from fastopt.estimators.inference.estimates import mean_interval
from fastopt.estimators.inference.fitted import Fitted
from fastopt.estimators.inference.reporting import Inference
from fastopt.estimators.inference.robust import COV_TYPES
from fastopt.estimators.scoring.fitting import Solution
from fastopt.estimators.scoring.model import Model
from fastopt.estimators.scoring.problem import Options
from fastopt.estimators.sources.array import ArraySource
from fastopt.estimators.sources.block import Block
from fastopt.estimators.sources.formula import Formula
from fastopt.estimators.sources.indices import require_valid
from fastopt.estimators.sources.opening import Rows, open_rows

__all__ = ["GLMBase", "SeparationWarning"]

Floats = np.ndarray[Any, np.dtype[np.float64]]

DTYPES = (np.float64, np.float32)


class SeparationWarning(ConvergenceWarning):  # type: ignore[misc]
    """The likelihood has no maximum, because columns separate the observations.

    It keeps increasing as a coefficient grows without limit.  The coefficients are those of the
    last round.
    """


class GLMBase(Inference, ByEpochs, BaseEstimator):  # type: ignore[misc]
    """Checks and attributes of all generalized linear models here."""

    _fitted_model: Model  # of the last fit, whatever the parameters are now
    _role_columns: tuple[str, ...] = ()  # columns of the fit that were y, a weight and the like
    _open_rows = staticmethod(open_rows)
    _accepts_sparse = True

    def __sklearn_is_fitted__(self) -> bool:
        # A fit that failed has set n_features_in_.
        return hasattr(self, "fitted_") or self._epochs is not None

    @contextmanager
    def _unchanged_by(self, errors: type[BaseException]) -> Iterator[None]:
        """Restore the attributes after an error of this type."""
        before = self.__dict__.copy()
        try:
            yield
        except errors:
            self.__dict__ = before
            raise

    def _options(self, y: Any = None) -> Options:
        """Return the options of the fit, or raise an error that names one."""
        Choice(("auto", "scoring", *SOLVERS))("solver", self.solver)
        Choice(("minimum_norm", "error"))("rank_deficient", self.rank_deficient)
        Choice(COV_TYPES)("cov_type", self.cov_type)
        if takes_epochs(self) and self.cov_type != "nonrobust":
            raise FastoptError(
                f"cov_type is {self.cov_type!r} and solver is {self.solver!r}; a fit by epochs has "
                "no standard errors, so cov_type='nonrobust' is needed"
            )
        if self.alpha and self.cov_type != "nonrobust":
            raise FastoptError(
                f"cov_type is {self.cov_type!r} and alpha is {self.alpha!r}; a penalised fit has "
                "no standard errors, so cov_type='nonrobust' is needed"
            )
        flag("use_t", self.use_t)
        flag("fit_intercept", self.fit_intercept)
        return Options(
            alpha=at_least_0("alpha", self.alpha),
            l1_ratio=fraction("l1_ratio", self.l1_ratio),
            tol=Real(low=1e-15, high=1.0)("tol", 1e-8 if self.tol is None else self.tol),
            max_iter=Whole(1)("max_iter", self.max_iter),
            rank_deficient=self.rank_deficient,
            cov_type=self.cov_type,
            use_t=self.use_t,
            y_name=y if isinstance(y, str) else str(getattr(y, "name", None) or "y"),
            verbose=int(self.verbose),
        )

    def _read(self, X: Any, y: Any, steps_check: bool = False, **options: Any) -> tuple[Any, Any]:
        """Return X as float64 or float32 and y, checked as scikit-learn does.

        With `steps_check`, the values and the indices of X are left to the steps of epochs.
        """
        accepted = "csr" if self._accepts_sparse else False
        refuse_masked("X", X)
        refuse_masked("y", y)
        if isinstance(y, str):
            raise FastoptError(
                f"y is {y!r}; partial_fit needs an array with a value for each row, because only "
                "`fit` takes names of columns"
            )
        if issparse(X) and not (steps_check and X.format == "csr"):
            require_valid(X)
        found: tuple[Any, Any] = validate_data(
            self,
            X,
            y,
            dtype=DTYPES,
            accept_sparse=accepted,
            ensure_all_finite=not steps_check,
            **options,
        )
        return found

    def _open(
        self, X: Any, link: str, is_fit: bool, with_y: bool = True, **given: Any
    ) -> Rows | None:
        """Return the source of data that is not an array in memory, and None for arrays.

        `given` are the other arguments of `fit`: arrays, or names of columns of X.
        """
        formula = getattr(self, "_formula", None)
        if is_fit:
            formula = None if self.formula is None else Formula(self.formula)
            if formula is not None and formula.has_intercept and not self.fit_intercept:
                raise FastoptError(
                    f"fit_intercept is False, and the formula {formula.text!r} has an intercept; "
                    "add '- 1' to the formula"
                )
        without: tuple[str, ...] = () if is_fit else self._role_columns
        opened = self._open_rows(X, given, formula, without, with_y, link)
        if is_fit:
            self._formula = formula
            self._role_columns = () if opened is None else opened.role_columns
        if opened is None:
            return None
        if formula is None:
            validate_data(self, opened.header, skip_check_array=True, reset=is_fit)
        elif is_fit:
            self.n_features_in_ = len(formula.columns)
            self.feature_names_in_ = np.array(formula.columns, dtype=object)
        return opened.rows

    def _blocks_to_predict(self, X: Any, model: Model, **shifts: Any) -> Iterator[Block]:
        """Return rows of any kind without y; `shifts` are offset and exposure."""
        rows = self._open(X, model.link, is_fit=False, with_y=False, **shifts)
        if rows is not None:
            return rows.blocks()
        x = rows_to_predict(self, X)
        shift = offsets(shifts.get("offset"), shifts.get("exposure"), x.shape[0], model)
        return iter([Block(x, np.zeros(x.shape[0]), offset=shift)])

    def _rows(
        self,
        x: Any,
        y: Floats,
        model: Model,
        sample_weight: Any = None,
        freq_weight: Any = None,
        offset: Any = None,
        exposure: Any = None,
        groups: Any = None,
    ) -> Block:
        """Return the rows of a positive weight."""
        block = Block(
            x,
            y,
            weights("sample_weight", sample_weight, x),
            offsets(offset, exposure, len(y), model),
            weights("freq_weight", freq_weight, x),
            clusters(groups, len(y)),
        )
        total = block.total_weight()
        if total is None or total.all():
            return block
        return block.part(np.flatnonzero(total))

    def _require_groups(self, groups: Any) -> None:
        """Raise an error if there are groups that are not needed, or none that are."""
        if (groups is None) == (self.cov_type == "cluster"):
            was = "not given" if groups is None else "given"
            raise FastoptError(
                f"groups is {was} and cov_type is {self.cov_type!r}; groups are needed for "
                "cov_type='cluster', and for no other"
            )

    def _source(self, block: Block) -> ArraySource:
        names = getattr(self, "feature_names_in_", None)
        return ArraySource(block, None if names is None else [str(name) for name in names])

    def _keep(self, solution: Solution) -> None:
        """Set the fitted attributes."""
        fitted = solution.fitted
        first = int(fitted.has_intercept)
        self.fitted_ = fitted
        self._epochs = None
        self.coef_ = fitted.coef[first:].copy()
        self.intercept_: Any = float(fitted.coef[0]) if first else 0.0
        self.n_iter_ = fitted.n_iter
        self.converged_ = fitted.converged
        self.loss_curve_ = list(solution.losses)
        self.dependent_ = solution.dependent


def warn_of_problems(solution: Solution) -> None:
    """Warn of what the user of a fit should know."""
    for category, text in _problems(solution):
        warnings.warn(text, category, stacklevel=3)


def _problems(solution: Solution) -> Iterator[tuple[type[Warning], str]]:
    if solution.separated is not None:
        yield (
            SeparationWarning,
            f"the likelihood has no maximum: it keeps increasing as the coefficient of "
            f"{solution.separated!r} grows (separation). Its coefficient and standard error are "
            "not meaningful; leave the column out, or use alpha > 0",
        )
    elif solution.problem:
        advice = ". Increase max_iter or tol, or use alpha > 0"
        if solution.problem.startswith("interrupted"):
            advice = "; the coefficients are those of the last complete round"
        yield (
            ConvergenceWarning,
            f"the fit has not converged: {solution.problem}{advice}",
        )
    if solution.no_covariance:
        yield (
            RuntimeWarning,
            f"the pass for the covariance of type {solution.fitted.cov_type} was interrupted: "
            "standard errors are NaN; the coefficients do not depend on it",
        )


def weights(name: str, given: Any, x: Any) -> Floats | None:
    """Return weights as float64, or None; raise an error if one is negative or not finite."""
    if given is None:
        return None
    refuse_masked(name, given)
    try:
        found: Floats = _check_sample_weight(given, x, dtype=np.float64, ensure_non_negative=True)
    except ValueError as error:
        raise FastoptError(f"{name}: {error}") from None
    return found


def clusters(groups: Any, n: int) -> Any:
    """Return the cluster of each row, or None."""
    found = None if groups is None else np.asarray(groups)
    if found is not None and found.shape != (n,):
        raise FastoptError(f"groups has shape {found.shape}; ({n},) is needed")
    return found


def offsets(offset: Any, exposure: Any, n: int, model: Model) -> Floats | None:
    """Return the offset plus the logarithm of the exposure, or None."""
    total: Floats | None = None
    if offset is not None:
        total = np.array(
            check_array(offset, ensure_2d=False, dtype=np.float64, input_name="offset")
        )
    if exposure is not None:
        if model.link != "log":
            raise FastoptError(f"exposure needs the log link; the link is {model.link!r}")
        given = check_array(exposure, ensure_2d=False, dtype=np.float64, input_name="exposure")
        if not (given > 0).all():
            raise FastoptError(f"exposure has {given.min()}; allowed: > 0")
        total = np.log(given) if total is None else total + np.log(given)
    if total is not None and total.shape != (n,):
        raise FastoptError(f"offset or exposure has shape {total.shape}; ({n},) is needed")
    return total


def linear_predictor(
    estimator: Any, X: Any, model: Model, offset: Any = None, exposure: Any = None
) -> Floats:
    """Return the linear predictors of data of any kind, a column for each row of ``coef_``."""
    blocks = estimator._blocks_to_predict(X, model, offset=offset, exposure=exposure)
    return np.concatenate(
        [predictor_of(block, estimator.coef_, estimator.intercept_) for block in blocks]
    )


def intervals(
    blocks: Iterator[Block], fitted: Fitted, level: float
) -> tuple[Floats, Floats, Floats]:
    """Return the means of the rows of blocks, and the ends of their confidence intervals."""
    parts = [mean_interval(block, fitted, level) for block in blocks]
    mean, lower, upper = (np.concatenate(part) for part in zip(*parts, strict=True))
    return mean, lower, upper


def predictor_of(block: Block, coef: Floats, intercept: Any) -> Floats:
    """Return the linear predictors of a block."""
    z: Floats = block.x @ coef.T + intercept
    if block.offset is not None:
        z += block.offset if z.ndim == 1 else block.offset[:, None]
    return z


def rows_to_predict(estimator: Any, X: Any) -> Any:
    """Return X as float64 or float32, with the columns of the fit."""
    accepted = "csr" if estimator._accepts_sparse else False
    refuse_masked("X", X)
    if issparse(X):
        require_valid(X)
    x = validate_data(estimator, X, dtype=DTYPES, accept_sparse=accepted, reset=False)
    check_consistent_length(x)
    return x
