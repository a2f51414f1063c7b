"""Data and comparisons that the tests of KalmanSGD share."""

import numpy as np
from kalman_reference import ALPHA, logistic
from support import bits

from fastopt.families import family_of
from fastopt.kalman._kalman import FAMILIES

# The families and links of KalmanSGD; those in kalman_reference.MODEL are without probit, because
# NumPy has no normal distribution.
FILTERED = [family for family in FAMILIES if family_of(family[0]).has_filter]
LOOPED = [family for family in FILTERED if family[1] != "probit"]


def data(family, n=300, p=6, seed=0):
    """Return X, y and initial coefficients."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, p)) / np.sqrt(p)
    w = rng.normal(size=p)
    if family[1] == "inverse":
        X, w = np.abs(X) + 0.1, np.abs(w) + 1.0
    z = X @ w
    y = {
        "gaussian": lambda: z + rng.normal(size=n),
        "binomial": lambda: (rng.random(n) < logistic(z)).astype(float),
        "poisson": lambda: rng.poisson(np.exp(z)).astype(float),
        "gamma": lambda: rng.gamma(2.0, (1 / z if family[1] == "inverse" else np.exp(z)) / 2),
        "negative_binomial": lambda: rng.negative_binomial(2, 1 / (1 + np.exp(z))).astype(float),
    }[family[0]]()
    return X, y, w


def alpha_of(family):
    return {"alpha": ALPHA} if family[0] == "negative_binomial" else {}


def close(a, b, tolerance):
    """Assert that a is b, up to `tolerance` times the largest element."""
    assert np.max(np.abs(a - b)) <= tolerance * np.max(np.abs(b))


def everything(k):
    """Return the bits of the state of a filter."""
    return bits(k.state_dict())


def moderate(family):
    """Return an initial variance with which explicit updates do not overflow."""
    return 0.1 if family[1] in ("log", "inverse", "cloglog") else 100.0
