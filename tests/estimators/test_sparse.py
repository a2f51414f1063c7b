"""Sparse rows give the fits of the same rows in an array (scikit-learn #11178)."""

import tracemalloc

import numpy as np
import pytest
from scipy import sparse
from sklearn.exceptions import ConvergenceWarning

from fastopt import FastoptError
from fastopt.estimators import Block, GLMClassifier, GLMRegressor, moments
from fastopt.estimators.scoring.sparse import pays

N, P = 1500, 40
RNG = np.random.default_rng(3)


def table(density):
    """Return rows with a column of large mean and one that is 1 in most rows."""
    x = sparse.random(N, P, density, random_state=RNG).toarray()
    x[:, 0] = 1e6 + RNG.normal(size=N)
    x[:, 1] = RNG.random(N) < 0.9
    return x


X = {"sparse": table(0.04), "not very sparse": table(0.4), "a column of zeros": table(0.04)}
X["a column of zeros"][:, 2] = 0.0
Y = RNG.poisson(1.0, N).astype(float)
W = RNG.integers(0, 3, N).astype(float)
OFFSET = 0.1 * RNG.normal(size=N)
MODELS = [
    (GLMRegressor(), Y),
    (GLMRegressor("poisson"), Y),
    (GLMRegressor("gamma", alpha=0.1), 1.0 + Y),
    (GLMRegressor("binomial", link="cloglog", fit_intercept=False), np.minimum(Y, 1.0)),
    (GLMRegressor("poisson", cov_type="HC3"), Y),
    (GLMClassifier(), np.minimum(Y, 1)),
    (GLMClassifier(alpha=0.01), np.minimum(Y, 2)),
]


@pytest.mark.parametrize("form", [sparse.csr_array, sparse.csc_matrix])
@pytest.mark.parametrize("density", X)
@pytest.mark.parametrize(("model", "y"), MODELS, ids=[str(model) for model, _ in MODELS])
def test_sparse_and_dense_rows_give_the_same_fit(model, y, density, form):
    x = X[density]
    per_row = dict(sample_weight=W)
    if len(np.unique(y)) == 2 or isinstance(model, GLMRegressor):
        per_row["offset"] = OFFSET
    array = model.__class__(**model.get_params()).fit(x, y, **per_row)
    own = model.__class__(**model.get_params()).fit(form(x), y, **per_row)
    assert pays(sparse.csr_array(x)) == (density != "not very sparse")
    scale = np.abs(array.coef_).max()
    assert np.abs(own.coef_ - array.coef_).max() <= 1e-12 * scale
    np.testing.assert_allclose(own.predict(form(x)), array.predict(x), rtol=1e-9)
    if not model.alpha:
        np.testing.assert_allclose(own.stderr_, array.stderr_, rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("single", [False, True])
def test_the_sums_of_sparse_rows(fit_intercept, single, monkeypatch):
    monkeypatch.setattr("fastopt.estimators.scoring.sparse.ROWS", 100)
    x = X["sparse"].astype(np.float32 if single else np.float64)
    mean = x.mean(axis=0, dtype=float)
    coef = 0.1 * RNG.normal(size=P + fit_intercept)
    coef[int(fit_intercept)] = 1e-3
    options = dict(family="poisson", fit_intercept=fit_intercept, mean=mean)
    own = moments(Block(sparse.csr_matrix(x), Y, W, OFFSET), coef, **options)
    array = moments(Block(x, Y, W, OFFSET), coef, **options)
    size = np.sqrt(np.outer(np.diag(array.information), np.diag(array.information)))
    assert (np.abs(own.information - array.information) <= 1e-13 * size.max()).all()
    np.testing.assert_allclose(own.score, array.score, rtol=1e-11, atol=1e-9)
    assert own.deviance == pytest.approx(array.deviance, rel=1e-13)
    assert own.pearson_chi2 == pytest.approx(array.pearson_chi2, rel=1e-13)


def test_chunks_may_be_sparse():
    x, cuts = X["sparse"], [slice(0, 250), slice(250, N)]
    own = GLMRegressor("poisson").fit([(sparse.csc_array(x[cut]), Y[cut], W[cut]) for cut in cuts])
    array = GLMRegressor("poisson").fit(x, Y, W)
    np.testing.assert_allclose(own.coef_, array.coef_, rtol=1e-11, atol=1e-14)


def test_no_dense_copy_is_made():
    n, p = 20_000, 400
    x = sparse.random(n, p, 0.01, random_state=RNG, format="csr")
    y = RNG.poisson(1.0, n).astype(float)
    tracemalloc.start()
    GLMRegressor("poisson").fit(x, y)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 8 * n * p / 2


def test_errors_of_sparse_rows():
    x = sparse.csr_array(X["sparse"])
    x.data[5] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        GLMRegressor().fit(x, Y)
    with pytest.raises(FastoptError, match=r"X\[\d+, \d+\] is nan"):
        GLMRegressor().fit([(x, Y)])
    with pytest.raises(FastoptError, match=r"40001 coefficients.* 12 GiB.*solver='adagrad'"):
        GLMRegressor().fit(sparse.csr_array((N, 40_000)), Y)


def malformed(name, form):
    x = form(X["sparse"])
    if name == "negative":
        x.indices[7] = -(10**8)
    elif name == "too large":
        x.indices[7] = 10**8
    elif name == "pointer":
        x.indptr[4] = 10**8
    else:
        x.indptr[-1] = len(x.data) + 10**8
    return x


@pytest.mark.parametrize("form", [sparse.csr_array, sparse.csc_matrix])
@pytest.mark.parametrize("name", ["negative", "too large", "pointer", "last pointer"])
@pytest.mark.parametrize("solver", ["scoring", "adagrad"])
def test_indices_outside_the_matrix_are_an_error(name, form, solver):
    x = malformed(name, form)
    model = GLMRegressor("poisson", solver=solver, max_iter=1, eta0=1e-9)
    calls = [lambda: model.fit(x, Y), lambda: model.fit([(x, Y)])]
    if solver == "adagrad":
        calls.append(lambda: model.partial_fit(x, Y))
    for call in calls:
        with pytest.raises(FastoptError, match="X is no valid sparse matrix"):
            call()
    with pytest.warns(ConvergenceWarning):
        model.fit(form(X["sparse"]), Y)
    with pytest.raises(FastoptError, match="X is no valid sparse matrix"):
        model.predict(x)


def test_coordinates_outside_the_matrix_are_an_error():
    x = sparse.coo_array(X["sparse"])
    x.coords[1][3] = P
    with pytest.raises(FastoptError, match=f"indices are from 0 to {P}; allowed: 0 to {P - 1}"):
        GLMRegressor().fit(x, Y)
