"""What the estimators share with scikit-learn: checks of arguments, fitted attributes, warnings."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
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
from fastopt.estimators.block import Block
from fastopt.estimators.fitting import Options, Solution
from fastopt.estimators.model import Model
from fastopt.estimators.reporting import Inference
from fastopt.estimators.robust import COV_TYPES
from fastopt.estimators.sources.array import ArraySource

__all__ = ["GLMBase", "SeparationWarning"]

Floats = np.ndarray[Any, np.dtype[np.float64]]

DTYPES = (np.float64, np.float32)


class SeparationWarning(ConvergenceWarning):  # type: ignore[misc]
    """The likelihood has no maximum, because columns separate the observations.

    It keeps increasing as a coefficient grows without limit.  The coefficients are those of the
    last round.
    """


class GLMBase(Inference, BaseEstimator):  # type: ignore[misc]
    """Checks and attributes of all generalized linear models here."""

    def _options(self, y: Any = None) -> Options:
        """Return the options of the fit, or raise an error that names one."""
        Choice(("auto", "scoring"))("solver", self.solver)
        Choice(("minimum_norm", "error"))("rank_deficient", self.rank_deficient)
        Choice(COV_TYPES)("cov_type", self.cov_type)
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
            tol=Real(low=1e-15, high=1.0)("tol", self.tol),
            max_iter=Whole(1)("max_iter", self.max_iter),
            rank_deficient=self.rank_deficient,
            cov_type=self.cov_type,
            use_t=self.use_t,
            y_name=str(getattr(y, "name", None) or "y"),
            verbose=int(self.verbose),
        )

    def _read(self, X: Any, y: Any, **options: Any) -> tuple[Any, Any]:
        """Return X as float64 or float32 and y, checked as scikit-learn does."""
        found: tuple[Any, Any] = validate_data(self, X, y, dtype=DTYPES, **options)
        return found

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
            groups,
        )
        total = block.total_weight()
        if total is None or total.all():
            return block
        return block.part(np.flatnonzero(total))

    def _clusters(self, groups: Any, n: int) -> Any:
        """Return the cluster of each row, or None."""
        if (groups is None) == (self.cov_type == "cluster"):
            was = "not given" if groups is None else "given"
            raise FastoptError(
                f"groups is {was} and cov_type is {self.cov_type!r}; groups are needed for "
                "cov_type='cluster', and for no other"
            )
        found = None if groups is None else np.asarray(groups)
        if found is not None and found.shape != (n,):
            raise FastoptError(f"groups has shape {found.shape}; ({n},) is needed")
        return found

    def _source(self, block: Block) -> ArraySource:
        names = getattr(self, "feature_names_in_", None)
        return ArraySource(block, None if names is None else [str(name) for name in names])

    def _keep(self, solution: Solution) -> None:
        """Set the fitted attributes."""
        fitted = solution.fitted
        first = int(fitted.has_intercept)
        self.fitted_ = fitted
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
        yield (
            ConvergenceWarning,
            f"the fit has not converged: {solution.problem}. Increase max_iter or tol, or use "
            "alpha > 0",
        )


def weights(name: str, given: Any, x: Any) -> Floats | None:
    """Return weights as float64, or None; raise an error if one is negative or not finite."""
    if given is None:
        return None
    try:
        found: Floats = _check_sample_weight(given, x, dtype=np.float64, ensure_non_negative=True)
    except ValueError as error:
        raise FastoptError(f"{name}: {error}") from None
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


def rows_to_predict(estimator: Any, X: Any) -> Any:
    """Return X as float64 or float32, with the columns of the fit."""
    x = validate_data(estimator, X, dtype=DTYPES, reset=False)
    check_consistent_length(x)
    return x
