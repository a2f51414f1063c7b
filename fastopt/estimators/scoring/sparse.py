"""Sums over the rows of a CSR matrix: centred columns, but no dense copy of all rows.

With rows x_i, weights u_i and means m, the information of the centred columns is::

    sum_i u_i (x_i - m) (x_i - m)' = X'UX - s m' - m s' + m m' sum_i u_i,   s = X'u

Differences of large numbers lose digits where the mean of a column is many times its standard
deviation.  A column with zeros in at least half of the rows has |mean| <= standard deviation for
equal weights.  The others, few in a sparse matrix, are centred explicitly.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.sparse import csr_array, issparse  # type: ignore[import-untyped]

from fastopt.estimators.scoring.model import Model
from fastopt.estimators.sources.block import contiguous

__all__ = ["column_sums", "pays", "sums_of_csr"]

Floats = np.ndarray[Any, np.dtype[np.float64]]

DENSITY = 0.1  # above, products of dense rows take less time
ROWS = 8192  # that are multiplied at a time


def pays(x: Any) -> bool:
    """Return whether sums of sparse rows take less time than those of the same rows, dense.

    Parameters
    ----------
    x : array or CSR matrix of shape (n, p)

    Returns
    -------
    bool
    """
    return bool(issparse(x)) and x.nnz < DENSITY * x.shape[0] * x.shape[1]


def column_sums(x: Any, weight: Floats | None) -> tuple[Floats, Floats, Floats]:
    """Return the least and greatest values of the columns, and their weighted sums.

    Parameters
    ----------
    x : CSR matrix of shape (n, p)
    weight : array of shape (n,) or None

    Returns
    -------
    low, high, total : array of shape (p,)
    """
    low, high = (np.asarray(of(axis=0).toarray(), dtype=float).ravel() for of in (x.min, x.max))
    return low, high, np.ones(x.shape[0]) @ x if weight is None else weight @ x


def sums_of_csr(
    x: Any,
    y: Floats,
    weight: Floats | None,
    offset: Floats | None,
    model: Model,
    coef: Floats,
    mean: Floats | None,
    null: float | None,
    with_information: bool,
) -> tuple[Floats, Floats, Floats]:
    """Return the sums of `fastopt.estimators.scoring.moments.sums` for sparse rows.

    Parameters
    ----------
    x : CSR matrix of shape (n, p)
    y : array of shape (n,)
    weight, offset : array of shape (n,) or None
    model : Model
    coef : array of shape (p + 1,), or (p,) without an intercept
    mean : array of shape (p,) or None
    null : float or None
        The linear predictor of the null model.
    with_information : bool

    Returns
    -------
    information : array of shape (q, q)
        0 unless `with_information`.
    score : array of shape (q,)
    totals : array of shape (4,)
        Deviance and Pearson's chi-squared, then those of the null model.
    """
    n, p = x.shape
    first, q = int(model.fit_intercept), len(coef)
    center = np.zeros(p) if mean is None else mean
    often = np.flatnonzero(np.bincount(x.indices, minlength=p) > n / 2)
    is_rare = np.ones(p)
    is_rare[often] = 0.0
    information, score, totals = np.zeros((q, q)), np.zeros(q), np.zeros(4)
    for start in range(0, n, ROWS):
        own = slice(start, min(start + ROWS, n))
        rows = csr_array(x[own], dtype=np.float64)
        centred = rows[:, often].toarray() - center[often]
        rare = csr_array(rows.multiply(is_rare))
        slope = coef[first:]
        z = rare @ slope + centred @ slope[often] - (center * is_rare) @ slope + coef[:first].sum()
        shift = 0.0 if offset is None else offset[own]
        z = np.ascontiguousarray(z + shift)
        w = np.ones(len(z)) if weight is None else weight[own]
        target = contiguous(y[own], dtype=float)
        with np.errstate(all="ignore"):
            at = model.observe(target, z)
            totals[:2] += _fit_of(at.deviance, target - at.mean, at.variance, w)
            if null is not None:
                of_null = model.observe(target, np.full(len(z), null) + shift)
                totals[2:] += _fit_of(of_null.deviance, target - of_null.mean, of_null.variance, w)
            score += _of_columns(rare, centred, often, center, w * at.score, first)
            if with_information:
                information += _information(rare, centred, often, center, w * at.weight, first)
    return information, score, totals


def _fit_of(deviance: Floats, residual: Floats, variance: Floats, w: Floats) -> Floats:
    chi2 = np.where(residual == 0.0, 0.0, residual * residual / variance)
    return np.array([deviance @ w, chi2 @ w])


def _of_columns(
    rare: Any, centred: Floats, often: Any, center: Floats, u: Floats, first: int
) -> Floats:
    """Return the sum of u times the row of centred columns, a 1 first if there is an intercept."""
    total = u.sum()
    of_columns = u @ rare - total * center
    of_columns[often] = u @ centred
    return np.concatenate([np.full(first, total), of_columns])


def _information(
    rare: Any, centred: Floats, often: Any, center: Floats, u: Floats, first: int
) -> Floats:
    """Return the sum of u x x' over rows x of centred columns."""
    m, s = center, u @ rare
    scaled = rare.multiply(u[:, None]).tocsr()
    of_columns = (rare.T @ scaled).toarray()
    of_columns += u.sum() * np.outer(m, m) - np.outer(s, m) - np.outer(m, s)
    weighted = u[:, None] * centred
    cross = rare.T @ weighted - np.outer(m, weighted.sum(axis=0))
    of_columns[:, often] = cross
    of_columns[often] = cross.T
    of_columns[np.ix_(often, often)] = centred.T @ weighted
    sums = _of_columns(rare, centred, often, center, u, first)
    if not first:
        found: Floats = of_columns
        return found
    return np.block([[sums[:1, None], sums[None, 1:]], [sums[1:, None], of_columns]])
