"""KalmanRegressor: scikit-learn's contract, least squares, any division of rows, merging."""

import pickle
import warnings

import numpy as np
import pytest
from sklearn import config_context
from sklearn.base import clone
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import estimator_checks_generator
from support import bits

from fastopt import FastoptError, KalmanSGD
from fastopt.estimators import GLMRegressor, KalmanRegressor
from fastopt.estimators.kalman.online import OnlineFilter

N, P = 2500, 4
FAMILIES = ["gaussian", "poisson", "gamma", "negative_binomial", "binomial"]
CONTRACT = [
    KalmanRegressor(),
    KalmanRegressor("poisson", mode="ud"),
    KalmanRegressor("gamma", dtype="float32"),
    KalmanRegressor(m0=10.0, covariance="diag"),
    KalmanRegressor(forgetting=0.99, max_trace=1e4),
]
# A diagonal and forgetting depend on the order of the rows.  SGDRegressor fails this check, too.
ORDERED = "check_sample_weight_equivalence_on_dense_data"


def data(family="gaussian", n=N):
    """Return X with columns of different means and sizes, y and offsets."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n, P)) * [1.0, 1.0, 1e-4, 1e4] + [0.0, 1e6, 1.0, 0.0]
    offset = rng.normal(size=n) / 4
    z = (X - [0.0, 1e6, 1.0, 0.0]) @ [0.3, -0.2, 3e3, 1e-5] + 0.5 + offset
    y = {
        "gaussian": lambda: z + rng.normal(size=n),
        "poisson": lambda: rng.poisson(np.exp(z)),
        "gamma": lambda: rng.gamma(2.0, np.exp(z) / 2),
        "negative_binomial": lambda: rng.negative_binomial(1, 1 / (1 + np.exp(z))),
        "binomial": lambda: rng.random(n) < 1 / (1 + np.exp(-z)),
    }[family]().astype(float)
    return X, y, offset


def least_squares(X, y, weight=None):
    """Return (intercept, coefficients), their covariance and the dispersion."""
    weight = np.ones(len(y)) if weight is None else weight
    mean = np.average(X, axis=0, weights=weight)
    scale = X.std(axis=0)
    root = np.sqrt(weight)
    A = np.column_stack([np.ones(len(y)), (X - mean) / scale]) * root[:, None]
    b = np.linalg.lstsq(A, y * root, rcond=None)[0]
    dispersion = np.sum((y * root - A @ b) ** 2) / (np.count_nonzero(weight) - A.shape[1])
    T = np.eye(len(b))
    T[1:, 1:] = np.diag(1 / scale)
    T[0, 1:] = -mean / scale
    return T @ b, T @ np.linalg.inv(A.T @ A) @ T.T * dispersion, dispersion


def apart(k, other):
    """Return the largest differences of coefficients, in standard errors, and of these."""
    moved = np.abs((k.coef_ - other.coef_) / other.stderr_).max()
    return max(moved, np.abs(k.stderr_ / other.stderr_ - 1).max())


def in_parts(k, X, y, of, **rows):
    for i in range(0, len(y), of):
        k.partial_fit(X[i : i + of], y[i : i + of], **{a: b[i : i + of] for a, b in rows.items()})
    return k


def everything(k):
    return [bits(each.filter.state_dict()) for each in k._filters]


@pytest.mark.parametrize("estimator", CONTRACT, ids=str)
def test_the_contract_of_scikit_learn(estimator):
    for checked, check in estimator_checks_generator(estimator):
        if estimator in CONTRACT[:3] or check.func.__name__ != ORDERED:
            check(checked)


@pytest.mark.parametrize("n_rows", [1, 2, 7, 64, 1000, N])
@pytest.mark.parametrize("mode", ["plain", "ud", "qr"])
def test_least_squares_for_any_division_of_the_rows(mode, n_rows):
    X, y, _ = data(n=300 if n_rows == 1 else N)
    coef, covariance, dispersion = least_squares(X, y)
    k = in_parts(KalmanRegressor(mode=mode), X, y, n_rows)
    stderr = np.sqrt(np.diag(covariance))
    errors = np.r_[k.intercept_ - coef[0], k.coef_ - coef[1:]] / stderr
    tolerance = 1e-6 if mode == "qr" else 1e-10  # qr does not centre the columns
    assert np.abs(errors).max() < tolerance
    np.testing.assert_allclose(k.covariance_, covariance, rtol=tolerance)
    np.testing.assert_allclose(np.r_[k.intercept_stderr_, k.stderr_], stderr, rtol=tolerance)
    assert k.dispersion_ == pytest.approx(dispersion, rel=tolerance)
    assert (k.n_obs_, k.n_iter_, k.n_features_in_) == (len(y), 1, P)


@pytest.mark.parametrize("epochs", [1, 3])
@pytest.mark.parametrize("shuffle", [True, False])
def test_fit_is_weighted_least_squares_with_offsets(shuffle, epochs):
    X, y, offset = data()
    weight = np.random.default_rng(1).integers(0, 3, N).astype(float)
    coef, covariance, dispersion = least_squares(X, y - offset, weight)
    k = KalmanRegressor(shuffle=shuffle, epochs=epochs).fit(X, y, weight, offset=offset)
    np.testing.assert_allclose(k.coef_, coef[1:], rtol=1e-8)
    np.testing.assert_allclose(k.covariance_, covariance, rtol=1e-8)
    assert k.dispersion_ == pytest.approx(dispersion, rel=1e-9)
    assert (k.n_obs_, k.n_iter_) == (epochs * np.count_nonzero(weight), epochs)
    z = (X - X[0]) @ k.coef_ + (k.intercept_ + X[0] @ k.coef_) + offset
    np.testing.assert_allclose(k.predict(X, offset), z, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("family", FAMILIES[1:])
def test_any_division_of_the_rows_gives_the_same(family):
    X, y, offset = data(family, 1200)
    whole = KalmanRegressor(family).partial_fit(X, y, offset=offset)
    for n_rows in (1, 50, 1100):
        assert apart(in_parts(clone(whole), X, y, n_rows, offset=offset), whole) < 1e-10


@pytest.mark.parametrize("family", FAMILIES)
def test_one_pass_is_near_the_maximum_of_the_likelihood(family):
    X, y, offset = data(family)
    k = KalmanRegressor(family, random_state=0).fit(X, y, offset=offset)
    assert apart(k, GLMRegressor(family).fit(X, y, offset=offset)) < 0.1


def test_the_first_rows_are_the_maximum_of_their_likelihood():
    X, y, _ = data("poisson", 500)
    k = in_parts(KalmanRegressor("poisson"), X[:256], y[:256], 1)
    assert apart(k, GLMRegressor("poisson").fit(X[:256], y[:256])) < 1e-3


@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("m0", [2.0, "scale", np.inf])
def test_the_filter_is_that_of_kalman_sgd(m0, fit_intercept):
    X, y, _ = data()
    X = X - X.mean(axis=0)
    k = KalmanRegressor(m0=m0, fit_intercept=fit_intercept).partial_fit(X, y)
    design = np.column_stack([np.ones(N), X]) if fit_intercept else X
    other = KalmanSGD(design.shape[1], m0=m0).partial_fit(design, y)
    assert (np.r_[[k.intercept_][:fit_intercept], k.coef_] == other.coef).all()
    assert (k.covariance_ == other.covariance()).all()
    assert fit_intercept or (k.intercept_, k.intercept_stderr_) == (0.0, 0.0)


def test_forgetting_follows_a_change():
    X, y, _ = data()
    y[1500:] -= 100.0
    k = in_parts(KalmanRegressor(forgetting=0.98), X, y, 10)
    recent = KalmanRegressor().partial_fit(X[-400:], y[-400:])
    assert abs(k.predict(X[-1:]) - recent.predict(X[-1:])) < 1.0
    assert k.stderr_[0] > recent.stderr_[0]


# Calls of few rows


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize(
    "options",
    [{}, {"mode": "ud"}, {"fit_intercept": False}, {"mode": "plain", "dtype": "float32"}],
    ids=str,
)
@pytest.mark.parametrize("family", FAMILIES)
def test_few_rows_have_the_bits_of_lists(family, options, dtype, monkeypatch):
    X, y, _ = data(family)
    X = (X - X.mean(axis=0)).astype(dtype)
    if options.get("fit_intercept") is False and dtype == "float32":
        options = {**options, "dtype": "float32", "mode": "plain"}
    k = KalmanRegressor(family, **options).partial_fit(X[:1200], y[:1200])
    other = pickle.loads(pickle.dumps(k))
    for i in (1200, 1201, 1230):
        other.partial_fit(X[i : i + 20].astype(float).tolist(), y[i : i + 20].tolist())
    monkeypatch.setattr(OnlineFilter, "absorb", None)  # only absorb_few is called
    for i in (1200, 1201, 1230):
        for kind in (np.float32, np.float64):
            np.full((20, P + 1), np.nan, kind)  # freed: the copy of the rows may get it
        k.partial_fit(X[i : i + 20], y[i : i + 20])
    assert everything(k) == everything(other)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("fit_intercept", [True, False])
def test_plain_arrays_are_predicted_with_the_same_bits(fit_intercept, dtype, monkeypatch):
    X, y, _ = data("poisson")
    X = (X - X.mean(axis=0)).astype(dtype)
    k = KalmanRegressor("poisson", fit_intercept=fit_intercept).fit(X, y)
    expected = k.predict(X, offset=np.zeros(N))
    for bad, message in ((X * np.nan, "NaN"), (X[:, :3], "3 features"), (X[0], "2D array")):
        with pytest.raises(ValueError, match=message):
            k.predict(bad)
    monkeypatch.setattr(KalmanRegressor, "_blocks_to_predict", None)  # it is not called
    assert (k.predict(X) == expected).all()


def test_weights_and_offsets_are_routed():
    X, y, offset = data("poisson")
    weight = np.random.default_rng(1).uniform(0.5, 2.0, N)
    with config_context(enable_metadata_routing=True):
        model = KalmanRegressor("poisson", random_state=0)
        model.set_fit_request(sample_weight=True, offset=True)
        model.set_predict_request(offset=True)
        pipe = make_pipeline(StandardScaler().set_fit_request(sample_weight=False), model)
        pipe.fit(X, y, sample_weight=weight, offset=offset)
        own = clone(model).fit(StandardScaler().fit_transform(X), y, weight, offset=offset)
        assert everything(pipe[-1]) == everything(own)


def test_rows_are_checked_in_any_case():
    X, y, _ = data("poisson")
    k = KalmanRegressor("poisson").partial_fit(X, y)
    before = everything(k)
    for bad_x, bad_y, message in (
        (X[:2] * np.nan, y[:2], "NaN"),
        (X[:2], -1 - y[:2], "poisson family allows"),
        (X[:2, :3], y[:2], "3 features"),
        (X[:2], y[:1], "inconsistent"),
        (X[:2, 0], y[:2], "2D array"),
    ):
        with pytest.raises(ValueError, match=message):
            k.partial_fit(bad_x, bad_y)
        assert everything(k) == before


def test_the_first_rows_are_copied():
    X, y, _ = data()
    k, x, target = KalmanRegressor(), np.empty((1, P)), np.empty(1)
    for i in range(100):
        x[:], target[:] = X[i], y[i]
        k.partial_fit(x, target)
    assert apart(k, KalmanRegressor().partial_fit(X[:100], y[:100])) < 1e-10


# Merging


@pytest.mark.parametrize("mode", ["plain", "ud", "qr"])
@pytest.mark.parametrize("sizes", [(10, 20), (10, 900), (900, 10), (900, 800), (500, 600, 20)])
def test_merged_estimators_are_one_for_all_rows(sizes, mode):
    X, y, offset = data()
    ends = np.cumsum(sizes)
    parts = [
        KalmanRegressor(mode=mode).partial_fit(X[a:b], y[a:b], offset=offset[a:b])
        for a, b in zip([0, *ends[:-1]], ends, strict=True)
    ]
    others = [everything(part) for part in parts[1:]]
    merged = parts[0]
    for part in parts[1:]:
        merged.merge(part)
    n = ends[-1]
    coef, covariance, _ = least_squares(X[:n], (y - offset)[:n])
    assert merged.n_obs_ == n
    stderr = np.sqrt(np.diag(covariance))
    assert np.abs((merged.coef_ - coef[1:]) / stderr[1:]).max() < 1e-6
    np.testing.assert_allclose(merged.covariance_, covariance, rtol=1e-6)
    assert [everything(part) for part in parts[1:]] == others
    merged.partial_fit(X[n:], y[n:], offset=offset[n:])
    coef = least_squares(X, y - offset)[0]
    assert np.abs((merged.coef_ - coef[1:]) / stderr[1:]).max() < 1e-6


def test_few_rows_of_any_family_merge_exactly():
    X, y, _ = data("poisson")
    whole = KalmanRegressor("poisson").partial_fit(X, y)
    k = KalmanRegressor("poisson").partial_fit(X[:2000], y[:2000])
    assert apart(k.merge(KalmanRegressor("poisson").partial_fit(X[2000:], y[2000:])), whole) < 1e-8


@pytest.mark.parametrize(
    ("other", "error", "message"),
    [
        (KalmanRegressor("gamma"), FastoptError, "estimators differ"),
        (KalmanRegressor("poisson", fit_intercept=False), FastoptError, "estimators differ"),
        (KalmanRegressor("poisson"), FastoptError, "gaussian family"),
        (GLMRegressor("poisson"), TypeError, "KalmanRegressor is needed"),
    ],
    ids=str,
)
def test_refused_merges_change_nothing(other, error, message):
    X, y, _ = data("gamma")
    k = KalmanRegressor("poisson").partial_fit(X, y)
    before = everything(k)
    with pytest.raises(error, match=message):
        k.merge(other.fit(X, y))
    assert everything(k) == before


# Order, options, results


@pytest.mark.parametrize("family", ["poisson", "gamma", "binomial"])
def test_rows_sorted_by_y_warn_unless_they_are_shuffled(family):
    X, y, _ = data(family)
    order = np.argsort(y, kind="stable")
    with pytest.warns(UserWarning, match="sorted by y"):
        KalmanRegressor(family, shuffle=False).fit(X[order], y[order])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        KalmanRegressor(family, epochs=2).fit(X[order], y[order])
        KalmanRegressor(shuffle=False).fit(X[order], y[order])


def test_nearly_sorted_rows_warn_at_the_end():
    X, y, _ = data("poisson")
    order = np.argsort(y + np.random.default_rng(0).normal(size=N))
    with pytest.warns(UserWarning, match="of Fisher's"):
        KalmanRegressor("poisson", shuffle=False).fit(X[order], y[order])


def test_failed_calls_change_nothing():
    X, y, _ = data("poisson")
    k = KalmanRegressor("poisson").fit(X, y)
    before, attributes = everything(k), dict(vars(k))
    for call, message in (
        (lambda: k.fit(X[:, :2], -y - 1), "poisson family allows"),
        (lambda: clone(k).set_params(epochs=0).fit(X, y), "epochs is 0"),
        (lambda: clone(k).set_params(family="student").fit(X, y), "family is 'student'"),
        (lambda: clone(k).set_params(family="tweedie").fit(X, y + 1), "tweedie"),
        (
            lambda: clone(k).set_params(overdispersion=2.0).fit(X, y),
            "overdispersion is 2.0 and fam",
        ),
        (lambda: clone(k).set_params(m0=-1.0).fit(X, y), "m0 is -1.0"),
        (lambda: k.fit(X, y, exposure=-y), "exposure"),
    ):
        with pytest.raises(FastoptError, match=message):
            call()
        assert everything(k) == before
        assert vars(k) == attributes


def test_exposures_are_offsets():
    X, y, offset = data("poisson")
    k = KalmanRegressor("poisson", random_state=0).fit(X, y, exposure=np.exp(offset))
    other = KalmanRegressor("poisson", random_state=0).fit(X, y, offset=np.log(np.exp(offset)))
    assert everything(k) == everything(other)
    assert (k.predict(X, exposure=np.exp(offset)) == k.predict(X, np.log(np.exp(offset)))).all()


def test_results_of_the_fit():
    X, y, _ = data()
    k = KalmanRegressor().fit(X, y)
    glm = GLMRegressor().fit(X, y)
    np.testing.assert_allclose(k.conf_int(), glm.conf_int(), rtol=1e-7)
    np.testing.assert_allclose(k.pvalues_, glm.pvalues_, rtol=1e-6, atol=1e-300)
    np.testing.assert_allclose(
        k.predict(X[:9], interval=0.9), glm.predict(X[:9], interval=0.9), rtol=1e-7, atol=1e-9
    )
    restriction = [0.0, 1.0, 1.0, 0.0, 0.0]
    assert k.wald_test(restriction).statistic == pytest.approx(
        glm.wald_test(restriction).statistic, rel=1e-7
    )
    assert k.score(X, y) == pytest.approx(glm.score(X, y), rel=1e-10)
    assert str(k.summary()).splitlines()[8].split()[:2] == ["const", f"{k.intercept_:.5g}"]
    assert not any(hasattr(k, name) for name in ("llf_", "aic_", "deviance_"))
    assert not hasattr(KalmanRegressor(), "coef_")


def test_a_random_state_gives_the_same_fit_and_copies_continue():
    X, y, _ = data("poisson")
    k, other = (KalmanRegressor("poisson", random_state=3).fit(X, y) for _ in range(2))
    assert everything(k) == everything(other)
    for copied in (pickle.loads(pickle.dumps(k)), other):
        copied.partial_fit(X[:10], y[:10])
    k.partial_fit(X[:10], y[:10])
    assert everything(k) == everything(other) == everything(copied)


def test_an_interrupted_fit_keeps_what_it_has(monkeypatch):
    X, y, _ = data()
    absorb, calls = OnlineFilter.absorb, []

    def interrupted(self, *args, **kwargs):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        absorb(self, *args, **kwargs)

    monkeypatch.setattr(OnlineFilter, "absorb", interrupted)
    monkeypatch.setattr("fastopt.estimators.kalman.base.CHUNK", 100 * P)
    k = KalmanRegressor()
    with pytest.raises(KeyboardInterrupt):
        k.fit(X, y)
    assert k.n_obs_ == 100
