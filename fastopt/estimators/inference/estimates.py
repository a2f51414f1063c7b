"""Standard errors, intervals and tests of a fit.

With the covariance C of the coefficients, nonrobust or robust, and the quantile z of the normal
distribution or Student's t::

    stderr = sqrt(diag C);   interval: coef -+ z stderr
    Wald test of R coef = q: (R coef - q)' (R C R')^-1 (R coef - q)

Definitions are those of statsmodels' GLMResults.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from scipy import linalg, stats  # type: ignore[import-untyped]

from fastopt._errors import FastoptError
from fastopt.estimators.inference.fitted import Fitted, Floats
from fastopt.estimators.inference.restrictions import parsed
from fastopt.estimators.inference.rows import rows_of
from fastopt.estimators.sources.block import Block
from fastopt.kalman._kalman import observe_rows

__all__ = [
    "NoInferenceError",
    "WaldTest",
    "aic",
    "bic",
    "conf_int",
    "covariance",
    "mean_interval",
    "p_values",
    "quantile",
    "require_likelihood",
    "stderr",
    "wald_test",
]


class NoInferenceError(FastoptError, AttributeError):
    """A fit has no standard errors; as it is an AttributeError too, `hasattr` returns False."""


def covariance(fitted: Fitted) -> Floats:
    """Return the covariance of the coefficients.

    Parameters
    ----------
    fitted : Fitted

    Returns
    -------
    array of shape (p, p)

    Raises
    ------
    NoInferenceError
        The fit has a penalty.
    """
    require_likelihood(fitted)
    return fitted.original(fitted.centred_covariance)


def require_likelihood(fitted: Fitted) -> None:
    """Raise an error that says why, if a fit has no standard errors.

    Parameters
    ----------
    fitted : Fitted

    Raises
    ------
    NoInferenceError
        The fit has a penalty.
    """
    if fitted.penalty:
        raise NoInferenceError(
            f"alpha is {fitted.penalty:g}: a penalty shrinks coefficients towards 0, and no "
            "standard error describes how far they are from the parameters; fit with alpha=0"
        )


def stderr(fitted: Fitted) -> Floats:
    """Return the standard errors of the coefficients.

    Parameters
    ----------
    fitted : Fitted

    Returns
    -------
    array of shape (p,)
    """
    return np.sqrt(np.diagonal(covariance(fitted)))


def p_values(fitted: Fitted) -> Floats:
    """Return the two-sided p-values of the hypotheses that a coefficient is 0.

    Parameters
    ----------
    fitted : Fitted

    Returns
    -------
    array of shape (p,)
    """
    result: Floats = 2 * _distribution(fitted).sf(np.abs(fitted.coef / stderr(fitted)))
    return result


def conf_int(fitted: Fitted, level: float = 0.95) -> Floats:
    """Return confidence intervals: coefficient -+ quantile times standard error.

    Parameters
    ----------
    fitted : Fitted
    level : float, default=0.95
        Coverage, between 0 and 1.

    Returns
    -------
    array of shape (p, 2)
    """
    half = quantile(fitted, level) * stderr(fitted)
    return np.column_stack([fitted.coef - half, fitted.coef + half])


def quantile(fitted: Fitted, level: float, name: str = "level") -> float:
    """Return the quantile of z or t with which an interval has a coverage.

    Parameters
    ----------
    fitted : Fitted
    level : float
    name : str
        Of the argument, for the error.

    Returns
    -------
    float

    Raises
    ------
    FastoptError
        The level is not between 0 and 1.
    """
    if not (isinstance(level, (int, float)) and 0 < level < 1):
        raise FastoptError(f"{name} is {level!r}; allowed: between 0 and 1, such as 0.95")
    return float(_distribution(fitted).ppf(0.5 + level / 2))


def aic(fitted: Fitted) -> float:
    """Return Akaike's information criterion, ``-2 llf + 2 rank``.

    Parameters
    ----------
    fitted : Fitted

    Returns
    -------
    float
    """
    require_likelihood(fitted)
    return -2 * fitted.llf + 2 * fitted.rank


def bic(fitted: Fitted) -> float:
    """Return the Bayesian information criterion, ``-2 llf + rank log(n_effective)``.

    Parameters
    ----------
    fitted : Fitted

    Returns
    -------
    float
    """
    require_likelihood(fitted)
    return -2 * fitted.llf + fitted.rank * math.log(fitted.n_effective)


class WaldTest(NamedTuple):
    """The result of a Wald test, with statsmodels' names.

    Attributes
    ----------
    statistic : float
        Chi-squared, or F.
    pvalue : float
    df_num : int
        Number of restrictions.
    df_denom : float or None
        Degrees of freedom of the denominator of F; None for chi-squared.
    distribution : str
        "chi2" or "F".
    """

    statistic: float
    pvalue: float
    df_num: int
    df_denom: float | None
    distribution: str


def wald_test(fitted: Fitted, restrictions: Any, use_f: bool | None = None) -> WaldTest:
    """Test linear restrictions R coef = q of the coefficients, all of them jointly.

    ``(R coef - q)' (R C R')^-1 (R coef - q)`` is chi-squared with as many degrees of freedom as R
    has rows; divided by their number it is F.

    Parameters
    ----------
    fitted : Fitted
    restrictions : array of shape (q, p) or (p,), pair (R, q), str or list of str
        Strings are equations of names, such as "x1 = x2, x3 = 0": see
        `fastopt.estimators.inference.restrictions`.
    use_f : bool, optional
        Whether the statistic is F instead of chi-squared; the default is that of ``use_t``.

    Returns
    -------
    WaldTest

    Raises
    ------
    FastoptError
        The restrictions do not fit the coefficients, or one follows from the others.
    """
    matrix, values = _restrictions(fitted, restrictions)
    off = matrix @ fitted.coef - values
    spread = matrix @ covariance(fitted) @ matrix.T
    size = np.sqrt(np.diagonal(spread))
    q = len(values)
    scaled = spread / np.outer(size, size) if (size > 0).all() else np.zeros_like(spread)
    if np.linalg.matrix_rank(scaled, hermitian=True) < q:
        raise FastoptError(
            f"the {q} restrictions depend on each other, or on coefficients that the rows do not "
            "determine; leave out those that follow from the others"
        )
    statistic = float((off / size) @ linalg.solve(scaled, off / size, assume_a="pos"))
    if fitted.use_t if use_f is None else use_f:
        denominator = fitted.df_inference
        f = statistic / q
        return WaldTest(f, float(stats.f.sf(f, q, denominator)), q, denominator, "F")
    return WaldTest(statistic, float(stats.chi2.sf(statistic, q)), q, None, "chi2")


def _restrictions(fitted: Fitted, given: Any) -> tuple[Floats, Floats]:
    p = len(fitted.coef)
    matrix: Any
    values: Any
    equations = [given] if isinstance(given, str) else given
    if isinstance(equations, list) and equations and all(isinstance(e, str) for e in equations):
        try:
            matrix, values = parsed(equations, fitted.names)
        except (ValueError, ZeroDivisionError) as error:
            raise FastoptError(
                f"restrictions is {given!r}: {error}; allowed: equations such as 'x1 = x2, x3 = 0' "
                f"of the names {', '.join(fitted.names)}"
            ) from None
    elif isinstance(given, tuple) and len(given) == 2:
        matrix, values = given
    else:
        matrix, values = given, 0.0
    try:
        matrix = np.atleast_2d(np.asarray(matrix, dtype=float))
        values = np.broadcast_to(np.asarray(values, dtype=float).ravel(), len(matrix))
    except (TypeError, ValueError) as error:
        raise FastoptError(
            f"restrictions is {given!r}; allowed: a matrix with {p} columns, a pair of a matrix "
            "and as many values as it has rows, or equations"
        ) from error
    if matrix.ndim != 2 or matrix.shape[1] != p or not len(matrix):
        raise FastoptError(
            f"restrictions has shape {matrix.shape}; allowed: one column for each of the {p} "
            "coefficients, that of the intercept first"
        )
    return matrix, np.asarray(values)


def mean_interval(block: Block, fitted: Fitted, level: float) -> tuple[Floats, Floats, Floats]:
    """Return the mean of each row with a confidence interval.

    The interval of the linear predictor, z -+ quantile times sqrt(x'Cx), is transformed by the
    inverse link, as in statsmodels' ``get_prediction(X).conf_int()``: it does not leave the range
    of the mean.  It is for the mean, not for a new observation.  The upper end is infinite where an
    inverse link has its pole in the interval.

    Parameters
    ----------
    block : Block
        x and offset are read.
    fitted : Fitted
    level : float
        Coverage, such as 0.95.

    Returns
    -------
    mean, lower, upper : array of shape (n,)
    """
    require_likelihood(fitted)
    q = quantile(fitted, level, "interval")
    parts = []
    for _, x, predictors in rows_of(block, fitted):
        z = predictors[:, 0]
        half = q * np.sqrt(np.einsum("ij,ij->i", x @ fitted.centred_covariance, x))
        ends = np.sort([_mean(fitted, z - half), _mean(fitted, z + half)], axis=0)
        parts.append((_mean(fitted, z), ends[0], np.where(np.isnan(ends[1]), np.inf, ends[1])))
    mean, lower, upper = (np.concatenate(one) for one in zip(*parts, strict=True))
    return mean, lower, upper


def _mean(fitted: Fitted, z: Floats) -> Floats:
    model = (fitted.family, fitted.link)
    return observe_rows(model, fitted.shape or 0.0, np.ones_like(z), np.ascontiguousarray(z))[0]


def _distribution(fitted: Fitted) -> Any:
    return stats.t(fitted.df_inference) if fitted.use_t else stats.norm
