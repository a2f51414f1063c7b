"""Deviances, log-likelihoods and covariances from their formulas, with all rows at once."""

import numpy as np
from scipy import stats
from scipy.special import ndtr, xlogy

MEANS = {
    "identity": lambda z: z,
    "logit": lambda z: 1 / (1 + np.exp(-z)),
    "probit": ndtr,
    "cloglog": lambda z: -np.expm1(-np.exp(z)),
    "log": np.exp,
    "inverse": lambda z: 1 / z,
    "inverse_squared": lambda z: z**-0.5,
}


SLOPES = {
    "identity": lambda z: 1.0,
    "logit": lambda z: np.exp(-z) / (1 + np.exp(-z)) ** 2,
    "probit": lambda z: np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi),
    "cloglog": lambda z: np.exp(z - np.exp(z)),
    "log": np.exp,
    "inverse": lambda z: -1 / z**2,
    "inverse_squared": lambda z: -0.5 * z**-1.5,
}


def variance(family, m, shape):
    return {
        "gaussian": np.ones_like(m),
        "binomial": m * (1 - m),
        "poisson": m,
        "gamma": m**2,
        "inverse_gaussian": m**3,
        "negative_binomial": m + (shape or 0) * m**2,
        "tweedie": m ** (shape or 0),
    }[family]


def unit_deviance(family, y, m, shape=None):
    p = shape if family == "tweedie" else 1.5
    a = shape if family == "negative_binomial" else 1.0
    return {
        "gaussian": lambda: (y - m) ** 2,
        "binomial": lambda: 2 * (xlogy(y, y / m) + xlogy(1 - y, (1 - y) / (1 - m))),
        "poisson": lambda: 2 * (xlogy(y, y / m) - y + m),
        "gamma": lambda: 2 * ((y - m) / m - np.log(y / m)),
        "inverse_gaussian": lambda: (y - m) ** 2 / (y * m**2),
        "negative_binomial": lambda: (
            2 * (xlogy(y, y / m) - (y + 1 / a) * np.log((1 + a * y) / (1 + a * m)))
        ),
        "tweedie": lambda: (
            2
            * (
                y ** (2 - p) / ((1 - p) * (2 - p))
                - y * m ** (1 - p) / (1 - p)
                + m ** (2 - p) / (2 - p)
            )
        ),
    }[family]()


def log_density(family, y, m, s, v, shape=None):
    """Return log p(y) of each row for a dispersion s and a precision weight v."""
    k = v / s
    if family == "gaussian":
        return stats.norm.logpdf(y, m, k**-0.5)
    if family == "binomial":  # v trials
        return stats.binom.logpmf(np.round(v * y), v, m)
    if family == "poisson":
        return v * stats.poisson.logpmf(y, m)
    if family == "gamma":
        return stats.gamma.logpdf(y, k, scale=m / k)
    if family == "inverse_gaussian":
        return stats.invgauss.logpdf(y, m / k, scale=k)
    if family == "negative_binomial":
        return v * stats.nbinom.logpmf(y, 1 / shape, 1 / (1 + shape * m))
    return [tweedie_log_density(*row, shape) for row in np.broadcast(y, m, k)]


def tweedie_log_density(y, m, k, p):
    """Return log p(y) of a Poisson sum of gamma variables: the sum over their number."""
    rate = k * m ** (2 - p) / (2 - p)
    if y == 0:
        return -rate
    each, scale = (2 - p) / (p - 1), (p - 1) * m ** (p - 1) / k
    count = np.arange(1, 400)
    terms = stats.poisson.logpmf(count, rate) + stats.gamma.logpdf(y, count * each, scale=scale)
    return terms.max() + np.log(np.exp(terms - terms.max()).sum())


def multinomial_sandwich(X, y, P, f, v, kind, groups=None):
    """Return a robust covariance of the coefficients of all classes but the first."""
    n, k = f.sum(), P.shape[1] - 1
    bread = sum(
        fi * vi * np.kron(np.diag(p[1:]) - np.outer(p[1:], p[1:]), np.outer(x, x))
        for x, p, fi, vi in zip(X, P, f, v, strict=True)
    )
    inverse = np.linalg.inv(bread)
    residual = (y[:, None] == np.arange(1, k + 1)) - P[:, 1:]
    scores = np.array([vi * np.kron(r, x) for x, r, vi in zip(X, residual, v, strict=True)])
    p = len(bread)
    if kind == "cluster":
        sums = [(f[:, None] * scores)[groups == g].sum(axis=0) for g in np.unique(groups)]
        g = len(sums)
        factor = g / (g - 1) * (n - 1) / (n - p)
        return factor * inverse @ sum(np.outer(s, s) for s in sums) @ inverse
    factor = {"HC0": 1.0, "HC1": n / (n - p)}[kind]
    return factor * inverse @ ((scores.T * f) @ scores) @ inverse


def sandwich(X, y, z, family, link, shape, v, f, kind, groups=None):
    """Return a robust covariance; the derivative of the score is a complex step."""
    mean, slope = MEANS[link], SLOPES[link]

    def score(z):
        return (y - mean(z)) * slope(z) / variance(family, mean(z), shape)

    observed = -score(z + 1e-100j).imag / 1e-100
    expected = slope(z) ** 2 / variance(family, mean(z), shape)
    bread = np.linalg.inv((X.T * (f * v * observed)) @ X)
    q = v * score(z)
    n, p = f.sum(), X.shape[1]
    if kind == "cluster":
        sums = [((f * q)[:, None] * X)[groups == g].sum(axis=0) for g in np.unique(groups)]
        g = len(sums)
        factor = g / (g - 1) * (n - 1) / (n - p)
        return factor * bread @ sum(np.outer(s, s) for s in sums) @ bread
    root = np.sqrt(v * expected)[:, None] * X
    leverage = np.diagonal(root @ np.linalg.inv((root.T * f) @ root) @ root.T)
    divisor = {"HC0": 1, "HC1": (n - p) / n, "HC2": 1 - leverage, "HC3": (1 - leverage) ** 2}[kind]
    return bread @ ((X.T * (f * q**2 / divisor)) @ X) @ bread
