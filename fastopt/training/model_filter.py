"""A model's parameters as the coefficients of a `KalmanSGD`."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fastopt._errors import FastoptError
from fastopt.arrays.dtypes import Array
from fastopt.kalman import KalmanSGD
from fastopt.models import GLM
from fastopt.optimizers.base.arguments import Params

FAMILIES = {"linear": "gaussian", "logistic": "binomial", "poisson": "poisson"}


class ModelFilter:
    """A `KalmanSGD` whose coefficients are the parameters of a model, updated in place.

    The model has ``mean_and_jacobian(params, X)`` and may have ``variance(mean)``, by default 1.

    Attributes
    ----------
    is_glm : bool
        Whether `absorb_rows` can be used: for a `fastopt.models.GLM`, unless it is "softmax".
    """

    lr = math.nan  # there is no learning rate

    def __init__(self, model: Any, params: Params, **options: Any) -> None:
        self.model = model
        self.is_glm = isinstance(model, GLM) and model.family in FAMILIES
        self._arrays = _in_order(model, params)
        self.kalman = KalmanSGD(np.concatenate([a.ravel() for a in self._arrays]), **options)

    def absorb_rows(self, X: Array, y: Array, *, new_pass: bool = False) -> None:
        """Update a GLM with `KalmanSGD.partial_fit`, which evaluates the mean after the update.

        The k outputs of a row are absorbed as k observations.
        """
        design, y = design_matrix(X, self.model.sizes[-1]), np.asarray(y).reshape(-1)
        self.kalman.partial_fit(design, y, FAMILIES[self.model.family], new_pass=new_pass)
        self._set_parameters()

    def absorb(self, y: Array, mean: Array, jac: Array) -> float:
        """Update with rows; ``mean`` and ``jac`` are those at the current parameters.

        Return half the mean over the rows of the squared residuals before the update.
        """
        y, variance = self._observed(y, mean)
        self.kalman.update(y, mean, jac, variance)
        self._set_parameters()
        return _half_mean_square(y, mean)

    def loss_and_score(self, y: Array, mean: Array, jac: Array) -> tuple[float, Array]:
        """Return the loss of `absorb`, and the gradient that is 0 where the filter converges.

        The gradient is -J' R^-1 (y - mean) divided by the number of rows, where R is the variance.
        For "multinomial", J is the Jacobian of the logits, and R^-1 is omitted.
        """
        y, variance = self._observed(y, mean)
        residual = y - mean if isinstance(variance, str) else (y - mean) / variance
        rows = jac.reshape(-1, jac.shape[-1])
        return _half_mean_square(y, mean), -(rows.T @ residual.reshape(-1)) / len(y)

    def _observed(self, y: Array, mean: Array) -> tuple[Array, Any]:
        """Return the observations in the shape of the mean, and their variance."""
        variance = self.model.variance(mean) if hasattr(self.model, "variance") else 1.0
        if isinstance(variance, str) and variance == "multinomial":
            return probabilities(y, mean.shape), variance
        if y.size == mean.size:  # y may have shape (n,) and mean (n, 1)
            y = y.reshape(mean.shape)
        return y, variance

    def _set_parameters(self) -> None:
        coef, end = self.kalman.coef, 0
        for array in self._arrays:
            start, end = end, end + array.size
            array[...] = coef[start:end].reshape(array.shape)


def design_matrix(X: Array, k: int) -> Array:
    """Return the derivatives of the k linear predictors of a GLM, one row for each predictor.

    Columns are in the order of the model's parameters: weights (n_features, k) row by row, then
    the k biases.
    """
    X = np.asarray(X, np.float64)
    with_bias = np.column_stack([X, np.ones(len(X))])
    return with_bias if k == 1 else np.kron(with_bias, np.eye(k))


def probabilities(y: Array, shape: tuple[int, ...]) -> Array:
    """Return class labels as one-hot rows; one-hot rows and probabilities as they are.

    Raises
    ------
    FastoptError, TypeError
        Labels that are not integers in 0, ..., k - 1, or rows that are not probabilities.
    """
    n, k = shape
    y = np.asarray(y)
    if y.shape == shape:
        sums = y.sum(axis=1)
        wrong = np.flatnonzero(~((y >= 0).all(axis=1) & (abs(sums - 1) <= 1e-6)))
        if wrong.size:
            raise FastoptError(
                f"y[{wrong[0]}] is {y[wrong[0]]}; probabilities that sum to 1 are needed, or "
                f"integer labels of shape ({n},)"
            )
        return y
    if y.shape != (n,):
        raise FastoptError(
            f"y has shape {y.shape}; ({n},), the labels, or {shape}, a row of probabilities for "
            "each, is needed"
        )
    if y.dtype.kind not in "iu":
        raise TypeError(
            f"y has dtype {y.dtype}; labels must be integers in 0..{k - 1}: use y.astype(int) if "
            "that is what they are"
        )
    wrong = np.flatnonzero((y < 0) | (y >= k))
    if wrong.size:
        raise FastoptError(f"y[{wrong[0]}] is {y[wrong[0]]}; allowed: labels 0 to {k - 1}")
    one_hot: Array = np.eye(k)[y]
    return one_hot


def _half_mean_square(y: Array, mean: Array) -> float:
    return float(np.square(y - mean).sum()) / (2 * len(y))


def _in_order(model: Any, params: Params) -> list[Array]:
    """Return the parameters in the order of the Jacobian's columns."""
    if not callable(getattr(model, "mean_and_jacobian", None)):
        raise FastoptError(
            f"fun is {model!r}; method='ksgd' needs more than a loss and its gradient: a model "
            "with mean_and_jacobian(params, X), such as fastopt.models.MLP has, as in "
            "minimize(model, model.init(), (X, y), method='ksgd')"
        )
    if isinstance(params, dict):
        return [params[name] for name in getattr(model, "shapes", params)]
    return list(params) if isinstance(params, (list, tuple)) else [params]
