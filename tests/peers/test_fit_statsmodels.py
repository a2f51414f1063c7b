"""KalmanSGD.fit against statsmodels' GLM: coefficients to 1e-9, standard errors to 1e-8."""

import numpy as np
import pytest
import statsmodels.api as sm

from fastopt import KalmanSGD


def with_constant(columns):
    return np.column_stack([np.ones(len(columns)), np.asarray(columns, float)])


def _fair():
    data = sm.datasets.fair.load()
    return with_constant(data.exog), np.asarray(data.endog > 0, float), "binomial", None, None


def _fair_counts():
    data = sm.datasets.fair.load()
    return with_constant(data.exog), np.asarray(data.endog, float), "poisson", None, None


def _randhie():
    data = sm.datasets.randhie.load()
    return with_constant(data.exog), np.asarray(data.endog, float), "poisson", None, None


def _star98():
    data = sm.datasets.star98.load()
    counts = np.asarray(data.endog, float)
    trials = counts.sum(axis=1)
    return with_constant(data.exog), counts[:, 0] / trials, "binomial", None, trials


def _scotland():
    data = sm.datasets.scotland.load()
    return with_constant(data.exog), np.asarray(data.endog, float), "gamma", "log", None


def _cpunish():
    data = sm.datasets.cpunish.load()
    return with_constant(data.exog), np.asarray(data.endog, float), "poisson", None, None


SETS = {
    "fair": _fair,
    "fair_counts": _fair_counts,
    "randhie": _randhie,
    "star98": _star98,
    "scotland": _scotland,
    "cpunish": _cpunish,
}
FAMILIES = {
    ("binomial", None): lambda: sm.families.Binomial(),
    ("binomial", "probit"): lambda: sm.families.Binomial(sm.families.links.Probit()),
    ("binomial", "cloglog"): lambda: sm.families.Binomial(sm.families.links.CLogLog()),
    ("poisson", None): lambda: sm.families.Poisson(),
    ("gamma", "log"): lambda: sm.families.Gamma(sm.families.links.Log()),
}


def by_statsmodels(X, y, family, link, weight, offset=None):
    """Return coefficients and standard errors; scale the columns first, because GLM does not."""
    scale = np.sqrt(np.mean(X**2, axis=0))
    model = sm.GLM(y, X / scale, family=FAMILIES[family, link](), var_weights=weight, offset=offset)
    found = model.fit(tol=1e-14, maxiter=300)
    # Standard errors at the last iterate, because found.bse belongs to the one before.
    again = model.fit(tol=1e-14, maxiter=3, start_params=found.params)
    return again.params / scale, again.bse / scale


@pytest.mark.parametrize("order", ["as given", "by y", "by -y"])
@pytest.mark.parametrize("name", SETS)
def test_fit_equals_statsmodels(name, order):
    X, y, family, link, weight = SETS[name]()
    rows = {"as given": np.arange(len(y)), "by y": np.argsort(y), "by -y": np.argsort(-y)}[order]
    own = KalmanSGD(X.shape[1]).fit(
        X[rows], y[rows], family, link, None if weight is None else weight[rows]
    )
    coef, stderr = by_statsmodels(X, y, family, link, weight)
    np.testing.assert_allclose(own.coef, coef, rtol=1e-9)
    np.testing.assert_allclose(own.stderr, stderr, rtol=1e-8)


@pytest.mark.parametrize("name", SETS)
def test_fit_of_a_column_with_a_large_mean(name):
    """Adding 1e6 to a column changes only the intercept."""
    X, y, family, link, weight = SETS[name]()
    moved = X.copy()
    moved[:, 1] += 1e6
    as_stored = moved.copy()
    as_stored[:, 1] -= 1e6  # the column as rounding has changed it
    own = KalmanSGD(X.shape[1]).fit(moved, y, family, link, weight)
    coef, stderr = by_statsmodels(as_stored, y, family, link, weight)
    np.testing.assert_allclose(own.coef[1:], coef[1:], rtol=1e-9)
    np.testing.assert_allclose(own.stderr[1:], stderr[1:], rtol=1e-8)


@pytest.mark.parametrize("link", ["probit", "cloglog"])
def test_fit_with_other_links(link):
    X, y, family, _, weight = _fair()
    own = KalmanSGD(X.shape[1]).fit(X, y, family, link)
    coef, stderr = by_statsmodels(X, y, family, link, weight)
    np.testing.assert_allclose(own.coef, coef, rtol=1e-8)
    np.testing.assert_allclose(own.stderr, stderr, rtol=1e-8)


def test_fit_with_an_offset():
    X, y, family, link, _ = _randhie()
    offset = np.log(1.0 + np.arange(len(y)) % 7)
    own = KalmanSGD(X.shape[1]).fit(X, y, family, link, offset=offset)
    coef, stderr = by_statsmodels(X, y, family, link, None, offset)
    np.testing.assert_allclose(own.coef, coef, rtol=1e-9)
    np.testing.assert_allclose(own.stderr, stderr, rtol=1e-8)
