"""Penalised fits against glum: the same objective, to 1e-8 of it or below."""

import numpy as np
import pytest
import statsmodels.api as sm
from glum import GeneralizedLinearRegressor

from fastopt.estimators import Block, GLMClassifier, GLMRegressor, moments


def columns(name):
    data = getattr(sm.datasets, name).load()
    X, y = np.asarray(data.exog, float), np.asarray(data.endog, float)
    return (X - X.mean(axis=0)) / X.std(axis=0), y


def objective(X, y, family, coef, intercept, alpha, l1_ratio):
    at = moments(Block(X, y), np.append(intercept, coef), family=family)
    size = l1_ratio * np.abs(coef).sum() + (1 - l1_ratio) / 2 * coef @ coef
    return at.deviance / (2 * len(y)) + alpha * size


# glum's line search fails where its gradient is at the accuracy of rounding.
@pytest.mark.filterwarnings("ignore:Line search failed")
@pytest.mark.parametrize("l1_ratio", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("alpha", [1e-3, 1e-2, 1e-1])
@pytest.mark.parametrize("name", ["fair", "randhie", "scotland"])
def test_objectives_of_elastic_nets(name, alpha, l1_ratio):
    X, y = columns(name)
    family = {"fair": "binomial", "randhie": "poisson", "scotland": "gamma"}[name]
    penalty = {"alpha": alpha, "l1_ratio": l1_ratio, "tol": 1e-12}
    if family == "binomial":
        y = (y > 0) * 1.0
        model = GLMClassifier(**penalty).fit(X, y)
        coef, intercept = model.coef_[0], model.intercept_[0]
    else:
        model = GLMRegressor(family, **penalty).fit(X, y)
        coef, intercept = model.coef_, model.intercept_
    peer = GeneralizedLinearRegressor(
        family=family,
        link="auto" if family == "binomial" else "log",
        alpha=alpha,
        l1_ratio=l1_ratio,
        gradient_tol=1e-9,
        step_size_tol=None,
        max_iter=300,
    ).fit(X, y)
    own = objective(X, y, family, coef, intercept, alpha, l1_ratio)
    other = objective(X, y, family, peer.coef_, peer.intercept_, alpha, l1_ratio)
    assert own <= other + 1e-8 * abs(other)
    assert own == pytest.approx(other, rel=1e-8)
    assert ((coef == 0) == (peer.coef_ == 0)).all()
