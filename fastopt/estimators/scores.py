"""`score` of regressors and of classifiers, for rows of any kind."""

from __future__ import annotations

import warnings
from functools import partial
from typing import Any

import numpy as np
from sklearn.base import ClassifierMixin, RegressorMixin
from sklearn.exceptions import UndefinedMetricWarning
from sklearn.utils.validation import check_is_fitted

from fastopt.estimators.base import GLMBase, predictor_of
from fastopt.estimators.scoring.fitting import null_deviance
from fastopt.estimators.scoring.model import Model
from fastopt.estimators.sources.block import Block
from fastopt.estimators.sources.labels import class_indices
from fastopt.estimators.sources.source import Source, reduced

__all__ = ["ClassifierScore", "RegressorScore", "decisions", "most_probable", "rows_again"]

Array = np.ndarray[Any, np.dtype[Any]]
Floats = np.ndarray[Any, np.dtype[np.float64]]

ROUNDING = 1e-14  # of a null deviance beside that of the fit


class RegressorScore(RegressorMixin, GLMBase):  # type: ignore[misc]
    """A regressor, whose score is the fraction of the deviance that is explained."""

    def score(
        self,
        X: Any,
        y: Any = None,
        sample_weight: Any = None,
        offset: Any = None,
        exposure: Any = None,
    ) -> float:
        """Return D^2, the fraction of the deviance that is explained.

        D^2 = 1 - deviance / null deviance, where the null model has an intercept (and the offset)
        only, fitted to these rows.  For the gaussian family this is R^2.

        Parameters
        ----------
        X, y, sample_weight, offset, exposure
            As for `fit`.

        Returns
        -------
        float
            At most 1.  0 if all y are equal, or 1 if all are predicted exactly, and NaN with a
            warning for one row, as for R^2 in scikit-learn.
        """
        check_is_fitted(self)
        model = self._fitted_model
        per_row = dict(sample_weight=sample_weight, offset=offset, exposure=exposure)
        source = rows_again(self, X, y, **per_row)
        null = null_deviance(source, model)
        total, n = reduced(source, partial(_deviance, model, self.coef_, self.intercept_))
        if n < 2:
            warnings.warn("D^2 is not defined for one row", UndefinedMetricWarning, stacklevel=2)
            return float("nan")
        if total and null <= ROUNDING * total:  # all y are equal, and not predicted
            return 0.0
        return float(1.0 - total / null) if total else 1.0


class ClassifierScore(ClassifierMixin, GLMBase):  # type: ignore[misc]
    """A classifier, whose score is the accuracy."""

    @property
    def _half(self) -> float | None:
        """The linear predictor of a probability of 1/2; None for more than two classes."""
        return None if len(self.classes_) > 2 else float(self._fitted_model.predictor(0.5))

    def score(self, X: Any, y: Any = None, sample_weight: Any = None, offset: Any = None) -> float:
        """Return the accuracy: the weighted fraction of rows whose class is predicted.

        Parameters
        ----------
        X, y, sample_weight, offset
            As for `fit`.

        Returns
        -------
        float
        """
        check_is_fitted(self)
        self._refuse_offset(offset)
        per_row = dict(sample_weight=sample_weight, offset=offset)
        rows = self._open(X, self._fitted_model.link, is_fit=False, y=y, **per_row)
        if rows is None:
            from sklearn.metrics import accuracy_score  # 5 MB, as in scikit-learn's mixin

            return float(accuracy_score(y, self.predict(X, offset), sample_weight=sample_weight))
        source = rows.with_target(class_indices(self.classes_, strict=False))
        right, total = reduced(source, partial(_right, self.coef_, self.intercept_, self._half))
        return float(right / total)


def rows_again(estimator: Any, X: Any, y: Any, **per_row: Any) -> Source:
    """Return a source of rows with y, read as those of the fit.

    Parameters
    ----------
    estimator : estimator
        A regressor that is fitted.
    X, y, **per_row
        As for `fit`.

    Returns
    -------
    Source
    """
    model = estimator._fitted_model
    rows: Source | None = estimator._open(X, model.link, is_fit=False, y=y, **per_row)
    if rows is not None:
        return rows
    x, y = estimator._read(X, y, y_numeric=True, reset=False)
    found: Source = estimator._source(
        estimator._rows(x, y.astype(float, copy=False), model, **per_row)
    )
    return found


def _deviance(model: Model, coef: Floats, intercept: float, block: Block) -> Floats:
    """Return the deviance of the rows of a block, and their number."""
    model.kind.require_domain(block.y)
    deviance = model.observe(block.y, predictor_of(block, coef, intercept)).deviance
    weight = block.total_weight()
    return np.array([deviance.sum() if weight is None else deviance @ weight, block.n])


def decisions(z: Floats, half: float | None) -> Floats:
    """Return linear predictors, for two classes as a vector that is 0 where both are as probable.

    Parameters
    ----------
    z : array of shape (n, n_equations)
    half : float or None
        The predictor of a probability of 1/2; None for more than two classes.

    Returns
    -------
    array of shape (n,) or (n, n_classes)
    """
    return z if half is None else z[:, 0] - half


def most_probable(z: Floats, half: float | None) -> Array:
    """Return the index of the class of each row.

    Parameters
    ----------
    z, half
        As for `decisions`.

    Returns
    -------
    array of shape (n,)
    """
    decision = decisions(z, half)
    return (decision > 0).astype(int) if half is not None else decision.argmax(axis=1)


def _right(coef: Floats, intercept: Floats, half: float | None, block: Block) -> Floats:
    """Return the weight of the rows of a block whose class is predicted, and of all."""
    is_right = most_probable(predictor_of(block, coef, intercept), half) == block.y
    weight = np.ones(block.n) if block.weight is None else block.weight
    return np.array([weight @ is_right, weight.sum()])
