"""A fit as statsmodels' GLMResults, without rows.

statsmodels prints, tests and predicts from coefficients, their covariance and a few sums.  `GLM`
here has names, family and numbers of rows but no data, so results are small, can be pickled, and do
not keep the data alive.  What needs rows, such as residuals, raises an error that says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from statsmodels.base.covtype import descriptions
from statsmodels.base.data import PandasData
from statsmodels.base.model import LikelihoodModelResults
from statsmodels.genmod import generalized_linear_model as sm
from statsmodels.genmod.families import family as families
from statsmodels.genmod.families import links

from fastopt._errors import FastoptError
from fastopt.estimators.inference.estimates import require_likelihood
from fastopt.estimators.inference.fitted import Fitted
from fastopt.estimators.sources.block import Block

__all__ = ["GLM", "GLMResults", "results_of", "results_with_rows"]

FAMILIES: dict[str, Any] = {
    "gaussian": families.Gaussian,
    "binomial": families.Binomial,
    "poisson": families.Poisson,
    "gamma": families.Gamma,
    "inverse_gaussian": families.InverseGaussian,
    "negative_binomial": families.NegativeBinomial,
    "tweedie": families.Tweedie,
}
LINKS = {
    "identity": links.Identity,
    "logit": links.Logit,
    "probit": links.Probit,
    "cloglog": links.CLogLog,
    "log": links.Log,
    "inverse": links.InversePower,
    "inverse_squared": links.InverseSquared,
}
SHAPES = {"negative_binomial": "alpha", "tweedie": "var_power"}
NONROBUST = (
    "Standard Errors assume that the covariance matrix of the errors is correctly specified."
)
NO_ROWS = "this result has no rows; to_statsmodels(X, y) returns one that has them"


def family_of(fitted: Fitted) -> Any:
    """Return statsmodels' family with its link.

    Parameters
    ----------
    fitted : Fitted

    Returns
    -------
    statsmodels.genmod.families.Family
    """
    shape = {SHAPES[fitted.family]: fitted.shape} if fitted.family in SHAPES else {}
    return FAMILIES[fitted.family](link=LINKS[fitted.link](), **shape)


class GLM(sm.GLM):  # type: ignore[misc]
    """statsmodels' GLM without rows: family, names and degrees of freedom.

    Parameters
    ----------
    fitted : Fitted
    """

    def __init__(self, fitted: Fitted) -> None:
        self.family = family_of(fitted)
        self.data = names_of(fitted, fitted.names)
        self.k_constant = self.data.k_constant
        self.exog, self.endog = np.empty((0, len(fitted.coef))), np.empty(0)
        self.nobs, self.wnobs = fitted.n, fitted.n_effective
        self.df_model, self.df_resid = fitted.df_model, fitted.df_resid
        self.scale, self.scaletype = fitted.scale, None
        self.freq_weights = self.var_weights = self.iweights = self.n_trials = np.ones(0)
        self._has_freq_weights = self._has_var_weights = False
        self._has_offset, self._has_exposure = fitted.has_offset, False
        self.offset, self._offset_exposure = 0.0, 0.0


def names_of(fitted: Fitted, names: Sequence[str]) -> PandasData:
    """Return statsmodels' record of a data frame, with names and without data.

    Parameters
    ----------
    fitted : Fitted
    names : sequence of str
        Of the columns.

    Returns
    -------
    PandasData
    """
    data = PandasData.__new__(PandasData)
    data._cache = {}
    data.xnames, data.ynames = list(names), fitted.y_name
    data.const_idx = 0 if fitted.has_intercept else None
    data.k_constant = int(fitted.has_intercept)
    return data


def without_rows(name: str) -> property:
    """Return a property that raises an error, because its value needs rows.

    Parameters
    ----------
    name : str

    Returns
    -------
    property
    """

    def fail(_: Any) -> Any:
        raise FastoptError(f"{name}: {NO_ROWS}")

    return property(fail, doc=f"An error: {name} needs rows.")


def number(name: str) -> property:
    """Return a property of results whose value is an attribute of their `Fitted`.

    Parameters
    ----------
    name : str

    Returns
    -------
    property
    """
    return property(lambda self: getattr(self._fitted, name), doc=f"`Fitted.{name}`.")


def needs_rows(*_: Any, **__: Any) -> Any:
    """Raise an error: there are no rows.

    Raises
    ------
    FastoptError
    """
    raise FastoptError(NO_ROWS)


class GLMResults(sm.GLMResults):  # type: ignore[misc]
    """statsmodels' GLMResults from coefficients, their covariance and five sums.

    Parameters
    ----------
    fitted : Fitted
        Without a penalty.

    Raises
    ------
    FastoptError
        The fit has a penalty.
    """

    def __init__(self, fitted: Fitted) -> None:
        require_likelihood(fitted)
        inverse = fitted.original(fitted.inverse)
        LikelihoodModelResults.__init__(self, GLM(fitted), fitted.coef, inverse, fitted.scale)
        self._fitted = fitted
        self.family = self.model.family
        self._cache: dict[str, Any] = {}
        self._n_trials = 1
        self.nobs, self.df_model, self.df_resid = fitted.n, fitted.df_model, fitted.df_resid
        self.method, self.converged = "IRLS", fitted.converged
        self.fit_history = {"iteration": fitted.n_iter}
        self.mle_settings = {"optimizer": "IRLS"}
        set_covariance(self, fitted)

    deviance = number("deviance")
    null_deviance = number("null_deviance")
    pearson_chi2 = number("pearson_chi2")
    llf = number("llf")
    llnull = number("llnull")
    mu = without_rows("mu")
    fittedvalues = without_rows("fittedvalues")
    null = without_rows("null")
    resid_response = without_rows("resid_response")
    resid_pearson = without_rows("resid_pearson")
    resid_working = without_rows("resid_working")
    resid_deviance = without_rows("resid_deviance")
    resid_anscombe = without_rows("resid_anscombe")
    resid_anscombe_scaled = without_rows("resid_anscombe_scaled")
    resid_anscombe_unscaled = without_rows("resid_anscombe_unscaled")

    def llf_scaled(self, scale: float | None = None) -> float:
        """Return the log-likelihood at the estimated scale.

        Parameters
        ----------
        scale : None

        Returns
        -------
        float
        """
        if scale is not None and scale != self.scale:
            raise FastoptError(f"llf_scaled: scale is {scale!r}, and {NO_ROWS}")
        return float(self._fitted.llf)

    def remove_data(self) -> None:
        """Do nothing: there are no rows."""

    score_test = get_influence = get_hat_matrix_diag = get_margeff = needs_rows
    plot_added_variable = plot_partial_residuals = plot_ceres_residuals = needs_rows


def set_covariance(results: Any, fitted: Fitted) -> None:
    """Set the type of the covariance, and the covariance itself if it is robust.

    Parameters
    ----------
    results : object
        Results of statsmodels.
    fitted : Fitted
    """
    results.use_t = fitted.use_t
    results.cov_type = fitted.cov_type
    results.cov_kwds = {"description": descriptions.get(fitted.cov_type, NONROBUST)}
    if fitted.robust is not None:
        results.cov_params_default = fitted.original(fitted.robust)
    if fitted.n_groups is not None:
        results.n_groups, results.df_resid_inference = fitted.n_groups, fitted.df_inference


def results_of(fitted: Fitted) -> Any:
    """Return a fit as statsmodels' results without rows.

    Parameters
    ----------
    fitted : Fitted

    Returns
    -------
    statsmodels.genmod.generalized_linear_model.GLMResultsWrapper
        params, bse, conf_int() and so on are labelled, as of a fit to a data frame.
    """
    return sm.GLMResultsWrapper(GLMResults(fitted))


def results_with_rows(fitted: Fitted, rows: Block) -> Any:
    """Return a fit as statsmodels' results over given rows, with residuals and influence.

    Parameters
    ----------
    fitted : Fitted
    rows : Block
        All rows of the fit.

    Returns
    -------
    statsmodels.genmod.generalized_linear_model.GLMResultsWrapper
        It refers to the rows.

    Raises
    ------
    FastoptError
        The number of rows or of columns is not that of the fit.
    """
    require_likelihood(fitted)
    given = {"var_weights": rows.weight, "freq_weights": rows.frequency, "offset": rows.offset}
    model = sm.GLM(
        rows.y,
        design_of(fitted, rows),
        family=family_of(fitted),
        **{name: value for name, value in given.items() if value is not None},
    )
    model.data.xnames, model.data.ynames = list(fitted.names), fitted.y_name
    inverse = fitted.original(fitted.inverse)
    results = sm.GLMResults(model, fitted.coef, inverse, fitted.scale, use_t=fitted.use_t)
    results.method, results.converged = "IRLS", fitted.converged
    results.fit_history = {"iteration": fitted.n_iter}
    results.mle_settings = {"optimizer": "IRLS"}
    model.mu = model.predict(fitted.coef)
    model.scale = fitted.scale
    set_covariance(results, fitted)
    return sm.GLMResultsWrapper(results)


def design_of(fitted: Fitted, rows: Block) -> Any:
    """Return the columns with that of the intercept, or raise if they are not those of the fit.

    Parameters
    ----------
    fitted : Fitted
    rows : Block

    Returns
    -------
    array of shape (n, p)
    """
    exog = np.asarray(rows.x, dtype=float)
    width = len(fitted.coef) // fitted.n_equations - int(fitted.has_intercept)
    if exog.shape != (fitted.n, width):
        raise FastoptError(
            f"X has shape {exog.shape}; the {fitted.n} rows of positive weight and {width} columns "
            "of the fit are needed"
        )
    return np.column_stack([np.ones(len(exog)), exog]) if fitted.has_intercept else exog
