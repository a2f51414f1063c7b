"""How a model is fitted to a source of rows, and the record of the fit."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from fastopt._errors import FastoptError
from fastopt.estimators.inference.fitted import Fitted
from fastopt.estimators.inference.likelihood import log_likelihood, saturated
from fastopt.estimators.inference.robust import with_robust
from fastopt.estimators.scoring.model import Model
from fastopt.estimators.scoring.moments import Moments
from fastopt.estimators.scoring.problem import Options, Problem
from fastopt.estimators.scoring.rounds import Scoring
from fastopt.estimators.sources.block import Block
from fastopt.estimators.sources.source import Source, reading, reduced

__all__ = ["Solution", "fit_source", "null_deviance"]

Floats = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True)
class Solution:
    """The end of a fit.

    Attributes
    ----------
    fitted : Fitted
    losses : list of float
        The objective after each round, divided by the sum of the weights.
    dependent : tuple of str
        The columns that are combinations of those before them.
    separated : str or None
        The column whose coefficient grows without limit.
    problem : str
        Why the fit has not converged; "" if it has.
    no_covariance : bool
        Whether the pass for a robust covariance was interrupted, so that it is NaN.
    """

    fitted: Fitted
    losses: list[float]
    dependent: tuple[str, ...] = ()
    separated: str | None = None
    problem: str = ""
    no_covariance: bool = False


class _Intercept:
    """A source without its columns."""

    n_features = 0
    feature_names = None

    def __init__(self, source: Source) -> None:
        self.source = source

    def blocks(self) -> Iterator[Block]:
        with reading(self.source.blocks()) as blocks:
            yield from map(_without_columns, blocks)


class _InterceptElsewhere(_Intercept):
    """The same of a source with a method `reduced`."""

    def reduced(self, function: Callable[[Block], Any], combine: Callable[[Any, Any], Any]) -> Any:
        return reduced(self.source, partial(_of_intercept, function), combine)


def _without_columns(block: Block) -> Block:
    return replace(block, x=np.empty((block.n, 0)))


def _of_intercept(function: Callable[[Block], Any], block: Block) -> Any:
    return function(_without_columns(block))


def fit_source(source: Source, model: Model, options: Options) -> Solution:
    """Return the maximum-likelihood or penalised fit of a model.

    Parameters
    ----------
    source : Source
    model : Model
    options : Options

    Returns
    -------
    Solution

    Raises
    ------
    FastoptError
        The data cannot be used, or columns depend on others and ``rank_deficient="error"``.
    """
    began = time.perf_counter()
    fit = Problem(source, model, options)
    if options.verbose:
        print(f"{fit.columns.n} rows, {fit.q} coefficients, {model.family} with {model.link} link")

    def report(n: int, loss: float, decrement: float) -> None:
        seconds = time.perf_counter() - began
        print(
            f"round {n}: objective {loss / fit.columns.weight:.10g}, "
            f"step {decrement:.2g} standard errors, {seconds:.1f} s"
        )

    scoring = fit.scoring(report if options.verbose else None)
    null = fit.begin(scoring)
    fit.null_chi2 = null.null_pearson_chi2
    try:
        scoring.run(options.tol, options.max_iter)
    except KeyboardInterrupt:
        if not scoring.n_rounds:
            raise
        scoring.problem = f"interrupted in round {scoring.n_rounds}"
    return _solution(fit, scoring, null)


def _solution(fit: Problem, scoring: Scoring, null: Moments) -> Solution:
    """Return the record of a fit, with coefficients of the columns as they were given."""
    model, options, at = fit.model, fit.options, scoring.at
    assert at.information is not None
    v, inverse = scoring.v, np.full((fit.q, fit.q), math.nan)
    if not options.alpha:
        inverse = scoring.solver.inverse()
    dependent = np.flatnonzero(~scoring.solver.kept)
    names = fit.names()
    if dependent.size and options.rank_deficient == "error":
        columns = ", ".join(names[j] for j in dependent)
        raise FastoptError(
            "the rows do not determine all coefficients: these columns are combinations of those "
            f"before them: {columns}; leave them out, or use alpha > 0 or "
            'rank_deficient="minimum_norm"'
        )
    if dependent.size:
        shortest = _shortest(scoring.solver.null_space(), fit.intercepts)
        v, inverse = shortest @ v, shortest @ inverse @ shortest.T
    rank = fit.q - dependent.size
    df_resid = at.frequency - rank
    scale = 1.0
    if not model.kind.known_dispersion:
        scale = at.pearson_chi2 / df_resid if df_resid > 0 else math.nan
    has_offset = fit.columns.offset_mean is not None
    null_model = null_deviance(fit.source, model) if has_offset else null.null_deviance
    llf, llnull = _log_likelihoods(fit, at, null_model, scale)
    fitted = Fitted(
        coef=fit.coef(v),
        names=names,
        family=model.family,
        link=model.link,
        information=at.information,
        inverse=inverse,
        scale=scale,
        n=at.n,
        n_effective=at.frequency,
        weight_sum=at.weight,
        deviance=at.deviance,
        null_deviance=null_model,
        llf=llf,
        llnull=llnull,
        pearson_chi2=at.pearson_chi2,
        df_model=rank - fit.k,
        df_resid=df_resid,
        n_iter=scoring.n_rounds,
        converged=scoring.converged,
        center=None if fit.anchor is None else fit.center(),
        anchor=fit.anchor or 0,
        anchor_value=fit.columns.anchor_value,
        shape=model.shape or None,
        penalty=options.alpha,
        has_intercept=model.fit_intercept,
        has_offset=has_offset,
        n_equations=fit.k,
        classes=options.classes,
        use_t=options.use_t,
        y_name=options.y_name,
    )
    no_covariance = False
    if not options.alpha:
        if options.verbose and options.cov_type != "nonrobust":
            print(f"one more pass for the covariance of type {options.cov_type}")
        try:
            fitted = with_robust(fit.source, fitted, options.cov_type)
        except KeyboardInterrupt:  # the coefficients took longer than their covariance
            no_covariance = True
            nothing = np.full_like(inverse, math.nan)
            fitted = replace(fitted, cov_type=options.cov_type, robust=nothing)
    return Solution(
        fitted,
        [loss / fit.columns.weight for loss in scoring.losses],
        tuple(names[j] for j in dependent),
        None if scoring.separated is None else names[scoring.separated],
        scoring.problem,
        no_covariance,
    )


def _log_likelihoods(
    fit: Problem, at: Moments, null_model: float, scale: float
) -> tuple[float, float]:
    """Return the log-likelihoods of the fit and of the null model, as statsmodels has them."""
    model, sums = fit.model, fit.columns.saturated
    rows = None
    if math.isnan(sums[1]) and scale > 0:
        rows = float(reduced(fit.source, partial(_saturated, model, scale)))
    own = scale
    if (model.family, model.link) == ("gaussian", "identity"):
        own = at.deviance / at.frequency
    llf = log_likelihood(model.family, at.deviance, own, sums, rows)
    return llf, log_likelihood(model.family, null_model, scale, sums, rows)


def _saturated(model: Model, scale: float, block: Block) -> float:
    return saturated(model.family, block.y, scale, model.shape, block.weight, block.frequency)


def _shortest(null: Floats, intercepts: Any) -> Floats:
    """Return the projection of coefficients on those of the least norm, without the intercepts."""
    coefs = null.copy()
    coefs[intercepts] = 0.0
    return np.eye(len(null)) - null @ np.linalg.pinv(coefs)


def null_deviance(source: Source, model: Model) -> float:
    """Return the deviance of the model with an intercept, and the offset, only.

    Parameters
    ----------
    source : Source
    model : Model

    Returns
    -------
    float
    """
    kind = _InterceptElsewhere if hasattr(source, "reduced") else _Intercept
    fit = Problem(kind(source), replace(model, fit_intercept=True), Options())
    scoring = fit.scoring()
    fit.begin(scoring)
    scoring.run(fit.options.tol, fit.options.max_iter)
    return scoring.at.deviance
