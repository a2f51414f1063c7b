"""How a fit agrees with its rows: calibration of probabilities, residuals of means."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fastopt.estimators import GLMClassifier
from fastopt.estimators.base import predictor_of
from fastopt.estimators.scoring.model import model_of
from fastopt.estimators.sources.source import Source

Array = np.ndarray[Any, np.dtype[Any]]

BINS = 20
_MOST_POINTS = 4000


@dataclass
class Calibration:
    """Rows in bins of the predicted probability, for each class: shape (classes, BINS)."""

    labels: list[str]
    weight: Array
    predicted: Array  # sum of the probabilities
    observed: Array  # sum of the rows of the class


@dataclass
class Residuals:
    """Predicted means and Pearson residuals, in units of the standard deviation, of some rows."""

    means: list[Array] = field(default_factory=list)
    residuals: list[Array] = field(default_factory=list)


@dataclass
class Spread:
    """Sums that give the standard deviations of columns."""

    n: int = 0
    shift: Array | None = None
    total: Any = 0.0
    squares: Any = 0.0

    def add(self, x: Any) -> None:
        """Add the rows of a block."""
        self.n += x.shape[0]
        if not isinstance(x, np.ndarray):
            self.total = self.total + np.asarray(x.sum(axis=0)).ravel()
            self.squares = self.squares + np.asarray(x.multiply(x).sum(axis=0)).ravel()
            return
        if self.shift is None:
            self.shift = x.mean(axis=0, dtype=np.float64)
        centred = x - self.shift
        self.total = self.total + centred.sum(axis=0)
        self.squares = self.squares + np.einsum("ij,ij->j", centred, centred)

    @property
    def deviations(self) -> Array:
        """The standard deviations."""
        variance = self.squares / self.n - (self.total / self.n) ** 2
        found: Array = np.sqrt(np.maximum(variance, 0.0))
        return found


def diagnose(estimator: Any, source: Source, n: int) -> tuple[Calibration | Residuals, Array]:
    """Return the calibration of a classifier or residuals, and the columns' standard deviations.

    Parameters
    ----------
    estimator : GLMClassifier or GLMRegressor
    source : Source
        The rows of the fit; y has the indices of the classes.
    n : int
        The number of rows.
    """
    spread = Spread()
    fitted = getattr(estimator, "fitted_", None)
    dispersion = 1.0 if fitted is None else fitted.scale
    found: Calibration | Residuals = Residuals()
    if isinstance(estimator, GLMClassifier):
        labels = [str(label) for label in estimator.classes_]
        shape = (len(labels), BINS)
        found = Calibration(labels, np.zeros(shape), np.zeros(shape), np.zeros(shape))
    else:
        model = model_of(
            estimator.family, estimator.link, estimator.overdispersion, estimator.power
        )
    step = -(-n // _MOST_POINTS)
    row = 0
    for block in source.blocks():
        spread.add(block.x)
        if isinstance(found, Calibration):
            weight = block.total_weight()
            weight = np.ones(block.n) if weight is None else weight
            _add(found, estimator.predict_proba(block.x, offset=block.offset), block.y, weight)
        else:
            some = block.part(np.arange(-row % step, block.n, step))
            at = model.observe(some.y, predictor_of(some, estimator.coef_, estimator.intercept_))
            size = np.sqrt(at.variance * dispersion)
            if some.weight is not None:
                size = size / np.sqrt(some.weight)
            found.means.append(at.mean)
            with np.errstate(all="ignore"):
                found.residuals.append((some.y - at.mean) / size)
        row += block.n
    return found, spread.deviations


def _add(found: Calibration, probabilities: Array, y: Array, weight: Array) -> None:
    for index, probability in enumerate(probabilities.T):
        bins = np.minimum((probability * BINS).astype(int), BINS - 1)
        for sums, values in (
            (found.weight, weight),
            (found.predicted, weight * probability),
            (found.observed, weight * (y == index)),
        ):
            sums[index] += np.bincount(bins, values, BINS)
