"""The sums of a multinomial logistic model: all coefficients of all classes at once."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.linalg.blas import dsyrk  # type: ignore[import-untyped]
from scipy.special import logsumexp  # type: ignore[import-untyped]

from fastopt.estimators.scoring.model import Model
from fastopt.estimators.scoring.moments import Moments, chunks, counts
from fastopt.estimators.sources.block import Block
from fastopt.kalman.covariance.qr import with_rows

__all__ = ["log_probabilities", "sums"]

Floats = np.ndarray[Any, np.dtype[np.float64]]


def log_probabilities(z: Floats, model: Model) -> Floats:
    """Return the logarithms of the probabilities of all classes.

    Parameters
    ----------
    z : array of shape (n, n_equations)
        The linear predictors; that of the first class is 0 unless the model is symmetric.
    model : Model

    Returns
    -------
    array of shape (n, n_classes)
    """
    if not model.symmetric:
        z = np.hstack([np.zeros((len(z), 1)), z])
    found: Floats = z - logsumexp(z, axis=1, keepdims=True)
    return found


def sums(
    block: Block,
    coef: Floats,
    model: Model,
    mean: Floats | None = None,
    null: Floats | None = None,
    with_information: bool = True,
    by_qr: bool = False,
) -> Moments:
    """Return the sums of `Moments` for a multinomial model.

    With probabilities P, indicators Y of the classes and weights w, for classes a and b::

        score_a = sum w (Y_a - P_a) x;   information_ab = sum w P_a ([a = b] - P_b) x x'
        deviance = -2 sum w log P_y;     pearson_chi2 = sum w (1 / P_y - 1)

    Parameters
    ----------
    block : Block
        ``y`` is the index of the class.
    coef : array of shape (n_equations * q,)
        The coefficients of one class after the other.
    model : Model
    mean : array of shape (p,), optional
    null : array of shape (n_equations,), optional
    with_information, by_qr : bool
        As for `fastopt.estimators.scoring.moments.sums`.

    Returns
    -------
    Moments
    """
    k = model.n_equations
    q = len(coef) // k
    first = model.n_classes - k  # the class of the first equation
    own_coef = coef.reshape(k, q)
    score = np.zeros((k, q))
    information = np.zeros((k, q, k, q))
    root = np.zeros((k * q + 1, k * q + 1), order="F")
    totals = np.zeros(4)
    weight_of = block.total_weight()
    for own, x in chunks(block.x, mean, model.fit_intercept):
        y = block.y[own].astype(np.intp)
        rows = np.arange(len(y))
        weight = np.ones(len(y)) if weight_of is None else weight_of[own]
        log_p = log_probabilities(x @ own_coef.T, model)
        totals[:2] += _fit_of(log_p[rows, y], weight)
        if null is not None:
            log_null = log_probabilities(null[None, :], model)[0]
            totals[2:] += _fit_of(log_null[y], weight)
        p = np.exp(log_p)
        residual = -p
        residual[rows, y] += 1.0
        score += (residual[:, first:] * weight[:, None]).T @ x
        if with_information:
            _add_information(information, x, p[:, first:], weight)
            if by_qr:
                root = _with_root(root, x, p, weight, first)
    matrix = information.reshape(k * q, k * q)
    return Moments(
        matrix if with_information else None,
        score.ravel(),
        float(totals[0]),
        float(totals[1]),
        float(totals[2]),
        float(totals[3]),
        *counts(block),
        root=root[: k * q, : k * q] if by_qr and with_information else None,
    )


def _fit_of(log_p: Floats, weight: Floats) -> tuple[float, float]:
    with np.errstate(over="ignore"):
        return float(-2.0 * (log_p @ weight)), float(np.expm1(-log_p) @ weight)


def _add_information(information: Floats, x: Floats, p: Floats, weight: Floats) -> None:
    k = p.shape[1]
    for a in range(k):
        scaled = x * np.sqrt(weight * p[:, a] * (1.0 - p[:, a]))[:, None]
        lower = dsyrk(1.0, scaled.T, lower=1)
        information[a, :, a] += lower + np.tril(lower, -1).T
        scaled = x * (weight * p[:, a])[:, None]
        for b in range(a):
            part = (x * p[:, b : b + 1]).T @ scaled
            information[a, :, b] -= part.T
            information[b, :, a] -= part


def _with_root(root: Floats, x: Floats, p: Floats, weight: Floats, first: int) -> Floats:
    """Return the triangle with the rows sqrt(w p_c) (e_c - p) x of all classes c added.

    The sum over c of p_c (e_c - p) (e_c - p)' is diag(p) - p p'.
    """
    n, n_classes = p.shape
    for c in range(n_classes):
        direction = -p[:, first:]
        if c >= first:
            direction = direction.copy()
            direction[:, c - first] += 1.0
        direction = direction * np.sqrt(weight * p[:, c])[:, None]
        rows = (direction[:, :, None] * x[:, None, :]).reshape(n, -1)
        root = with_rows(root, rows, np.zeros(n))
    return root
