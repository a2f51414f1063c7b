"""Log-likelihood of the families, from sums that add up over blocks of rows.

With mean m_i, frequency f_i, precision weight v_i, w_i = f_i v_i and dispersion s, the
log-likelihood of an exponential dispersion family is::

    l = S(s) - D / (2 s);   S(s) = sum_i f_i c(y_i, v_i / s);   D = sum_i w_i d(y_i, m_i)

d is the unit deviance, which C computes, and S the log-likelihood at m_i = y_i.  S does not depend
on the coefficients, so one pass serves the fit and the null model.

The formulas are those of statsmodels' families, with one difference.  For the binomial family, the
weight of a proportion is its number of trials, as in R: the log-likelihood includes the binomial
coefficient, and equals that of statsmodels for two columns (successes, failures).

Sources: McCullagh & Nelder 1989, chapter 2; Jorgensen 1997, "The Theory of Dispersion Models";
Dunn & Smyth 2005 (Tweedie).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from scipy.special import gammaln, log_wright_bessel, xlogy  # type: ignore[import-untyped]

from fastopt.estimators.inference.fitted import Floats

__all__ = ["log_likelihood", "saturated", "saturated_sums"]

MOST_COUNTS = 4096  # counts up to this are tabulated, so that each value is evaluated once


def saturated_sums(
    family: str,
    y: Floats,
    shape: float | None = None,
    weight: Floats | None = None,
    frequency: Floats | None = None,
) -> Floats:
    """Return the sums of one block from which S follows for any dispersion; add up blocks.

    Parameters
    ----------
    family : str
    y : array of shape (n,)
    shape : float, optional
        alpha of the negative binomial, power of the Tweedie family.
    weight, frequency : array of shape (n,), optional
        Precision weights and frequencies; 1 without them.  Rows of weight 0 are left out.

    Returns
    -------
    array of shape (2,)
        The sum of the frequencies, and a sum of the family.  The latter is NaN where S is no
        function of sums, so that `saturated` is needed: for the Tweedie family, and for precision
        weights of the gamma family.

    Examples
    --------
    >>> import numpy as np
    >>> saturated_sums("gaussian", np.array([1.0, 2.0]))
    array([2., 0.])
    """
    if weight is not None and not weight.all():
        return saturated_sums(family, *_positive(y, shape, weight, frequency))
    v = 1.0 if weight is None else weight
    f = 1.0 if frequency is None else frequency
    if family == "tweedie" or (family == "gamma" and weight is not None):
        total = math.nan
    elif family == "gaussian":
        total = np.sum(f * np.log(v)) if weight is not None else 0.0
    elif family == "inverse_gaussian":
        total = np.sum(f * (np.log(v) - 3 * np.log(y)))
    elif family == "gamma":
        total = -np.sum(f * np.log(y))
    elif family == "binomial":
        total = np.sum(f * _binomial(y, v))
    else:
        total = _counts(y, shape if family == "negative_binomial" else 0.0, f * v)
    return np.array([float(len(y)) if frequency is None else frequency.sum(), total])


def saturated(
    family: str,
    y: Floats,
    scale: float,
    shape: float | None = None,
    weight: Floats | None = None,
    frequency: Floats | None = None,
) -> float:
    """Return S, the log-likelihood at m_i = y_i, of a block of rows at a known dispersion.

    Parameters
    ----------
    family : str
    y : array of shape (n,)
    scale : float
        The dispersion.
    shape, weight, frequency
        As for `saturated_sums`.

    Returns
    -------
    float

    Examples
    --------
    >>> import numpy as np
    >>> round(saturated("gaussian", np.array([1.0, 2.0]), 1.0), 6)
    -1.837877
    """
    if weight is not None and not weight.all():
        return saturated(family, *_positive(y, scale, shape, weight, frequency))
    sums = saturated_sums(family, y, shape, weight, frequency)
    if not math.isnan(sums[1]):
        return _from_sums(family, sums, scale)
    k = np.ones(len(y)) / scale if weight is None else weight / scale
    terms = _gamma(k, y) if family == "gamma" else _tweedie(y, k, shape or 0.0)
    return float(np.sum(terms if frequency is None else frequency * terms))


def log_likelihood(
    family: str, deviance: float, scale: float, sums: Floats, rows: float | None = None
) -> float:
    """Return the log-likelihood of all rows.

    Parameters
    ----------
    family : str
    deviance : float
        D, of the fit or of the null model.
    scale : float
        The dispersion.  For the Gaussian family with the identity link, statsmodels and R use
        ``deviance / n_effective`` for the fit.
    sums : array of shape (2,)
        Sum of `saturated_sums` over the blocks.
    rows : float, optional
        Sum of `saturated` over the blocks; needed where ``sums`` has a NaN.

    Returns
    -------
    float
        NaN if the dispersion is not positive, as where there are as many coefficients as rows.

    Examples
    --------
    >>> import numpy as np
    >>> y = np.array([1.0, 2.0])
    >>> deviance = 2 * float(np.sum(y * np.log(y / 1.5)))  # of the mean 1.5
    >>> round(log_likelihood("poisson", deviance, 1.0, saturated_sums("poisson", y)), 4)
    -2.4768
    """
    if not scale > 0:
        return math.nan
    return (_from_sums(family, sums, scale) if rows is None else rows) - deviance / (2 * scale)


def _positive(y: Floats, *others: Any) -> tuple[Any, ...]:
    """Return y and the others, the last two of which are weight and frequency, where weight > 0."""
    *rest, weight, frequency = others
    own = weight > 0
    return y[own], *rest, weight[own], None if frequency is None else frequency[own]


def _from_sums(family: str, sums: Floats, scale: float) -> float:
    n, total = map(float, sums)
    if family in {"gaussian", "inverse_gaussian"}:
        return 0.5 * (total - n * math.log(2 * math.pi * scale))
    if family == "gamma":
        k = 1 / scale
        return total + n * (k * math.log(k) - k - math.lgamma(k))
    return total


def _binomial(y: Floats, v: Any) -> Any:
    """Return c of v trials with v y successes."""
    if ((y == 0) | (y == 1)).all():
        return np.zeros(len(y))
    logs = xlogy(y, y) + xlogy(1 - y, 1 - y)
    return v * logs + gammaln(v + 1) - gammaln(v * y + 1) - gammaln(v * (1 - y) + 1)


def _counts(y: Floats, alpha: float | None, w: Any) -> float:
    """Return the sum of w c(y) of the negative binomial family; alpha = 0 is Poisson."""
    if y.max(initial=0.0) <= MOST_COUNTS and (y == np.floor(y)).all():
        w = np.bincount(y.astype(np.intp), weights=np.broadcast_to(w, y.shape))
        y = np.arange(float(len(w)))
    a = 1.0 if alpha is None else alpha
    if a == 0:
        c = xlogy(y, y) - y - gammaln(y + 1)
    else:
        c = xlogy(y, a * y) - (y + 1 / a) * np.log1p(a * y)
        c += gammaln(y + 1 / a) - gammaln(1 / a) - gammaln(y + 1)
    return float(np.sum(w * c))


def _gamma(k: Any, y: Floats) -> Floats:
    return np.asarray(k * np.log(k) - k - gammaln(k) - np.log(y))


def _tweedie(y: Floats, k: Floats, p: float) -> Floats:
    """Return c(y, k) for 1 < p < 2, with Wright's generalized Bessel function."""
    terms = np.zeros(len(y))
    own = y > 0  # 0 has a probability, not a density: 1 if the mean is 0
    y, k = y[own], k[own]
    a = (2 - p) / (p - 1)
    x = (k * y / (p - 1)) ** a * k / (2 - p)
    terms[own] = k * y ** (2 - p) / ((1 - p) * (2 - p)) - np.log(y) + log_wright_bessel(a, 0, x)
    return terms
