"""The Kalman-based update in NumPy, one row at a time, written from the paper.

It does not import fastopt.
"""

import numpy as np


def logistic(z):
    return 1 / (1 + np.exp(-z))


ALPHA = 0.5  # of the negative binomial
# The mean, its slope and the variance of each family and link.
MODEL = {
    ("gaussian", "identity"): (lambda z: z, lambda z: 1.0, lambda m: 1.0),
    ("binomial", "logit"): (logistic, lambda z: logistic(z) * logistic(-z),
                             lambda m: m * (1 - m)),
    ("binomial", "cloglog"): (lambda z: -np.expm1(-np.exp(z)), lambda z: np.exp(z - np.exp(z)),
                               lambda m: m * (1 - m)),
    ("poisson", "log"): (np.exp, np.exp, lambda m: m),
    ("gamma", "log"): (np.exp, np.exp, lambda m: m**2),
    ("gamma", "inverse"): (lambda z: 1 / z, lambda z: -1 / z**2, lambda m: m**2),
    ("negative_binomial", "log"): (np.exp, np.exp, lambda m: m + ALPHA * m**2),
}  # fmt: skip


def explicit(
    w, M, X, y, mean, slope, variance, weight=None, keep=1.0, max_trace=np.inf, offset=None
):
    """Return w and M after explicit updates: Patel 2016, eqs. (2.5)-(2.7).

    M is divided by `keep` before each row while its trace is below `max_trace`. The predictor of
    row j is x_j'w + offset[j].
    """
    w, M = w.copy(), M.copy()
    for j, (x, target) in enumerate(zip(X, y, strict=True)):
        M = M / keep if np.trace(M) < max_trace else M
        z = x @ w + (0.0 if offset is None else offset[j])
        m, p = mean(z), slope(z) * x
        v = M @ p
        s = variance(m) / (1.0 if weight is None else weight[j]) + p @ v
        w, M = w + (target - m) / s * v, M - np.outer(v, v) / s
    return w, M


def implicit(w, M, X, y, mean, slope, variance, weight=None, keep=1.0, offset=None):
    """Return w and M after implicit updates: the mean is taken at the updated predictor."""
    w, M = w.copy(), M.copy()
    for j, (x, target) in enumerate(zip(X, y, strict=True)):
        M = M / keep
        prior = 1.0 if weight is None else weight[j]
        eta, v = x @ w + (0.0 if offset is None else offset[j]), M @ x
        scale = prior * (x @ v)

        def excess(z, eta=eta, scale=scale, target=target):
            return z - eta - scale * (target - mean(z)) * slope(z) / variance(mean(z))

        z = bisect(excess, -30.0, 30.0)
        c = prior * slope(z) ** 2 / variance(mean(z))
        w, M = w + (z - eta) / (x @ v) * v, M - np.outer(v, v) * c / (1 + c * (x @ v))
    return w, M


def bisect(rising, low, high):
    """Return the root of an increasing function in [low, high]."""
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if rising(middle) < 0 else (low, middle)
    return (low + high) / 2
