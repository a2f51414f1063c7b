"""When the coefficients are known precisely enough: the stop condition of one pass."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from fastopt._errors import FastoptError
from fastopt.kalman.covariance import Floats, Form


class Stop:
    """A stop condition, and the number of rows after which it was first met."""

    def __init__(self, kind: str, tolerance: float, n_params: int) -> None:
        self.kind, self.tolerance = kind, tolerance
        self.reached_at: int | None = None
        self._least = 2 * n_params + 10  # with fewer rows the dispersion is unreliable
        # Number of rows, mean of y, its sum of squared deviations, sums of squares of columns.
        self._n, self._mean, self._deviations = 0, 0.0, 0.0
        self._squares: Floats = np.zeros(n_params)

    def add_rows(self, x: Floats, y: Floats) -> None:
        """Add rows that have been absorbed to the statistics."""
        if self.kind == "se" and len(y):
            self.add_squares(np.einsum("ij,ij->j", x, x), y)

    def add_squares(self, squares: Floats, y: Floats) -> None:
        """Add rows to the statistics, given the sum of squares of each of their columns."""
        mean = float(np.mean(y))
        self._add(len(y), mean, float(np.sum((y - mean) ** 2)), squares)

    def _add(self, n: int, mean: float, deviations: float, squares: Floats) -> None:
        share, apart = n / (self._n + n), mean - self._mean
        self._deviations += deviations + apart**2 * self._n * share
        self._mean += apart * share
        self._n += n
        self._squares += squares

    def evaluate(self, form: Form, dispersion: float, has_identity_link: bool) -> None:
        """Evaluate the condition, unless it was met before."""
        n_obs = form.counts[0]
        if self.reached_at is not None or n_obs < self._least or not math.isfinite(dispersion):
            return
        try:
            variances = dispersion * form.variances()
        except FastoptError:  # the rows so far do not determine the coefficients
            return
        if self.kind == "trace":
            met = variances.sum() <= self.tolerance
        else:
            spread = math.sqrt(self._deviations / self._n) if has_identity_link else 1.0
            errors = np.sqrt(variances * self._squares / self._n)
            met = errors.max() <= self.tolerance * spread
        if met:
            self.reached_at = n_obs

    def state(self) -> dict[str, Any]:
        """Return the statistics as items of a state dict."""
        return {
            "stop_reached_at": self.reached_at,
            "stop_y": np.array([self._n, self._mean, self._deviations]),
            "stop_squares": self._squares.copy(),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Set the statistics from the items that `state` returned."""
        self.reached_at = state["stop_reached_at"]
        n, self._mean, self._deviations = (float(value) for value in state["stop_y"])
        self._n, self._squares = int(n), np.array(state["stop_squares"])

    def merge(self, other: Stop) -> None:
        """Add the statistics of other rows; the condition counts as not met until evaluated."""
        self.reached_at = None
        if other._n:
            self._add(other._n, other._mean, other._deviations, other._squares)
