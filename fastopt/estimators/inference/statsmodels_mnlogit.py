"""A multinomial fit as statsmodels' MultinomialResults, without rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from statsmodels.base.model import LikelihoodModelResults
from statsmodels.discrete import discrete_model as sm

from fastopt._errors import FastoptError
from fastopt.estimators.inference.estimates import require_likelihood
from fastopt.estimators.inference.fitted import Fitted
from fastopt.estimators.inference.statsmodels_results import (
    design_of,
    names_of,
    needs_rows,
    number,
    set_covariance,
    without_rows,
)
from fastopt.estimators.sources.block import Block

__all__ = ["MNLogit", "MultinomialResults", "results_of", "results_with_rows"]


def column_names(fitted: Fitted) -> list[str]:
    """Return the names of the columns, without those of the classes.

    Parameters
    ----------
    fitted : Fitted

    Returns
    -------
    list of str
    """
    width = len(fitted.coef) // fitted.n_equations
    return [name.removesuffix(f"[{fitted.classes[1]}]") for name in fitted.names[:width]]


def params_of(fitted: Fitted) -> Any:
    """Return the coefficients as statsmodels has them: a column for each class but the first.

    Parameters
    ----------
    fitted : Fitted

    Returns
    -------
    array of shape (p, n_classes - 1)
    """
    return fitted.coef.reshape(fitted.n_equations, -1).T.copy(order="F")


class MNLogit(sm.MNLogit):  # type: ignore[misc]
    """statsmodels' MNLogit without rows: names, classes and degrees of freedom.

    Parameters
    ----------
    fitted : Fitted
    """

    def __init__(self, fitted: Fitted) -> None:
        self.data = names_of(fitted, column_names(fitted))
        self.k_constant = self.data.k_constant
        self.J, self.K = len(fitted.classes), len(self.data.xnames)
        self._ynames_map = dict(enumerate(fitted.classes))
        self.data.cov_names = pd.MultiIndex.from_product(
            (fitted.classes[1:], self.data.xnames), names=(fitted.y_name, None)
        )
        self.exog, self.endog = np.empty((0, self.K)), np.empty(0)
        self.wendog = np.empty((0, self.J))
        self.nobs, self.df_model, self.df_resid = fitted.n, fitted.df_model, fitted.df_resid


class MultinomialResults(sm.MultinomialResults):  # type: ignore[misc]
    """statsmodels' MultinomialResults from coefficients, their covariance and two sums.

    Parameters
    ----------
    fitted : Fitted
        Of several classes, without a penalty.

    Raises
    ------
    FastoptError
        The fit has a penalty.
    """

    def __init__(self, fitted: Fitted) -> None:
        require_likelihood(fitted)
        inverse = fitted.original(fitted.inverse)
        LikelihoodModelResults.__init__(self, MNLogit(fitted), params_of(fitted), inverse, 1.0)
        self._fitted = fitted
        self._cache: dict[str, Any] = {}
        self.method, self.nobs, self.J, self.K = "MLE", fitted.n, self.model.J, self.model.K
        self.df_model, self.df_resid = fitted.df_model, fitted.df_resid
        self.converged = fitted.converged
        self.mle_retvals = {"converged": fitted.converged, "iterations": fitted.n_iter}
        set_covariance(self, fitted)

    llf = number("llf")
    llnull = number("llnull")
    fittedvalues = without_rows("fittedvalues")
    resid_response = without_rows("resid_response")
    resid_pearson = without_rows("resid_pearson")
    resid_misclassified = without_rows("resid_misclassified")

    def remove_data(self) -> None:
        """Do nothing: there are no rows."""

    score_test = get_influence = get_margeff = pred_table = needs_rows


def results_of(fitted: Fitted) -> Any:
    """Return a multinomial fit as statsmodels' results without rows.

    Parameters
    ----------
    fitted : Fitted

    Returns
    -------
    statsmodels.discrete.discrete_model.MultinomialResultsWrapper
    """
    return sm.MultinomialResultsWrapper(MultinomialResults(fitted))


def results_with_rows(fitted: Fitted, rows: Block) -> Any:
    """Return a multinomial fit as statsmodels' results over given rows.

    Parameters
    ----------
    fitted : Fitted
    rows : Block
        All rows of the fit, without weights.

    Returns
    -------
    statsmodels.discrete.discrete_model.MultinomialResultsWrapper
        It refers to the rows.

    Raises
    ------
    FastoptError
        There are weights, which MNLogit does not have; or the number of rows or of columns is not
        that of the fit.
    """
    require_likelihood(fitted)
    if rows.total_weight() is not None:
        raise FastoptError("statsmodels' MNLogit has no weights; use to_statsmodels()")
    exog = pd.DataFrame(design_of(fitted, rows), columns=column_names(fitted))
    labels = pd.Categorical.from_codes(rows.y.astype(int), list(fitted.classes))
    model = sm.MNLogit(pd.Series(labels, name=fitted.y_name), exog)
    inverse = fitted.original(fitted.inverse)
    maximum = LikelihoodModelResults(model, params_of(fitted), inverse, 1.0)
    maximum.mle_retvals = {"converged": fitted.converged, "iterations": fitted.n_iter}
    results = sm.MultinomialResults(model, maximum)
    set_covariance(results, fitted)
    return sm.MultinomialResultsWrapper(results)
