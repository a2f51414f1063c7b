"""KalmanRegressor against least squares of statsmodels and the online regression of river."""

import numpy as np
import pytest
import statsmodels.api as sm
from river import linear_model
from statsmodels.regression.recursive_ls import RecursiveLS

from fastopt.estimators import KalmanRegressor

DATA = ["stackloss", "statecrime", "ccard", "engel", "scotland", "longley"]


def data(name):
    loaded = getattr(sm.datasets, name).load_pandas()
    X = np.asarray(loaded.exog, dtype=float)
    return X[:, np.ptp(X, axis=0) > 0], np.asarray(loaded.endog, dtype=float)


def by_rows(k, X, y):
    for x, target in zip(X, y, strict=True):
        k.partial_fit(x[None], np.array([target]))
    return k


@pytest.mark.parametrize("call", ["fit", "partial_fit", "rows"])
@pytest.mark.parametrize("name", DATA)
def test_least_squares_of_statsmodels(name, call):
    X, y = data(name)
    k = KalmanRegressor()
    k = by_rows(k, X, y) if call == "rows" else getattr(k, call)(X, y)
    mean, scale = X.mean(axis=0), X.std(axis=0)  # OLS loses digits of columns of other sizes
    judge = sm.OLS(y, sm.add_constant((X - mean) / scale)).fit()
    back = np.diag(np.r_[1.0, 1 / scale])
    back[0, 1:] = -mean / scale
    covariance = back @ judge.cov_params() @ back.T
    stderr = np.sqrt(np.diag(covariance))
    own = np.r_[k.intercept_, k.coef_], np.r_[k.intercept_stderr_, k.stderr_]
    assert np.abs((own[0] - back @ judge.params) / stderr).max() < 1e-10
    np.testing.assert_allclose(own[1], stderr, rtol=1e-11)
    assert np.abs((k.covariance_ - covariance) / np.outer(stderr, stderr)).max() < 1e-11
    assert k.dispersion_ == pytest.approx(judge.scale, rel=1e-11)


@pytest.mark.parametrize("name", ["stackloss", "engel", "scotland"])
def test_recursive_least_squares_of_statsmodels(name):
    X, y = data(name)
    recursive = RecursiveLS(y, sm.add_constant(X)).fit().recursive_coefficients.filtered
    k = KalmanRegressor()
    for n in range(1, len(y) + 1):
        k.partial_fit(X[n - 1 : n], y[n - 1 : n])
        if n > X.shape[1] + 2:
            judge = sm.OLS(y[:n], sm.add_constant(X[:n])).fit()
            own = np.r_[k.intercept_, k.coef_]
            assert np.abs((own - judge.params) / judge.bse).max() < 1e-10
            np.testing.assert_allclose(k.stderr_, judge.bse[1:], rtol=1e-9)
            assert np.abs((own - recursive[:, n - 1]) / judge.bse).max() < 1e-4


def test_the_bayesian_regression_of_river():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 3))
    y = X @ [1.0, -2.0, 0.5] + rng.normal(size=200)
    other = linear_model.BayesianLinearRegression(alpha=0.5, beta=2.0)
    k = KalmanRegressor(m0=2.0 / 0.5, fit_intercept=False)
    for n, (x, target) in enumerate(zip(X, y, strict=True)):
        row = dict(enumerate(x))
        if n:
            assert k.predict(x[None])[0] == pytest.approx(other.predict_one(row), rel=1e-9)
        other.learn_one(row, target)
        k.partial_fit(x[None], np.array([target]))
