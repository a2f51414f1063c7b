"""GLMRegressor: scikit-learn's contract, and the maximum against other ways to find it."""

import numpy as np
import pytest
from sklearn.linear_model import LinearRegression
from sklearn.utils.estimator_checks import estimator_checks_generator

from fastopt.estimators import GLMRegressor

CONTRACT = [GLMRegressor(), GLMRegressor("poisson"), GLMRegressor("gamma", alpha=0.1)]


@pytest.mark.parametrize("estimator", CONTRACT, ids=str)
def test_the_contract_of_scikit_learn(estimator):
    for checked, check in estimator_checks_generator(estimator):
        check(checked)


def test_gaussian_equals_linear_regression():
    rng = np.random.default_rng(0)
    X, y, w = rng.normal(size=(60, 4)), rng.normal(size=60), rng.random(60)
    own = GLMRegressor().fit(X, y, w)
    other = LinearRegression().fit(X, y, w)
    np.testing.assert_allclose(own.coef_, other.coef_, rtol=1e-12)
    assert own.intercept_ == pytest.approx(other.intercept_, rel=1e-12)
    assert own.score(X, y, w) == pytest.approx(other.score(X, y, w), rel=1e-12)
