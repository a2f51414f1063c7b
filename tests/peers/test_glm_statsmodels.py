"""GLMRegressor against statsmodels' GLM: coefficients to 1e-10, standard errors to 1e-9."""

import numpy as np
import pytest
import statsmodels.api as sm
from sklearn.datasets import load_breast_cancer

from fastopt.estimators import GLMRegressor

pytestmark = pytest.mark.filterwarnings("ignore:The .* link function does not respect the domain")

links, families = sm.families.links, sm.families


def dataset(name):
    """Return columns, y, sample_weight and the family of a data set that statsmodels has."""
    if name == "breast_cancer":
        X, y = load_breast_cancer(return_X_y=True)
        return X[:, :8], y.astype(float), None, "binomial"
    data = getattr(sm.datasets, name.split("_")[0]).load()
    X, y = np.asarray(data.exog, float), np.asarray(data.endog, float)
    if name == "fair":
        return X, (y > 0) * 1.0, None, "binomial"
    if name == "star98":
        trials = y.sum(axis=1)
        return X, y[:, 0] / trials, trials, "binomial"
    return X, y, None, "gamma" if name == "scotland" else "poisson"


SETS = ["fair", "fair_counts", "randhie", "star98", "scotland", "cpunish", "breast_cancer"]
PEERS = {
    "binomial": families.Binomial(),
    "poisson": families.Poisson(),
    "gamma": families.Gamma(links.Log()),
}


def by_statsmodels(X, y, family, weight=None, offset=None, frequency=None):
    """Return coefficients and standard errors, the constant first.

    The columns are standardised, because GLM's rounding errors grow with the condition number.
    """
    mean, scale = X.mean(axis=0), X.std(axis=0)
    design = sm.add_constant((X - mean) / scale, has_constant="add")
    model = sm.GLM(
        y, design, family=family, var_weights=weight, offset=offset, freq_weights=frequency
    )
    found = model.fit(tol=1e-14, maxiter=300, tol_criterion="deviance")
    # Standard errors at the last iterate, because found.bse belongs to the one before.
    again = model.fit(tol=1e-14, maxiter=3, start_params=found.params)
    back = np.diag(np.append(1.0, 1 / scale))
    back[0, 1:] = -mean / scale
    return back @ again.params, np.sqrt(np.diag(back @ again.cov_params() @ back.T))


def numbers(model):
    covariance = model.fitted_.original(model.fitted_.centred_covariance)
    return np.append(model.intercept_, model.coef_), np.sqrt(np.diagonal(covariance))


def require_equal(model, peer, columns=slice(None)):
    for own, other, rtol in zip(numbers(model), peer, (1e-10, 1e-9), strict=True):
        np.testing.assert_allclose(own[columns], other[columns], rtol=rtol)


@pytest.mark.parametrize("order", ["as given", "sorted by y", "reversed"])
@pytest.mark.parametrize("name", SETS)
def test_maximum_likelihood(name, order):
    X, y, weight, family = dataset(name)
    rows = {
        "as given": np.arange(len(y)),
        "sorted by y": np.argsort(y),
        "reversed": np.arange(len(y))[::-1],
    }[order]
    own = GLMRegressor(family).fit(X[rows], y[rows], None if weight is None else weight[rows])
    require_equal(own, by_statsmodels(X, y, PEERS[family], weight))


@pytest.mark.parametrize("name", SETS)
def test_a_column_with_a_large_mean(name):
    """Adding 1e6 to a column changes the intercept only."""
    X, y, weight, family = dataset(name)
    moved = X.copy()
    moved[:, 1] += 1e6
    stored = moved.copy()
    stored[:, 1] -= 1e6  # the column as rounding has changed it
    own = GLMRegressor(family).fit(moved, y, weight)
    require_equal(own, by_statsmodels(stored, y, PEERS[family], weight), slice(1, None))


RNG = np.random.default_rng(5)
COLUMNS = RNG.normal(size=(400, 3))
PREDICTOR = 1.0 + COLUMNS @ [0.3, -0.2, 0.1]
MEAN = np.exp(PREDICTOR)
INVERSE = 1 / (2.5 + np.tanh(COLUMNS) @ [0.5, -0.4, 0.3])
FURTHER = {
    "probit": (
        GLMRegressor("binomial", "probit"),
        families.Binomial(links.Probit()),
        (PREDICTOR + RNG.normal(size=400) > 1) * 1.0,
    ),
    "cloglog": (
        GLMRegressor("binomial", "cloglog"),
        families.Binomial(links.CLogLog()),
        (RNG.random(400) < 1 - np.exp(-MEAN / 4)) * 1.0,
    ),
    "gamma_inverse": (
        GLMRegressor("gamma", "inverse"),
        families.Gamma(links.InversePower()),
        RNG.gamma(5.0, INVERSE / 5),
    ),
    "negative_binomial": (
        GLMRegressor("negative_binomial", overdispersion=0.7),
        families.NegativeBinomial(alpha=0.7),
        RNG.negative_binomial(1 / 0.7, 1 / (1 + 0.7 * MEAN)) * 1.0,
    ),
    "inverse_gaussian_log": (
        GLMRegressor("inverse_gaussian"),
        families.InverseGaussian(links.Log()),
        RNG.wald(MEAN, 9.0),
    ),
    "inverse_squared": (
        GLMRegressor("inverse_gaussian", "inverse_squared"),
        families.InverseGaussian(links.InverseSquared()),
        RNG.wald(np.sqrt(INVERSE), 9.0),
    ),
    "tweedie": (
        GLMRegressor("tweedie", power=1.6),
        families.Tweedie(links.Log(), var_power=1.6),
        RNG.poisson(MEAN) * RNG.gamma(2.0, size=400),
    ),
    "gaussian": (GLMRegressor(), families.Gaussian(), PREDICTOR + RNG.normal(size=400)),
    "poisson": (GLMRegressor("poisson"), families.Poisson(), RNG.poisson(MEAN) * 1.0),
}
PRECISION = RNG.uniform(0.5, 3.0, 400)
FREQUENCY = RNG.integers(1, 5, 400).astype(float)
OFFSET = RNG.uniform(-0.3, 0.3, 400)


@pytest.mark.parametrize("name", FURTHER)
@pytest.mark.parametrize(
    ("weight", "frequency", "offset"),
    [(None, None, None), (PRECISION, None, OFFSET), (PRECISION, FREQUENCY, None)],
    ids=["plain", "offset", "frequency"],
)
def test_families_links_weights_and_offset(name, weight, frequency, offset):
    model, family, y = FURTHER[name]
    if offset is not None and "inverse" in name:
        offset = np.abs(offset)
    own = model.set_params(tol=1e-12).fit(COLUMNS, y, weight, freq_weight=frequency, offset=offset)
    peer = by_statsmodels(COLUMNS, y, family, weight, offset, frequency)
    for mine, other, rtol in zip(numbers(own), peer, (1e-9, 1e-8), strict=True):
        np.testing.assert_allclose(mine, other, rtol=rtol)


@pytest.mark.parametrize("name", FURTHER)
def test_deviances(name):
    model, family, y = FURTHER[name]
    own = model.fit(COLUMNS, y, PRECISION, freq_weight=FREQUENCY)
    peer = sm.GLM(
        y,
        sm.add_constant(COLUMNS),
        family=family,
        var_weights=PRECISION,
        freq_weights=FREQUENCY,
    ).fit(tol=1e-14, maxiter=300)
    np.testing.assert_allclose(
        [own.deviance_, own.null_deviance_, own.dispersion_],
        [peer.deviance, peer.null_deviance, peer.scale],
        rtol=1e-9,
    )
