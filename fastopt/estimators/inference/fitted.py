"""The numbers of a fitted generalized linear model, without its rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = ["Fitted"]

Floats = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True)
class Fitted:
    """The numbers of a fit: coefficients, information and sums over the rows, but no rows.

    With mean m_i, dm_i/dz_i = h_i, variance function V(m_i), weight w_i (the product of frequency
    and precision weight) and x_i the i-th row minus ``center``::

        information = sum_i w_i h_i^2 / V(m_i) x_i x_i'
        pearson_chi2 = sum_i w_i (y_i - m_i)^2 / V(m_i)

    ``center`` changes no result, but keeps the digits of columns with a large mean: matrices refer
    to centred columns, and `original` transforms a covariance back.  Definitions and names are
    those of statsmodels' GLMResults.

    Attributes
    ----------
    coef : array of shape (p,)
        The coefficients, that of the intercept first if there is one.  Of a multinomial model, the
        coefficients of one class after the other, the first class left out: p is `n_equations`
        times the number of columns.
    names : tuple of str, of length p
        Their names; "const" is the intercept's.
    family, link : str
        Names as in `fastopt.families`.
    information : array of shape (p, p)
        Expected information at ``coef`` for a scale of 1, without the penalty.
    inverse : array of shape (p, p)
        Inverse of ``information``; a generalized inverse if columns depend on each other.
    center : array of shape (p / n_equations,) or None
        What was subtracted from each column; None for all 0.
    anchor : int
        The index of the intercept, or of the constant column in its place: its coefficient is the
        only one that centring changes, and ``center[anchor]`` is 0.
    anchor_value : float
        The value of that column; 1 for an intercept.
    scale : float
        The dispersion: 1 where the family knows it, else ``pearson_chi2 / df_resid``.
    n : int
        Number of rows.
    n_effective : float
        Sum of the frequency weights; ``n`` without them.
    weight_sum : float
        Sum of frequency weight times precision weight.
    deviance, null_deviance : float
        Of the fit, and of the model with an intercept (and the offset) only.
    llf, llnull : float
        The log-likelihoods of the same two models; NaN where the family has none.
    pearson_chi2 : float
    df_model : int
        The rank of the columns, minus 1.
    df_resid : float
        ``n_effective - df_model - 1``.
    n_iter : int
        Rounds of the fit.
    converged : bool
    shape : float or None
        alpha of the negative binomial family, power of the Tweedie family.
    penalty : float
        Strength of the penalty; 0 for maximum likelihood.
    has_intercept : bool
        Whether ``coef[0]`` is an intercept that the fit added.
    has_offset : bool
        Whether the fit had an offset.
    n_equations : int
        Number of classes minus 1 for a multinomial model, else 1.
    classes : tuple of str
        The labels of a classifier.
    cov_type : str
        "nonrobust", "HC0", "HC1", "HC2", "HC3" or "cluster".
    robust : array of shape (p, p) or None
        The robust covariance of the centred coefficients, unless cov_type is "nonrobust".
    use_t : bool
        Whether tests use Student's t with ``df_inference`` degrees of freedom, not the normal.
    n_groups : int or None
        Number of clusters.
    y_name : str
        The name of the dependent variable.
    """

    coef: Floats
    names: tuple[str, ...]
    family: str
    link: str
    information: Floats
    inverse: Floats
    scale: float
    n: int
    n_effective: float
    weight_sum: float
    deviance: float
    null_deviance: float
    llf: float
    llnull: float
    pearson_chi2: float
    df_model: int
    df_resid: float
    n_iter: int
    converged: bool
    center: Floats | None = None
    anchor: int = 0
    anchor_value: float = 1.0
    shape: float | None = None
    penalty: float = 0.0
    has_intercept: bool = True
    has_offset: bool = False
    n_equations: int = 1
    classes: tuple[str, ...] = ()
    cov_type: str = "nonrobust"
    robust: Floats | None = None
    use_t: bool = False
    n_groups: int | None = None
    y_name: str = "y"

    @property
    def df_inference(self) -> float:
        """Degrees of freedom of Student's t: clusters minus 1, or those of the residuals."""
        return self.df_resid if self.n_groups is None else self.n_groups - 1.0

    @property
    def rank(self) -> int:
        """Number of coefficients that the rows determine."""
        return self.df_model + self.n_equations

    @property
    def centred_covariance(self) -> Floats:
        """Covariance of the coefficients of centred columns, shape (p, p)."""
        return self.scale * self.inverse if self.robust is None else self.robust

    def original(self, covariance: Floats) -> Floats:
        """Return the covariance of ``coef``, given that of the coefficients of centred columns.

        ``T C T'`` with ``coef = T v``, where only the intercept (the anchor a) differs:
        ``coef[a] = v[a] - center'v / anchor_value``.

        Parameters
        ----------
        covariance : array of shape (p, p)

        Returns
        -------
        array of shape (p, p)
        """
        if self.center is None:
            return covariance
        k, p = self.n_equations, len(self.center)
        shift, a = self.center / self.anchor_value, self.anchor
        changed = covariance.reshape(k, p, k, p).copy()
        changed[:, a] -= np.tensordot(shift, changed, (0, 1))
        changed[:, :, :, a] -= changed @ shift
        return changed.reshape(k * p, k * p)
