"""`Inference`: what estimators report of a maximum-likelihood fit, from its `Fitted`."""

from __future__ import annotations

from typing import Any

from sklearn.utils.validation import check_is_fitted

from fastopt.estimators.inference import estimates as inference
from fastopt.estimators.inference.estimates import NoInferenceError, WaldTest
from fastopt.estimators.inference.fitted import Fitted, Floats
from fastopt.estimators.inference.rows import one_block
from fastopt.estimators.inference.summary import statsmodels_module, summary
from fastopt.estimators.sources.source import Source

__all__ = ["Inference"]


class Inference:
    """Standard errors, tests and summaries of an estimator with an attribute ``fitted_``.

    Attributes
    ----------
    stderr_, pvalues_ : array of the shape of coef_
        Standard errors; two-sided p-values of the hypotheses that a coefficient is 0.
    intercept_stderr_ : float, or array of the shape of intercept_
        0 without an intercept.
    covariance_ : array of shape (n_features + 1, n_features + 1)
        The covariance of (intercept_, coef_); without an intercept that of coef_.
    dispersion_, deviance_, null_deviance_, llf_, aic_, bic_ : float
        As in statsmodels: scale, deviance, null_deviance, llf, aic and bic.

    Notes
    -----
    A penalty (``alpha > 0``) shrinks coefficients towards 0.  The spread of such estimates is
    known, but not their bias, so intervals around them do not cover the parameters with the stated
    probability: standard errors, intervals, tests, AIC and BIC raise an error that says so.
    """

    fitted_: Fitted

    def _fit(self) -> Fitted:
        if hasattr(self, "coef_") and not hasattr(self, "fitted_"):
            solver = getattr(self, "solver", None)
            raise NoInferenceError(
                f"solver is {solver!r}; a fit by epochs has no standard errors, deviance or "
                "log-likelihood: use solver='scoring'"
            )
        check_is_fitted(self, "fitted_")
        return self.fitted_

    def _rows_again(self, X: Any, y: Any, **per_row: Any) -> Source:
        """Return a source of rows with y, read as those of the fit."""
        raise NotImplementedError

    def _like_coef(self, values: Floats) -> Floats:
        return values[int(self._fit().has_intercept) :]

    def _like_intercept(self, values: Floats) -> Any:
        return float(values[0]) if self._fit().has_intercept else 0.0

    @property
    def covariance_(self) -> Floats:
        """The covariance of (intercept_, coef_)."""
        return inference.covariance(self._fit())

    @property
    def stderr_(self) -> Floats:
        """The standard errors of coef_."""
        return self._like_coef(inference.stderr(self._fit()))

    @property
    def intercept_stderr_(self) -> Any:
        """The standard error of intercept_; 0 without an intercept."""
        return self._like_intercept(inference.stderr(self._fit()))

    @property
    def pvalues_(self) -> Floats:
        """The two-sided p-values of coef_."""
        return self._like_coef(inference.p_values(self._fit()))

    @property
    def dispersion_(self) -> float:
        """The dispersion."""
        return self._fit().scale

    @property
    def deviance_(self) -> float:
        """The deviance of the fit."""
        return self._fit().deviance

    @property
    def null_deviance_(self) -> float:
        """The deviance of the model with an intercept (and the offset) only."""
        return self._fit().null_deviance

    @property
    def llf_(self) -> float:
        """The log-likelihood of the fit."""
        return self._fit().llf

    @property
    def aic_(self) -> float:
        """Akaike's information criterion."""
        return inference.aic(self._fit())

    @property
    def bic_(self) -> float:
        """The Bayesian information criterion."""
        return inference.bic(self._fit())

    def conf_int(self, *, level: float = 0.95) -> Floats:
        """Return confidence intervals of (intercept_, coef_).

        Parameters
        ----------
        level : float, default=0.95
            Coverage.

        Returns
        -------
        array of shape (n_features + 1, 2)
            Lower and upper ends; without an intercept, of coef_ only.

        Raises
        ------
        FastoptError
            ``level`` is not between 0 and 1, or the fit has no standard errors.

        Examples
        --------
        >>> import numpy as np
        >>> from fastopt.estimators import GLMRegressor
        >>> X = np.arange(8.0)[:, None]
        >>> model = GLMRegressor("poisson").fit(X, [1, 1, 2, 2, 3, 5, 6, 9])
        >>> print(model.conf_int().round(3))
        [[-1.17   0.862]
         [ 0.146  0.52 ]]
        """
        return inference.conf_int(self._fit(), level)

    def wald_test(self, restrictions: Any, *, use_f: bool | None = None) -> WaldTest:
        """Test linear restrictions of the coefficients, all of them jointly.

        Parameters
        ----------
        restrictions : str, list of str, array of shape (q, n_features + 1) or pair (R, values)
            "x1 = x2, x3 = 0" in the names of the summary, such as "const" for the intercept; or R,
            with the intercept's column first, for R (intercept_, coef_) = values, by default 0.
        use_f : bool, optional
            F instead of chi-squared; default: that of the fit's ``use_t``.

        Returns
        -------
        WaldTest
            statistic, pvalue, df_num, df_denom, distribution.

        Raises
        ------
        FastoptError
            The restrictions do not fit the coefficients, one follows from the others, or the fit
            has no standard errors.

        Examples
        --------
        >>> import numpy as np
        >>> from fastopt.estimators import GLMRegressor
        >>> X = np.arange(8.0)[:, None]
        >>> model = GLMRegressor("poisson").fit(X, [1, 1, 2, 2, 3, 5, 6, 9])
        >>> round(model.wald_test("x1 = 0").pvalue, 4)
        0.0005
        """
        return inference.wald_test(self._fit(), restrictions, use_f)

    def summary(self, *, level: float = 0.95) -> Any:
        """Return the fit as a table, to be printed.

        Where statsmodels is installed, it is the summary of its GLM, or of its MNLogit for several
        classes.  A fit of statsmodels to the same rows prints the same characters, except date,
        time and the number of iterations, if it has converged as far (``fit(tol=1e-12)``).

        Parameters
        ----------
        level : float, default=0.95
            Coverage of the intervals.

        Returns
        -------
        Summary
            That of statsmodels where it is installed, else a table with the same numbers.  A
            penalised fit gives a table without standard errors.

        Raises
        ------
        FastoptError
            ``level`` is not between 0 and 1.
        """
        return summary(self._fit(), level)

    def to_statsmodels(
        self,
        X: Any = None,
        y: Any = None,
        sample_weight: Any = None,
        *,
        freq_weight: Any = None,
        offset: Any = None,
        exposure: Any = None,
    ) -> Any:
        """Return the fit as results of statsmodels' GLM, or of MNLogit for several classes.

        Parameters
        ----------
        X, y : array or table, optional
            The rows of the fit, as they were given to it.  Without them, the result is small and
            has everything that needs no rows: summary(), summary2(), t_test(), predict(X),
            get_prediction(X), ...  With them it has residuals and influence too, and refers to
            them.
        sample_weight, freq_weight, offset, exposure : array of shape (n,), optional
            Those of the fit; only with X.

        Returns
        -------
        GLMResultsWrapper or MultinomialResultsWrapper
            Of statsmodels.

        Raises
        ------
        ImportError
            statsmodels is not installed.
        FastoptError
            The fit has a penalty, or X has not the number of rows and columns of the fit.
        """
        fitted = self._fit()
        module = statsmodels_module(fitted)
        if X is None:
            return module.results_of(fitted)
        rows = self._rows_again(
            X,
            y,
            sample_weight=sample_weight,
            freq_weight=freq_weight,
            offset=offset,
            exposure=exposure,
        )
        return module.results_with_rows(fitted, one_block(rows))
