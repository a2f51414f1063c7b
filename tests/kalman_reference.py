"""The Kalman-based update, one row at a time, from the paper; no import of the library."""

import numpy as np


def explicit(w, M, X, y, mean, slope, variance, weight=None, keep=1.0):
    """Patel 2016, eqs. (2.5)-(2.7): M may be inflated by 1/keep before each row."""
    w, M = w.copy(), M.copy()
    for j, (x, target) in enumerate(zip(X, y, strict=True)):
        M = M / keep
        m, p = mean(x @ w), slope(x @ w) * x
        v = M @ p
        s = variance(m) / (1.0 if weight is None else weight[j]) + p @ v
        w, M = w + (target - m) / s * v, M - np.outer(v, v) / s
    return w, M


def implicit(w, M, X, y, mean, slope, variance, weight=None, keep=1.0):
    """The same with mean, slope and variance at the linear predictor after the update."""
    w, M = w.copy(), M.copy()
    for j, (x, target) in enumerate(zip(X, y, strict=True)):
        M = M / keep
        prior = 1.0 if weight is None else weight[j]
        eta, v = x @ w, M @ x
        scale = prior * (x @ v)

        def excess(z, eta=eta, scale=scale, target=target):
            return z - eta - scale * (target - mean(z)) * slope(z) / variance(mean(z))

        z = bisect(excess, -30.0, 30.0)
        c = prior * slope(z) ** 2 / variance(mean(z))
        w, M = w + (z - eta) / (x @ v) * v, M - np.outer(v, v) * c / (1 + c * (x @ v))
    return w, M


def bisect(rising, low, high):
    """Return the root of a rising function in [low, high]."""
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if rising(middle) < 0 else (low, middle)
    return (low + high) / 2
