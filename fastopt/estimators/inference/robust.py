"""Covariances that are robust against a wrong variance, or correlation within clusters.

With the score q_i, the observed information o_i = -dq_i/dz_i and the expected one u_i of row x_i
at its linear predictor z_i, frequency f_i and precision weight v_i, the sandwich covariance is::

    B^-1 S B^-1;   B = sum_i f_i v_i o_i x_i x_i'
    HC0      S = sum_i f_i (v_i q_i)^2 x_i x_i'
    HC1      HC0 times n / (n - p), n = sum_i f_i
    HC2      each term of S divided by 1 - l_i, with the leverage
             l_i = v_i u_i x_i' A^-1 x_i,   A = sum_i f_i v_i u_i x_i x_i'
    HC3      each term of S divided by (1 - l_i)^2
    cluster  S = G/(G - 1) (n - 1)/(n - p) sum_g s_g s_g',   s_g = sum of f_i v_i q_i x_i in group g

The sums over blocks of rows add up, so data of any size take one more pass.  HC0 and "cluster" are
those of statsmodels' GLM, which gives HC0 for HC1, HC2 and HC3 too.  Of a multinomial model, the
scores of all coefficients take the place of q_i x_i, and HC2 and HC3 are not defined.

Sources: White 1980; MacKinnon & White 1985; Liang & Zeger 1986; Cameron & Miller 2015.
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
from scipy import linalg  # type: ignore[import-untyped]
from scipy.linalg.blas import dsyrk  # type: ignore[import-untyped]

from fastopt._errors import FastoptError
from fastopt.estimators.inference.fitted import Fitted, Floats
from fastopt.estimators.inference.rows import rows_of
from fastopt.estimators.scoring.model import Model
from fastopt.estimators.scoring.multinomial import log_probabilities
from fastopt.estimators.sources.block import Block, contiguous
from fastopt.estimators.sources.source import Source, reduced
from fastopt.kalman._kalman import observe_rows, observed_weights

__all__ = ["COV_TYPES", "RobustSums", "is_missing", "robust", "robust_sums", "with_robust"]

COV_TYPES = ("nonrobust", "HC0", "HC1", "HC2", "HC3", "cluster")
# Where the observed information is the expected one, which the fit has inverted.
CANONICAL = {
    ("gaussian", "identity"),
    ("binomial", "logit"),
    ("multinomial", "logit"),
    ("poisson", "log"),
    ("gamma", "inverse"),
    ("inverse_gaussian", "inverse_squared"),
}
LEVERAGE_1 = 1e-9  # a leverage nearer to 1 is 1 up to rounding


class _Clusters:
    """Sums of scores, one row for each label that was seen."""

    def __init__(self, width: int) -> None:
        self.index: dict[Any, int] = {}
        self._sums = np.zeros((16, width))

    def add(self, labels: Any, sums: Floats) -> None:
        """Add one row of sums for each of different labels."""
        index = self.index
        at = [index.setdefault(label, len(index)) for label in labels]
        if len(index) > len(self._sums):
            grown = np.zeros((2 * len(index), self._sums.shape[1]))
            grown[: len(self._sums)] = self._sums
            self._sums = grown
        self._sums[at] += sums

    @property
    def sums(self) -> Floats:
        """One row for each label, in the order of `index`."""
        return self._sums[: len(self.index)]


@dataclass
class RobustSums:
    """Sums over rows from which a sandwich covariance is computed; `+` adds those of other rows.

    Attributes
    ----------
    bread : array of shape (p, p)
        B, for centred columns; 0 for canonical links, where it is the fit's information.
    meat : array of shape (p, p)
        S without its factor; 0 for clusters.
    n : float
        Sum of the frequencies.
    clusters : object or None
        Sums of scores of each cluster.
    """

    bread: Floats
    meat: Floats
    n: float = 0.0
    clusters: _Clusters | None = field(default=None, repr=False)

    def __add__(self, other: RobustSums) -> RobustSums:
        """Return the sums over the rows of both."""
        total = deepcopy(self)
        total += other
        return total

    def __iadd__(self, other: RobustSums) -> RobustSums:
        """Add the sums over other rows."""
        self.bread += other.bread
        self.meat += other.meat
        self.n += other.n
        if self.clusters is not None and other.clusters is not None:
            self.clusters.add(other.clusters.index, other.clusters.sums)
        return self


def robust_sums(block: Block, fitted: Fitted, cov_type: str) -> RobustSums:
    """Return the sums over one block for a robust covariance at the coefficients of a fit.

    Parameters
    ----------
    block : Block
        With groups for "cluster".
    fitted : Fitted
        Of a maximum-likelihood fit.
    cov_type : str
        One of `COV_TYPES`, except "nonrobust".

    Returns
    -------
    RobustSums

    Raises
    ------
    FastoptError
        A group is missing; a row has leverage 1, for "HC2" and "HC3", or the model is multinomial.
    """
    p = len(fitted.coef)
    total = RobustSums(np.zeros((p, p)), np.zeros((p, p)))
    if cov_type == "cluster":
        total.clusters = _Clusters(p)
    lower = np.zeros((p, p), order="F")
    for part, x, z in rows_of(block.of_positive_weight(), fitted):
        v = 1.0 if part.weight is None else part.weight
        f = np.ones(part.n) if part.frequency is None else part.frequency
        total.n += float(f.sum())
        if fitted.n_equations > 1:
            rows = _multinomial_scores(part, x, z)
        else:
            y, z = contiguous(part.y, dtype=float), contiguous(z[:, 0])
            model, shape = (fitted.family, fitted.link), fitted.shape or 0.0
            _, _, score, expected, *_ = observe_rows(model, shape, y, z)
            if model not in CANONICAL:
                observed = f * v * observed_weights(model, shape, y, z)
                total.bread += (x * observed[:, None]).T @ x
            if cov_type in {"HC2", "HC3"}:
                left = _one_minus_leverage(x, v * expected, fitted, cov_type)
                score /= np.sqrt(left) if cov_type == "HC2" else left
            rows = x * score[:, None]
        if total.clusters is not None:
            rows *= np.reshape(f * v, (-1, 1))
            total.clusters.add(*_sums_by_group(part.groups, rows))
        else:
            rows *= np.reshape(np.sqrt(f) * v, (-1, 1))
            lower = dsyrk(1.0, rows.T, beta=1.0, c=lower, lower=1, overwrite_c=1)
    total.meat += np.tril(lower) + np.tril(lower, -1).T
    return total


def _multinomial_scores(part: Block, x: Floats, z: Floats) -> Floats:
    """Return the scores of all coefficients, a row for each row: (Y - P) x for each class."""
    n, k = z.shape
    model = Model("multinomial", "logit", n_classes=k + 1)
    residual = -np.exp(log_probabilities(z, model))
    residual[np.arange(n), part.y.astype(np.intp)] += 1.0
    return (residual[:, 1:, None] * x[:, None, :]).reshape(n, -1)


def _one_minus_leverage(x: Floats, weight: Floats, fitted: Fitted, cov_type: str) -> Floats:
    left: Floats = 1 - weight * np.einsum("ij,ij->i", x @ fitted.inverse, x)
    if left.min() < LEVERAGE_1:
        raise FastoptError(
            f"cov_type is {cov_type!r}, and a row has leverage 1: it alone determines a "
            "coefficient, and its residual is 0 whatever its y; allowed: 'HC0' or 'HC1'"
        )
    return left


def robust(sums: RobustSums, fitted: Fitted, cov_type: str) -> Floats:
    """Return the sandwich covariance of the coefficients of centred columns.

    Parameters
    ----------
    sums : RobustSums
        Over all rows.
    fitted : Fitted
    cov_type : str

    Returns
    -------
    array of shape (p, p)
        NaN if there are not more rows than coefficients and `cov_type` corrects for their number.
    """
    n, rank = sums.n, fitted.rank
    meat, factor = sums.meat, 1.0
    of_freedom = n - rank if n > rank else np.nan
    if cov_type == "HC1":
        factor = n / of_freedom
    elif sums.clusters is not None:
        scores = sums.clusters.sums
        g = len(scores)
        if g < 2:
            raise FastoptError(f"groups has {g} value; cov_type='cluster' needs 2 or more")
        meat = scores.T @ scores
        factor = g / (g - 1) * ((n - 1) / of_freedom)
    inverse = fitted.inverse
    if (fitted.family, fitted.link) not in CANONICAL:
        inverse = _inverse(sums.bread, fitted)
    result: Floats = factor * (inverse @ meat @ inverse)
    return 0.5 * (result + result.T)


def with_robust(source: Source, fitted: Fitted, cov_type: str) -> Fitted:
    """Return a fit with a robust covariance, from one pass over all rows.

    Parameters
    ----------
    source : Source
        The rows of the fit.
    fitted : Fitted
    cov_type : str
        One of `COV_TYPES`.

    Returns
    -------
    Fitted
    """
    if fitted.n_equations > 1 and cov_type in {"HC2", "HC3"}:
        raise FastoptError(
            f"cov_type is {cov_type!r}; allowed for more than two classes: 'nonrobust', 'HC0', "
            "'HC1' or 'cluster'"
        )
    if cov_type == "nonrobust":
        return replace(fitted, cov_type=cov_type, robust=None, n_groups=None)
    total: RobustSums = reduced(source, partial(robust_sums, fitted=fitted, cov_type=cov_type))
    n_groups = None if total.clusters is None else len(total.clusters.index)
    covariance = robust(total, fitted, cov_type)
    return replace(fitted, cov_type=cov_type, robust=covariance, n_groups=n_groups)


def _inverse(information: Floats, fitted: Fitted) -> Floats:
    """Return the inverse of the observed information.

    Columns are scaled first, so that their units do not matter.  If columns depend on each other,
    it is the generalized inverse with the range of ``fitted.inverse``, to which the coefficients
    of a fit of minimum norm belong.
    """
    size = np.sqrt(np.abs(np.diagonal(information)))
    size = np.where(size > 0, size, 1.0)
    scaled = information / np.outer(size, size)
    if fitted.rank == len(size):
        try:
            inverse = linalg.cho_solve(linalg.cho_factor(scaled), np.eye(len(size)))
        except linalg.LinAlgError:  # not at a maximum
            return np.full_like(information, np.nan)
    else:
        _, vectors = linalg.eigh(fitted.inverse * np.outer(size, size))
        own = vectors[:, len(size) - fitted.rank :]
        inverse = own @ linalg.solve(own.T @ scaled @ own, own.T, assume_a="sym")
    result: Floats = inverse / np.outer(size, size)
    return 0.5 * (result + result.T)


def _sums_by_group(groups: Any, rows: Floats) -> tuple[Any, Floats]:
    """Return the different groups and the sum of the rows of each."""
    if groups is None:
        raise FastoptError("groups is None; cov_type='cluster' needs the cluster of each row")
    if groups.dtype == object:  # of any types, which need not have an order
        index: dict[Any, int] = {}
        at = np.array([index.setdefault(label, len(index)) for label in groups.tolist()])
        labels = list(index)
    else:
        found, at = np.unique(groups, return_inverse=True)
        labels = found.tolist()
    if any(is_missing(label) for label in labels):
        raise FastoptError("groups has a missing value; each row needs a cluster")
    order = np.argsort(at, kind="stable")
    starts = np.searchsorted(at[order], np.arange(len(labels)))
    return labels, np.add.reduceat(rows[order], starts)


def is_missing(label: Any) -> bool:
    """Return whether a label is None, NaN, or NA or NaT of pandas."""
    # pandas' NA is neither equal to itself nor different.
    return label is None or type(label).__name__ in {"NAType", "NaTType"} or label != label
