"""The activation functions of hidden layers, and their derivatives."""

from collections.abc import Callable

import numpy as np

from fastopt.arrays.dtypes import Array


def relu(z: Array) -> Array:
    return np.maximum(z, 0, out=z)


def tanh(z: Array) -> Array:
    return np.tanh(z, out=z)


def sigmoid(z: Array) -> Array:
    e = np.exp(-np.abs(z))  # at most 1, so neither branch overflows
    numerator = np.where(z >= 0, 1, e)
    e += 1
    return np.divide(numerator, e, out=z)


# Name: (function, derivative). A function overwrites its argument z with its value h; the
# derivative is computed from h, not from z.
ACTIVATIONS: dict[str, tuple[Callable[[Array], Array], Callable[[Array], Array]]] = {
    "relu": (relu, lambda h: h > 0),
    "tanh": (tanh, lambda h: 1 - h * h),
    "sigmoid": (sigmoid, lambda h: h * (1 - h)),
}
