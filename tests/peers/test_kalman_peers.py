"""KalmanSGD against statsmodels: maximum likelihood estimates and their standard errors."""

import numpy as np
import pytest
import statsmodels.api as sm

import fastopt

ROWS, P = 20_000, 20


def case(name):
    rng = np.random.default_rng(1)
    X = rng.normal(size=(ROWS, P)) / np.sqrt(P)
    X[:, 0] = 1.0
    z = X @ rng.normal(size=P)
    m = np.exp(z)
    if name == "binomial":
        return X, (rng.random(ROWS) < 1 / (1 + np.exp(-z))).astype(float), sm.families.Binomial()
    if name == "poisson":
        return X, rng.poisson(m).astype(float), sm.families.Poisson()
    if name == "gamma":
        return X, rng.gamma(2.0, m / 2), sm.families.Gamma(sm.families.links.Log())
    y = rng.negative_binomial(2, 1 / (1 + m / 2)).astype(float)
    return X, y, sm.families.NegativeBinomial(alpha=0.5)


@pytest.mark.parametrize("m0", [1.0, 100.0, 1e6])
@pytest.mark.parametrize("name", ["binomial", "poisson", "gamma", "negative_binomial"])
def test_coefficients_after_one_and_twenty_passes(name, m0):
    X, y, family = case(name)
    judge = sm.GLM(y, X, family=family).fit(tol=1e-12)
    args = {"family": name, "link": None if name != "gamma" else "log"}
    if name == "negative_binomial":
        args["alpha"] = 0.5

    def distance(k):
        return np.sqrt(np.mean(((k.coef - judge.params) / judge.bse) ** 2))

    k = fastopt.KalmanSGD(P, m0=m0).partial_fit(X, y, **args)
    print(name, m0, distance(k), np.max(np.abs(k.stderr / judge.bse - 1)))
    assert distance(k) <= 0.3
    assert np.max(np.abs(k.stderr / judge.bse - 1)) <= 0.05
    for _ in range(19):
        k.partial_fit(X, y, new_pass=True, **args)
    print(distance(k))
    assert distance(k) <= 0.02
