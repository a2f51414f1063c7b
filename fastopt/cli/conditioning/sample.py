"""Rows of a linear model with a given condition number."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fastopt.arrays.dtypes import Array


@dataclass(frozen=True)
class Sample:
    """Rows of a linear model with noise of variance 1.

    The variances of the principal components of the features form a geometric sequence from 1 to
    `condition`. The components are rotated at random, so that each coefficient depends on all of
    them. With the true coefficients, each component explains about as much variance as the noise,
    so that all components must be learned for a low loss.
    """

    condition: float
    X: Array
    y: Array
    root: Array  # root @ root.T is the covariance of the distribution of the rows
    truth: Array  # the true coefficients
    minimizer: Array  # the coefficients that minimise the loss over these rows

    def excess(self, w: Array) -> Array:
        """Return the expected loss, half the squared error, on new rows above its least value."""
        return np.asarray(np.square((w - self.truth) @ self.root).sum(axis=-1) / 2.0)

    def excess_on_rows(self, w: Array) -> float:
        """Return the mean loss on these rows above its least value."""
        return float(np.square(self.X @ (w - self.minimizer)).mean() / 2.0)


def draw_sample(condition: float, n_rows: int, n_features: int, seed: int) -> Sample:
    """Return a random sample; a seed gives the same random numbers for all condition numbers."""
    rng = np.random.default_rng(seed)
    components = rng.standard_normal((n_rows, n_features))
    rotation, _ = np.linalg.qr(rng.standard_normal((n_features, n_features)))
    effects, noise = rng.standard_normal(n_features), rng.standard_normal(n_rows)
    spread = np.sqrt(np.geomspace(1.0, condition, n_features))
    root, truth = rotation * spread, rotation @ (effects / spread)
    X = components @ root.T
    y = X @ truth + noise
    return Sample(condition, X, y, root, truth, np.linalg.lstsq(X, y, rcond=None)[0])
