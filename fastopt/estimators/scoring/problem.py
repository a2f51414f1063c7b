"""`Problem`: a model with its data, for scoring: sums, penalty, unit of steps and the start."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from fastopt._errors import FastoptError
from fastopt.estimators.scoring import multinomial
from fastopt.estimators.scoring.columns import Columns, columns_of
from fastopt.estimators.scoring.model import Model
from fastopt.estimators.scoring.moments import Moments, chunks, sums
from fastopt.estimators.scoring.rounds import STILL, Penalty, Scoring
from fastopt.estimators.sources.array import ArraySource
from fastopt.estimators.sources.block import Block
from fastopt.estimators.sources.source import Source, reduced

__all__ = ["Options", "Problem"]

Floats = np.ndarray[Any, np.dtype[np.float64]]

SAMPLE_TOL, SAMPLE_ROUNDS = 1e-2, 12
# A fit of labels whose deviance / (2 sum of weights) is below this predicts every label: the
# classes are separated.
SEPARATED = 1e-6
MOST_COEFFICIENTS = 2**15
ROWS_FOR_A_SAMPLE = 10  # for each coefficient


@dataclass(frozen=True)
class Options:
    """What a fit needs to know besides the model.

    Attributes
    ----------
    alpha, l1_ratio : float
        Strength of the penalty, and the part of it that is L1.
    tol : float
    max_iter : int
    rank_deficient : {"minimum_norm", "error"}
    cov_type : str
        One of `fastopt.estimators.inference.robust.COV_TYPES`.
    use_t : bool
        Student's t instead of the normal distribution.
    y_name : str
    classes : tuple of str
        The labels of a multinomial model.
    verbose : int
    """

    alpha: float = 0.0
    l1_ratio: float = 0.0
    tol: float = 1e-8
    max_iter: int = 100
    rank_deficient: str = "minimum_norm"
    cov_type: str = "nonrobust"
    use_t: bool = False
    y_name: str = "y"
    classes: tuple[str, ...] = ()
    verbose: int = 0


class Problem:
    """A model, its data and what the first pass has found.

    Parameters
    ----------
    source : Source
    model : Model
    options : Options
    """

    def __init__(self, source: Source, model: Model, options: Options) -> None:
        self.source, self.model, self.options = source, model, options
        self.first = int(model.fit_intercept)
        self.k = model.n_equations
        self.width = source.n_features + self.first
        self.q = self.k * self.width
        if self.q > MOST_COEFFICIENTS:
            raise FastoptError(
                f"there are {self.q} coefficients, and scoring needs matrices of "
                f"{8 * self.q**2 / 2**30:.0f} GiB; use a solver with epochs, such as "
                "solver='adagrad'"
            )
        self.columns = columns_of(source, model)
        self.margin = 0.25 / max(1.0, self.columns.weight)
        self.null = _null_predictor(self.columns, model, self.margin)
        self.intercepts = np.arange(0, self.q, self.width) if self.first else np.arange(0)
        self.null_chi2 = 0.0

    @property
    def anchor(self) -> int | None:
        """The index of the intercept, or of the constant column in its place."""
        return 0 if self.first else self.columns.anchor

    def evaluate(
        self,
        v: Floats,
        /,
        *,
        with_information: bool = True,
        by_qr: bool = False,
        source: Source | None = None,
        null: Floats | None = None,
    ) -> Moments:
        own_sums = multinomial.sums if self.model.n_classes else sums
        function = partial(
            own_sums,
            coef=v,
            model=self.model,
            mean=self.columns.mean,
            null=null,
            with_information=with_information,
            by_qr=by_qr,
        )
        total: Moments = reduced(self.source if source is None else source, function)
        return total

    def penalty(self, weight: float) -> Penalty:
        strength = np.full(self.q, weight * self.options.alpha)
        strength[self.intercepts] = 0.0
        ratio = self.options.l1_ratio
        # Adding one vector to the coefficients of all classes changes no probability.  The penalty
        # is that after adding the vector for which it is least, which makes their sum 0.
        mix = np.eye(self.k)
        if self.model.n_classes and not self.model.symmetric:
            mix -= 1.0 / self.model.n_classes
        return Penalty(ratio * strength, (1.0 - ratio) * strength[: self.width], mix)

    def scoring(self, report: Callable[[int, float, float], None] | None = None) -> Scoring:
        family, separated = self.model.kind, -math.inf
        if self.columns.has_labels and not self.options.alpha:
            separated = min(0.1, SEPARATED * self.columns.weight)
        return Scoring(
            self.evaluate,
            self.largest_move,
            self.penalty(self.columns.weight),
            self.variance,
            linear=family.name == "gaussian",
            may_separate=family.known_dispersion or family.name == "tweedie",
            separated_below=separated,
            reach=np.tile(np.append(np.ones(self.first), self.columns.reach), self.k),
            report=report,
        )

    def largest_move(self, step: Floats) -> float:
        slopes, shifts = self._slopes(step)
        bound = float((np.abs(slopes) @ self.columns.reach + np.abs(shifts)).max())
        if bound <= STILL:
            return bound
        steps = step.reshape(self.k, self.width).T
        intercept = self.model.fit_intercept
        function = partial(_largest_predictor, steps, self.columns.mean, intercept)
        return float(reduced(self.source, function, max))

    def _slopes(self, v: Floats) -> tuple[Floats, Floats]:
        """Return the coefficients of the columns and the intercepts, a row for each equation."""
        rows = v.reshape(self.k, self.width)
        return rows[:, self.first :], rows[:, : self.first].sum(axis=1)

    def variance(self, at: Moments) -> float:
        """Return the variance by which the squared Newton decrement is divided."""
        if self.model.kind.known_dispersion:
            # Small weights and small counts make all steps short in standard errors.
            size = 1.0 if self.model.n_classes else float(self.columns.y_mean[0]) or self.margin
            return min(1.0, at.weight / at.frequency) * min(1.0, size)
        floor = 1e-14 * self.null_chi2 + np.finfo(float).tiny
        return max(at.pearson_chi2, floor) / at.frequency

    def center(self) -> Floats:
        """Return what is subtracted from the column of each coefficient."""
        return np.concatenate([np.zeros(self.first), self.columns.mean])

    def coef(self, v: Floats) -> Floats:
        """Return the coefficients of the columns as they were given."""
        w = v.reshape(self.k, self.width).copy()
        if self.anchor is not None:
            w[:, self.anchor] -= w @ self.center() / self.columns.anchor_value
        return w.ravel()

    def names(self) -> tuple[str, ...]:
        given = self.source.feature_names
        own = [f"x{i + 1}" for i in range(self.source.n_features)] if given is None else given
        intercept = getattr(self.source, "intercept_name", "const")
        own = [*[intercept][: self.first], *own]
        if self.k == 1:
            return tuple(own)
        labels = self.options.classes[self.model.n_classes - self.k :]
        return tuple(f"{name}[{label}]" for label in labels for name in own)

    # The start

    def null_coef(self) -> Floats | None:
        """Return the coefficients with the same linear predictor for each row, if there are any."""
        if self.anchor is None:
            return None
        v = np.zeros((self.k, self.width))
        v[:, self.anchor] = self.null / self.columns.anchor_value
        return v.ravel()

    def flat_coef(self) -> Floats:
        """Return coefficients whose linear predictors are near to that of the mean of y."""
        if self.model.n_classes:
            return np.zeros(self.q)
        sample = self.columns.sample
        target = np.full(sample.n, self.null[0])
        linear = Model("gaussian", "identity", 0.0, self.model.fit_intercept)
        block = replace(sample, y=target, offset=None)
        at = sums(block, np.zeros(self.q), linear, self.columns.mean)
        assert at.information is not None
        return np.asarray(np.linalg.lstsq(at.information, at.score, rcond=1e-12)[0], dtype=float)

    def sample_coef(self, start: Floats) -> Floats | None:
        """Return the fit of the sample, or None if it is too small or has no maximum."""
        sample = self.columns.sample
        if self.model.family == "gaussian" or sample.n < ROWS_FOR_A_SAMPLE * self.q:
            return None
        source = ArraySource(sample)

        def evaluate(
            v: Floats, /, *, with_information: bool = True, by_qr: bool = False
        ) -> Moments:
            return self.evaluate(v, with_information=with_information, by_qr=by_qr, source=source)

        at = evaluate(start)
        if not at.is_finite:
            return None
        scoring = Scoring(evaluate, lambda _: 0.0, self.penalty(at.weight), variance=self.variance)
        scoring.begin(start, at)
        scoring.run(SAMPLE_TOL, SAMPLE_ROUNDS)
        return scoring.v if scoring.converged else None

    def begin(self, scoring: Scoring) -> Moments:
        """Start at the fit of the sample or at the null model; return the sums there.

        The first pass sums the deviance of the null model too.
        """
        null = self.null_coef()
        start = self.flat_coef() if null is None else null
        guess = self.sample_coef(start)
        nothing = self.columns.sample.part(np.arange(0))
        self.columns = replace(self.columns, sample=nothing)  # 8 MB, which passes do not need
        best: tuple[float, Floats, Moments] | None = None
        sums_of_null = None
        for v in (guess, start, np.zeros(self.q)):
            if v is None:
                continue
            at = self.evaluate(v, null=self.null)
            sums_of_null = at
            if not at.is_finite:
                continue
            loss = scoring.objective(v, at)
            if best is None or loss < best[0]:
                best = loss, v, at
            if v is not guess or null is None or loss <= 0.5 * at.null_deviance:
                break
        if best is None:
            advice = "divide them by their size" if self.first else "add an intercept"
            raise FastoptError(
                "the deviance or a sum of squares of X is not finite at the start: y, X, weights "
                f"or offset are too large for float64 or for the {self.model.link} link; {advice}"
            )
        assert sums_of_null is not None
        scoring.begin(best[1], best[2])
        return sums_of_null


def _null_predictor(columns: Columns, model: Model, margin: float) -> Floats:
    """Return the linear predictors of the mean of y, less the mean offset.

    A mean at the end of its range is moved inside it by a margin.
    """
    kind, mean = model.kind, columns.y_mean
    if model.n_classes:
        log_share = np.log(np.maximum(mean, margin))
        return log_share if model.symmetric else log_share[1:] - log_share[0]
    mean = np.where(mean <= kind.low, kind.low + margin, mean)
    mean = np.where(mean >= kind.high, kind.high - margin, mean)
    return np.asarray(model.predictor(mean) - (columns.offset_mean or 0.0))


def _largest_predictor(steps: Floats, mean: Floats, fit_intercept: bool, block: Block) -> float:
    """Return the largest change of a linear predictor of a block by steps."""
    parts = chunks(block.x, mean, fit_intercept)
    return max((float(np.abs(x @ steps).max()) for _, x in parts), default=0.0)
