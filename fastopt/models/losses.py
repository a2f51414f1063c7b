"""The losses: their values, derivatives, means, variances and deviances."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from fastopt._errors import FastoptError
from fastopt.arrays.dtypes import Array
from fastopt.models.activations import sigmoid
from fastopt.models.inputs import dense
from fastopt.models.sums import total


class Loss:
    """Base class of the losses, functions of z and y of shape (n, k). Methods may overwrite z."""

    has_classes = False

    def targets(self, y: npt.ArrayLike, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
        """Check y and return it in the form that the other methods take; z has shape `shape`."""
        y = dense("y", y)
        n, k = shape
        # Otherwise (n, 1) - (n,) would broadcast to (n, n) without an error.
        if y.shape != shape and not (k == 1 and y.shape == (n,)):
            needed = f"{(n,)} or {shape}" if k == 1 else f"{shape}"
            raise FastoptError(f"y has shape {y.shape}; {needed} is needed")
        return y.reshape(shape).astype(dtype, copy=False)

    def value_and_slope(self, z: Array, y: Array) -> tuple[float, Array]:
        """Return the sum of the losses of all rows and its derivative with respect to z."""
        raise NotImplementedError

    def mean(self, z: Array) -> Array:
        """Return the mean of y."""
        raise NotImplementedError

    def variance(self, mean: Array) -> Array:
        """Return the variance of y; it is above 0 even if the mean was rounded to its bound."""
        raise NotImplementedError

    def classes(self, z: Array) -> Array:
        """Return the most likely class; defined only if `has_classes`."""
        raise NotImplementedError

    def deviance(self, y: Array, mean: Array) -> float:
        """Return the deviance: twice the difference of the loss at `mean` and its least value."""
        raise NotImplementedError


class Squared(Loss):
    def value_and_slope(self, z: Array, y: Array) -> tuple[float, Array]:
        z -= y
        return 0.5 * total(z * z), z

    def mean(self, z: Array) -> Array:
        return z

    def variance(self, mean: Array) -> Array:
        return np.ones_like(mean)

    def deviance(self, y: Array, mean: Array) -> float:
        return total((y - mean) ** 2)


class Poisson(Loss):
    def targets(self, y: npt.ArrayLike, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
        y = super().targets(y, shape, dtype)
        wrong = y[~((y >= 0) & (y < np.inf))]
        if wrong.size:
            raise FastoptError(f"y contains {wrong[0]}; allowed for 'poisson': finite, >= 0")
        return y

    def value_and_slope(self, z: Array, y: Array) -> tuple[float, Array]:
        slope = np.exp(z)
        z *= y
        value = total(slope) - total(z)
        slope -= y
        return value, slope

    def mean(self, z: Array) -> Array:
        return np.exp(z, out=z)

    def variance(self, mean: Array) -> Array:
        return np.asarray(np.maximum(mean, np.finfo(mean.dtype).tiny))

    def deviance(self, y: Array, mean: Array) -> float:
        ratio = np.divide(y, mean, out=np.ones_like(y), where=y > 0)  # 0 log 0 = 0
        return 2.0 * total(y * np.log(ratio) - (y - mean))


class Logistic(Loss):
    has_classes = True

    def targets(self, y: npt.ArrayLike, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
        y = super().targets(y, shape, dtype)
        wrong = y[(y != 0) & (y != 1)]
        if wrong.size:
            raise FastoptError(f"y contains {wrong[0]}; allowed for 'logistic': 0 and 1")
        return y

    def value_and_slope(self, z: Array, y: Array) -> tuple[float, Array]:
        # log(1 + exp(z)) - y z equals log(1 + exp(s z)) with s = 1 - 2y, without cancellation.
        sign = 1 - 2 * y
        z *= sign
        value = total(np.maximum(z, 0) + np.log1p(np.exp(-np.abs(z))))
        slope = sigmoid(z)
        slope *= sign
        return value, slope

    def mean(self, z: Array) -> Array:
        return sigmoid(z)

    def variance(self, mean: Array) -> Array:
        return np.asarray(np.maximum(mean * (1 - mean), np.finfo(mean.dtype).eps))

    def classes(self, z: Array) -> Array:
        return (z > 0).astype(np.intp)


class Softmax(Loss):
    has_classes = True

    def targets(self, y: npt.ArrayLike, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
        del dtype
        y = dense("y", y)
        n, k = shape
        if y.dtype.kind not in "iub":
            raise TypeError(f"y has dtype {y.dtype}; 'softmax' needs integers, the class numbers")
        if y.shape != (n,):
            raise FastoptError(f"y has shape {y.shape}; {(n,)} is needed")
        wrong = y[(y < 0) | (y >= k)]
        if wrong.size:
            raise FastoptError(f"y contains {wrong[0]}; allowed: classes 0 to {k - 1}")
        return y.astype(np.intp, copy=False)

    def value_and_slope(self, z: Array, y: Array) -> tuple[float, Array]:
        rows = np.arange(len(y))
        z -= z.max(axis=1, keepdims=True)
        right = z[rows, y]
        np.exp(z, out=z)
        row_sums = z.sum(axis=1, keepdims=True)
        z /= row_sums
        z[rows, y] -= 1
        return total(np.log(row_sums)) - total(right), z

    def mean(self, z: Array) -> Array:
        z -= z.max(axis=1, keepdims=True)
        np.exp(z, out=z)
        z /= z.sum(axis=1, keepdims=True)
        return z

    def classes(self, z: Array) -> Array:
        classes: Array = z.argmax(axis=1)
        return classes


LOSSES: dict[str, Loss] = {
    "softmax": Softmax(),
    "squared": Squared(),
    "logistic": Logistic(),
    "poisson": Poisson(),
}
