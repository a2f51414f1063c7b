"""Small problems with known minima, shared by tests/training."""

import numpy as np

A = np.array([[3.0, 1.0], [1.0, 2.0]])
b = np.array([9.0, 8.0])
MINIMUM = np.linalg.solve(A, b)
ZERO = np.zeros(2)

RNG = np.random.default_rng(0)
X = RNG.normal(size=(23, 3))
y = X @ [1.0, -2.0, 0.5] + 0.1 * RNG.normal(size=23)


def quadratic(x):
    return x @ A @ x / 2 - b @ x, A @ x - b


def squared(x, X, y):
    residual = X @ x - y
    return residual @ residual / (2 * len(y)), X.T @ residual / len(y)
