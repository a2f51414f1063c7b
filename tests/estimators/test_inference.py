"""Standard errors, tests and likelihoods of the estimators against their formulas."""

import dataclasses
import itertools
import pickle
import sys

import inference_reference as reference
import numpy as np
import pytest
from scipy import stats

from fastopt import FastoptError
from fastopt.estimators import Block, GLMClassifier, GLMRegressor
from fastopt.estimators.inference.likelihood import log_likelihood, saturated, saturated_sums
from fastopt.estimators.inference.restrictions import parsed
from fastopt.estimators.inference.robust import RobustSums, robust, robust_sums, with_robust
from fastopt.estimators.inference.summary import summary, table

N = 80
RNG = np.random.default_rng(3)
X = np.column_stack([RNG.normal(size=N), RNG.normal(size=N) + 3.0])
Z = 0.4 * X[:, 0] + 0.3 * X[:, 1] - 0.5
MEAN = np.exp(Z)
TRIALS = RNG.integers(1, 6, N).astype(float)
FREQUENCY = RNG.integers(1, 4, N).astype(float)
GROUPS = RNG.integers(0, 25, N)
SHARE = RNG.binomial(TRIALS.astype(int), MEAN / (1 + MEAN)) / TRIALS
COUNTS = RNG.poisson(MEAN).astype(float)
POSITIVE = RNG.gamma(4.0, MEAN / 4)

# family, link, y, shape
MODELS = {
    "gaussian": ("identity", Z + RNG.normal(size=N), None),
    "binomial": ("logit", SHARE, None),
    "poisson": ("log", COUNTS, None),
    "gamma": ("log", POSITIVE, None),
    "inverse_gaussian": ("log", POSITIVE, None),
    "negative_binomial": ("log", COUNTS, 0.7),
    "tweedie": ("log", np.where(RNG.random(N) < 0.3, 0.0, POSITIVE), 1.4),
}
LINKS = [
    *((family, link) for family, (link, _, _) in MODELS.items()),
    ("binomial", "probit"),
    ("binomial", "cloglog"),
    ("gamma", "inverse"),
    ("inverse_gaussian", "inverse_squared"),
]


def estimator(family, link=None, **options):
    shape = {"negative_binomial": "overdispersion", "tweedie": "power"}.get(family)
    if shape:
        options[shape] = MODELS[family][2]
    return GLMRegressor(family, link, tol=1e-14, **options)


def weights(family):
    return TRIALS if family == "binomial" else 0.3 + 0.4 * TRIALS


@pytest.mark.parametrize("scale", [1.0, 0.6])
@pytest.mark.parametrize("family", MODELS)
@pytest.mark.parametrize("weighted", [False, True])
def test_log_likelihood(family, weighted, scale):
    """In blocks, from sums, against the densities."""
    if weighted and family in {"poisson", "negative_binomial"}:
        pytest.skip("there is no density: the log-likelihood is multiplied by the weight")
    _, y, shape = MODELS[family]
    if family == "binomial":
        y, v = (y, TRIALS) if weighted else (np.round(y), np.ones(N))
    else:
        v = weights(family) if weighted else np.ones(N)
    if family in {"binomial", "poisson", "negative_binomial"}:
        scale = 1.0
    m = MEAN / (1 + MEAN) if family == "binomial" else MEAN
    sums, rows = np.zeros(2), 0.0
    for own in (slice(0, 31), slice(31, N)):
        given = v[own] if weighted else None
        sums += saturated_sums(family, y[own], shape, given, FREQUENCY[own])
        rows += saturated(family, y[own], scale, shape, given, FREQUENCY[own])
    deviance = float(FREQUENCY * v @ reference.unit_deviance(family, y, m, shape))
    expected = FREQUENCY @ reference.log_density(family, y, m, scale, v, shape)
    assert log_likelihood(family, deviance, scale, sums, rows) == pytest.approx(expected, rel=1e-12)
    needs_rows = family == "tweedie" or (family == "gamma" and weighted)
    assert np.isnan(sums[1]) == needs_rows
    if not needs_rows:
        assert log_likelihood(family, deviance, scale, sums) == pytest.approx(expected, rel=1e-12)


def test_counts_too_large_for_a_table_have_the_same_likelihood():
    y = np.array([3.0, 70000.0])
    for family, shape in (("poisson", None), ("negative_binomial", 0.3)):
        together = saturated_sums(family, y, shape)
        apart = saturated_sums(family, y[:1], shape) + saturated_sums(family, y[1:], shape)
        np.testing.assert_allclose(together, apart, rtol=1e-14)


@pytest.mark.parametrize("family", ["gaussian", "gamma", "tweedie", "binomial"])
def test_a_row_of_weight_0_counts_as_left_out(family):
    _, y, shape = MODELS[family]
    w = weights(family) * (np.arange(N) % 3 > 0)
    own = w > 0
    for function, options in ((saturated_sums, ()), (saturated, (0.7,))):
        np.testing.assert_array_equal(
            function(family, y, *options, shape, w, FREQUENCY),
            function(family, y[own], *options, shape, w[own], FREQUENCY[own]),
        )


@pytest.mark.parametrize("kind", ["HC0", "HC1", "HC2", "HC3", "cluster"])
@pytest.mark.parametrize(("family", "link"), LINKS)
def test_robust_covariances(family, link, kind):
    """With weights, frequencies and an offset, in blocks, against the formulas."""
    _, y, shape = MODELS[family]
    v = weights(family)
    offset = 0.05 * np.sin(np.arange(N))
    groups = GROUPS if kind == "cluster" else None
    model = estimator(family, link, cov_type=kind).fit(
        X, y, v, freq_weight=FREQUENCY, offset=offset, groups=groups
    )
    design = np.column_stack([np.ones(N), X])
    z = design @ model.fitted_.coef + offset
    expected = reference.sandwich(design, y, z, family, link, shape, v, FREQUENCY, kind, GROUPS)
    np.testing.assert_allclose(model.covariance_, expected, rtol=1e-9)
    first, second = (
        robust_sums(
            Block(X[own], y[own], v[own], offset[own], FREQUENCY[own], GROUPS[own]),
            model.fitted_,
            kind,
        )
        for own in (slice(0, 50), slice(50, N))
    )
    for _ in range(2):  # a sum leaves both as they are
        total = first + pickle.loads(pickle.dumps(second))
    in_blocks = model.fitted_.original(robust(total, model.fitted_, kind))
    np.testing.assert_allclose(in_blocks, model.covariance_, rtol=1e-10)


class Parts:
    """A source that yields rows in blocks of different sizes."""

    n_features, feature_names = 2, None

    def __init__(self, y, *ends, weight=None):
        self.y, self.ends, self.weight = y, ends, weight

    def blocks(self):
        for first, last in itertools.pairwise(self.ends):
            own = slice(first, last)
            weight = None if self.weight is None else self.weight[own]
            yield Block(X[own], self.y[own], weight, groups=GROUPS[own])


@pytest.mark.parametrize("kind", ["HC0", "HC3", "cluster"])
def test_blocks_of_a_source(kind):
    model = estimator("gamma").fit(X, POSITIVE)
    whole, parts = (
        with_robust(Parts(POSITIVE, *ends), model.fitted_, kind).robust
        for ends in ((0, N), (0, 7, 30, N))
    )
    np.testing.assert_allclose(parts, whole, rtol=1e-11)
    with pytest.raises(FastoptError, match="the source has no rows"):
        with_robust(Parts(POSITIVE, 0), model.fitted_, kind)


@pytest.mark.parametrize("kind", ["HC1", "HC2", "cluster"])
def test_rows_of_weight_0_do_not_count(kind):
    weight = (GROUPS > 4) * TRIALS
    own = weight > 0
    groups = GROUPS if kind == "cluster" else None
    model = estimator("gamma", cov_type=kind).fit(
        X[own], POSITIVE[own], weight[own], groups=None if groups is None else groups[own]
    )
    found = with_robust(Parts(POSITIVE, 0, 30, N, weight=weight), model.fitted_, kind)
    np.testing.assert_allclose(found.robust, model.fitted_.robust, rtol=1e-11)
    assert found.n_groups == model.fitted_.n_groups


def test_an_interrupted_pass_keeps_the_coefficients(monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    expected = estimator("gamma", cov_type="HC1").fit(X, POSITIVE)
    monkeypatch.setattr("fastopt.estimators.inference.robust.robust_sums", interrupted)
    with pytest.warns(RuntimeWarning, match="covariance of type HC1 was interrupted"):
        model = estimator("gamma", cov_type="HC1").fit(X, POSITIVE)
    assert (model.coef_ == expected.coef_).all()
    assert model.converged_
    assert np.isnan(model.stderr_).all()
    assert np.isnan(model.conf_int()).all()
    assert "There is no covariance of type HC1" in str(model.summary())


@pytest.mark.parametrize("kind", ["HC0", "HC1", "cluster"])
def test_as_many_rows_as_coefficients(kind):
    groups = [0, 0, 1] if kind == "cluster" else None
    model = estimator("poisson", cov_type=kind).fit(X[:3], [1.0, 2.0, 5.0], groups=groups)
    assert np.isnan(model.stderr_).all() == (kind != "HC0")
    assert np.isnan(estimator("gaussian").fit(X[:3], Z[:3]).stderr_).all()


def test_an_information_that_is_not_positive_has_no_inverse():
    """As where a fit of the inverse Gaussian family, which is not concave, has not converged."""
    fitted = estimator("gamma").fit(X, POSITIVE).fitted_
    assert np.isnan(robust(RobustSums(-np.eye(3), np.eye(3), 80.0), fitted, "HC0")).all()


@pytest.mark.parametrize("kind", ["HC0", "HC1", "cluster"])
def test_robust_covariances_of_several_classes(kind):
    groups = GROUPS if kind == "cluster" else None
    labels = RNG.integers(0, 3, N)
    model = GLMClassifier(tol=1e-14, cov_type=kind).fit(
        X, labels, TRIALS, freq_weight=FREQUENCY, groups=groups
    )
    design = np.column_stack([np.ones(N), X])
    expected = reference.multinomial_sandwich(
        design, labels, model.predict_proba(X), FREQUENCY, TRIALS, kind, GROUPS
    )
    np.testing.assert_allclose(model.covariance_, expected, rtol=1e-8)
    assert np.isnan(model.stderr_[0]).all()
    np.testing.assert_allclose(
        np.column_stack([model.intercept_stderr_, model.stderr_])[1:].ravel(),
        np.sqrt(np.diagonal(expected)),
        rtol=1e-8,
    )


@pytest.mark.parametrize("kind", ["HC2", "HC3"])
def test_several_classes_have_no_hc3(kind):
    labels = np.arange(N) % 3
    with pytest.raises(FastoptError, match=r"cov_type=.HC\d. needs two classes"):
        GLMClassifier(cov_type=kind).fit(X, labels)
    with pytest.raises(FastoptError, match="allowed for more than two classes: 'nonrobust', 'HC0'"):
        with_robust(Parts(labels, 0, N), GLMClassifier().fit(X, labels).fitted_, kind)


def test_intervals_of_probabilities():
    y = np.where(COUNTS > 1, "many", "few")
    model = GLMClassifier("probit").fit(X, y)
    regression = GLMRegressor("binomial", "probit").fit(X, (y == "many") * 1.0)
    mean, lower, upper = regression.predict(X, interval=0.9)
    found = model.predict_proba(X, interval=0.9)
    for own, other in zip(found, (mean, lower, upper), strict=True):
        np.testing.assert_allclose(own[:, 1], other, rtol=1e-8)
    np.testing.assert_allclose(found[1][:, 0], 1 - upper, rtol=1e-8)
    np.testing.assert_allclose(found[2][:, 0], 1 - lower, rtol=1e-8)
    np.testing.assert_allclose(found[0], model.predict_proba(X), rtol=1e-12)
    with pytest.raises(FastoptError, match="interval needs two classes; there are 3"):
        GLMClassifier().fit(X, np.arange(N) % 3).predict_proba(X, interval=0.9)


@pytest.mark.parametrize("kind", ["nonrobust", "HC1", "HC3", "cluster"])
@pytest.mark.parametrize("family", ["gaussian", "poisson"])
def test_a_frequency_counts_as_repeated_rows(family, kind):
    _, y, _ = MODELS[family]
    rows = np.repeat(np.arange(N), FREQUENCY.astype(int))
    groups = GROUPS if kind == "cluster" else None
    own = estimator(family, cov_type=kind).fit(X, y, freq_weight=FREQUENCY, groups=groups)
    long = estimator(family, cov_type=kind).fit(
        X[rows], y[rows], groups=None if groups is None else groups[rows]
    )
    np.testing.assert_allclose(own.covariance_, long.covariance_, rtol=1e-9)
    for name in ("llf_", "aic_", "bic_", "dispersion_", "deviance_"):
        assert getattr(own, name) == pytest.approx(getattr(long, name), rel=1e-12)


@pytest.mark.parametrize("kind", ["nonrobust", "HC0", "HC3", "cluster"])
@pytest.mark.parametrize("fit_intercept", [True, False])
def test_a_large_mean_changes_no_standard_error(kind, fit_intercept):
    """Without an intercept, a constant column takes its place."""
    columns = X if fit_intercept else np.column_stack([X[:, 0], np.full(N, 2.0), X[:, 1]])
    shift = np.zeros(columns.shape[1])
    shift[-1] = 1e6
    groups = GROUPS if kind == "cluster" else None

    def fit(columns):
        model = estimator("poisson", cov_type=kind, fit_intercept=fit_intercept)
        return model.fit(columns, COUNTS, groups=groups)

    own, moved = fit(columns), fit(columns + shift)
    slopes = shift == 0 if not fit_intercept else slice(None)
    if not fit_intercept:
        slopes[1] = False  # the constant column
        assert moved.stderr_[1] > 1e3 * own.stderr_[1]
    np.testing.assert_allclose(moved.stderr_[slopes], own.stderr_[slopes], rtol=1e-9)
    np.testing.assert_allclose(moved.stderr_[-1], own.stderr_[-1], rtol=1e-8)
    for a, b in zip(
        own.predict(columns[:5], interval=0.9),
        moved.predict(columns[:5] + shift, interval=0.9),
        strict=True,
    ):
        np.testing.assert_allclose(a, b, rtol=1e-8)


def test_nonrobust_covariance_and_what_follows_from_it():
    model = estimator("gamma").fit(X, POSITIVE)
    design = np.column_stack([np.ones(N), X])
    m = np.exp(design @ model.fitted_.coef)
    chi2 = np.sum((POSITIVE / m - 1) ** 2)
    covariance = chi2 / (N - 3) * np.linalg.inv(design.T @ design)
    np.testing.assert_allclose(model.covariance_, covariance, rtol=1e-10)
    errors = np.sqrt(np.diagonal(covariance))
    assert model.intercept_stderr_ == pytest.approx(errors[0])
    np.testing.assert_allclose(model.stderr_, errors[1:], rtol=1e-10)
    np.testing.assert_allclose(model.pvalues_, 2 * stats.norm.sf(abs(model.coef_) / errors[1:]))
    coef = model.fitted_.coef
    half = stats.norm.ppf(0.95) * errors
    np.testing.assert_allclose(
        model.conf_int(level=0.9), np.column_stack([coef - half, coef + half]), rtol=1e-9
    )
    assert model.dispersion_ == pytest.approx(chi2 / (N - 3))
    assert model.aic_ == pytest.approx(-2 * model.llf_ + 6)
    assert model.bic_ == pytest.approx(-2 * model.llf_ + 3 * np.log(N))


def test_without_an_intercept():
    model = estimator("poisson", fit_intercept=False).fit(X, COUNTS)
    assert model.intercept_stderr_ == 0.0
    assert model.covariance_.shape == (2, 2)
    np.testing.assert_array_equal(model.stderr_, np.sqrt(np.diagonal(model.covariance_)))


def test_student_t():
    plain = estimator("gaussian").fit(X, MODELS["gaussian"][1])
    model = estimator("gaussian", use_t=True).fit(X, MODELS["gaussian"][1])
    ratio = stats.t.ppf(0.975, N - 3) / stats.norm.ppf(0.975)
    width, narrow = (np.diff(one.conf_int()).ravel() for one in (model, plain))
    np.testing.assert_allclose(width, ratio * narrow, rtol=1e-12)
    np.testing.assert_allclose(
        model.pvalues_, 2 * stats.t.sf(np.abs(model.coef_ / model.stderr_), N - 3), rtol=1e-12
    )
    assert model.wald_test([0, 1, 0]).distribution == "F"
    clustered = estimator("gaussian", use_t=True, cov_type="cluster").fit(
        X, MODELS["gaussian"][1], groups=GROUPS
    )
    df = len(np.unique(GROUPS)) - 1
    assert clustered.wald_test([0, 1, 0]).df_denom == df
    half = stats.t.ppf(0.975, df) * clustered.stderr_
    np.testing.assert_allclose(np.diff(clustered.conf_int()[1:]).ravel(), 2 * half, rtol=1e-12)


RESTRICTIONS = np.array([[0.0, 1, -1], [1, 0, 0]])


@pytest.mark.parametrize("values", [0.0, np.array([0.2, -0.1])])
def test_wald_test(values):
    model = estimator("poisson").fit(X, COUNTS)
    off = RESTRICTIONS @ model.fitted_.coef - values
    spread = RESTRICTIONS @ model.covariance_ @ RESTRICTIONS.T
    chi2 = off @ np.linalg.solve(spread, off)
    given = RESTRICTIONS if np.isscalar(values) else (RESTRICTIONS, values)
    found = model.wald_test(given)
    assert found.statistic == pytest.approx(chi2)
    assert found.pvalue == pytest.approx(stats.chi2.sf(chi2, 2))
    assert found[2:] == (2, None, "chi2")
    by_f = model.wald_test(given, use_f=True)
    assert by_f.statistic == pytest.approx(chi2 / 2)
    assert by_f.pvalue == pytest.approx(stats.f.sf(chi2 / 2, 2, N - 3))
    assert by_f[2:] == (2, N - 3, "F")


NAMES = ("const", "x1", "x10", "a b", "a b:x1", "C(x, y)[T.a=b]", "lambda", "e")


@pytest.mark.parametrize(
    ("equations", "rows"),
    [
        ("x1", [({"x1": 1}, 0)]),
        ("x1 = -2.5e-1", [({"x1": 1}, -0.25)]),
        ("x1 = x10 = 3", [({"x1": 1, "x10": -1}, 0), ({"x10": 1}, 3)]),
        ("-x1 + 2 = 2*(a b - x10/4) - 1", [({"x1": -1, "a b": -2, "x10": 0.5}, -3)]),
        ("a b:x1 = a b, `a b` = 1", [({"a b:x1": 1, "a b": -1}, 0), ({"a b": 1}, 1)]),
        (["C(x, y)[T.a=b] = 1", "lambda - e"], [({NAMES[5]: 1}, 1), ({"lambda": 1, "e": -1}, 0)]),
        ("3 = 1e1*const", [({"const": -10}, -3)]),
    ],
)
def test_equations(equations, rows):
    matrix, values = parsed([equations] if isinstance(equations, str) else equations, NAMES)
    expected = [[terms.get(name, 0) for name in NAMES] for terms, _ in rows]
    np.testing.assert_array_equal(matrix, expected)
    np.testing.assert_array_equal(values, [value for _, value in rows])


DIVISION_BY_ZERO = "division by zero" if sys.version_info >= (3, 14) else "float division by zero"


@pytest.mark.parametrize(
    ("equations", "reason"),
    [
        ("x9 = 0", "there is no 'x9'"),
        ("`x9` = 0", "there is no 'x9'"),
        ("x1 == 0", "it is no sum of names and numbers"),
        ("x1 2 = 0", "it is no sum of names and numbers"),
        ("", "it is no sum of names and numbers"),
        ("x1 * const = 0", "it is not linear"),
        ("1 / x1 = 0", "it is not linear"),
        ("x1**2 = 0", "it is not linear"),
        ("x1 = True", "it is not linear"),
        ("f(x1) = 0", "it is not linear"),
        ("x1 / 0 = 1", DIVISION_BY_ZERO),
    ],
)
def test_bad_equations(equations, reason):
    model = estimator("poisson").fit(X, COUNTS)
    with pytest.raises(FastoptError, match=rf"restrictions is .*: ({reason}); .* const, x1, x2$"):
        model.wald_test(equations)


def test_restrictions_as_equations():
    model = estimator("poisson").fit(X, COUNTS)
    for given in ("x1 = x2, const = 0", ["x1 = x2", "const = 0"]):
        assert model.wald_test(given) == model.wald_test(RESTRICTIONS)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([1.0, 0.0], r"restrictions has shape \(1, 2\); allowed: one column for each of the 3"),
        ([[0, 1, 0], [0, 2, 0]], "the 2 restrictions depend on each other"),
        ([0.0, 0.0, 0.0], "the 1 restrictions depend on each other"),
        ((RESTRICTIONS, [1.0, 2.0, 3.0]), "allowed: a matrix with 3 columns"),
    ],
)
def test_bad_restrictions(given, message):
    with pytest.raises(FastoptError, match=message):
        estimator("poisson").fit(X, COUNTS).wald_test(given)


@pytest.mark.parametrize(("family", "link"), LINKS)
def test_interval_of_the_mean(family, link):
    _, y, _ = MODELS[family]
    offset = 0.1 * np.cos(np.arange(N))
    model = estimator(family, link).fit(X, y, weights(family), offset=offset)
    mean, lower, upper = model.predict(X, offset, interval=0.9)
    np.testing.assert_allclose(mean, model.predict(X, offset), rtol=1e-12)
    design = np.column_stack([np.ones(N), X])
    z = design @ model.fitted_.coef + offset
    half = stats.norm.ppf(0.95) * np.sqrt(np.sum(design @ model.covariance_ * design, axis=1))
    low = np.maximum(z - half, 0.0) if link.startswith("inverse") else z - half
    with np.errstate(divide="ignore"):  # the mean at 0, the end of the link's range, is infinite
        ends = np.sort([reference.MEANS[link](low), reference.MEANS[link](z + half)], axis=0)
    assert np.isinf(ends).any() == (link == "inverse_squared")
    np.testing.assert_allclose([lower, upper], ends, rtol=1e-9)


PENALISED = ["covariance_", "stderr_", "intercept_stderr_", "pvalues_", "aic_", "bic_"]


@pytest.mark.parametrize("name", PENALISED)
def test_a_penalised_fit_has_no_standard_errors(name):
    model = estimator("poisson", alpha=0.1).fit(X, COUNTS)
    assert not hasattr(model, name)
    with pytest.raises(FastoptError, match=r"alpha is 0\.1: a penalty shrinks .* alpha=0"):
        getattr(model, name)
    for call in (model.conf_int, lambda: model.wald_test([0, 1, 0])):
        with pytest.raises(FastoptError, match="alpha is"):
            call()
    with pytest.raises(FastoptError, match="alpha is"):
        model.predict(X, interval=0.9)
    assert "Penalised coefficients have no standard errors." in str(model.summary())
    assert np.isfinite([model.llf_, model.deviance_, model.null_deviance_, model.dispersion_]).all()


def test_what_needs_groups_or_no_penalty_says_so():
    with pytest.raises(FastoptError, match="groups is not given and cov_type is 'cluster'"):
        estimator("poisson", cov_type="cluster").fit(X, COUNTS)
    with pytest.raises(FastoptError, match="groups is given and cov_type is 'HC1'"):
        estimator("poisson", cov_type="HC1").fit(X, COUNTS, groups=GROUPS)
    with pytest.raises(FastoptError, match="cov_type is 'HC1' and alpha is 2"):
        estimator("poisson", cov_type="HC1", alpha=2.0).fit(X, COUNTS)
    with pytest.raises(FastoptError, match="groups has a missing value"):
        estimator("poisson", cov_type="cluster").fit(
            X, COUNTS, groups=np.where(GROUPS == 3, np.nan, GROUPS)
        )
    with pytest.raises(FastoptError, match="groups has 1 value"):
        estimator("poisson", cov_type="cluster").fit(X, COUNTS, groups=np.ones(N))


def test_a_row_that_alone_determines_a_coefficient_has_no_hc3():
    columns = np.column_stack([X, np.arange(N) == 5])
    y = MODELS["gaussian"][1]
    assert np.isfinite(estimator("gaussian", cov_type="HC1").fit(columns, y).stderr_).all()
    for kind in ("HC2", "HC3"):
        with pytest.raises(FastoptError, match="a row has leverage 1"):
            estimator("gaussian", cov_type=kind).fit(columns, y)


def test_clusters_may_have_any_labels():
    names = np.array([f"group {i}" for i in GROUPS])
    mixed = np.array([i if i % 2 else (i, "even") for i in GROUPS], dtype=object)
    fits = [
        estimator("poisson", cov_type="cluster").fit(X, COUNTS, groups=groups)
        for groups in (GROUPS, names, list(names), names.astype(object), mixed)
    ]
    for fit in fits[1:]:
        np.testing.assert_allclose(fit.covariance_, fits[0].covariance_, rtol=1e-12)


@pytest.mark.parametrize("kind", ["nonrobust", "HC0", "HC1", "HC3", "cluster"])
@pytest.mark.parametrize(("family", "link"), [("gaussian", "identity"), ("gamma", "log")])
def test_standard_errors_of_columns_that_depend_on_each_other(family, link, kind):
    """Of the smallest coefficients that fit best: a column and its double share theirs 1 : 2."""
    y = MODELS[family][1]
    groups = GROUPS if kind == "cluster" else None
    own = estimator(family, link, cov_type=kind).fit(X, y, groups=groups)
    double = np.column_stack([X, 2 * X[:, 1]])
    shared = estimator(family, link, cov_type=kind).fit(double, y, groups=groups)
    share = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 0.2], [0, 0, 0.4]])
    np.testing.assert_allclose(shared.fitted_.coef, share @ own.fitted_.coef, rtol=1e-9)
    np.testing.assert_allclose(
        shared.covariance_, share @ own.covariance_ @ share.T, rtol=1e-8, atol=1e-15
    )
    mean, lower, upper = shared.predict(double, interval=0.9)
    for found, expected in zip((mean, lower, upper), own.predict(X, interval=0.9), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-9)


@pytest.mark.parametrize("missing", [None, np.nan])
def test_missing_clusters(missing):
    groups = np.array([missing if i == 3 else str(i) for i in GROUPS], dtype=object)
    with pytest.raises(FastoptError, match="groups has a missing value"):
        estimator("poisson", cov_type="cluster").fit(X, COUNTS, groups=groups)


def test_the_null_model():
    """The null model has the mean of y; with an offset its linear predictor has a shift."""
    model = estimator("poisson").fit(X, COUNTS)
    mean = np.full(N, COUNTS.mean())
    expected = reference.log_density("poisson", COUNTS, mean, 1.0, 1.0).sum()
    assert model.fitted_.llnull == pytest.approx(expected)
    offset = 0.3 * X[:, 0]
    model = estimator("poisson").fit(X, COUNTS, offset=offset)
    mean = np.exp(offset) * COUNTS.sum() / np.exp(offset).sum()
    expected = reference.log_density("poisson", COUNTS, mean, 1.0, 1.0).sum()
    assert model.fitted_.llnull == pytest.approx(expected)
    y = MODELS["gaussian"][1]
    gaussian = estimator("gaussian").fit(X, y)
    null = stats.norm.logpdf(y, y.mean(), np.sqrt(gaussian.dispersion_)).sum()
    assert gaussian.fitted_.llnull == pytest.approx(null)
    # The fit's own likelihood is at the most likely dispersion, as in statsmodels and R.
    residual = y - gaussian.predict(X)
    fit = stats.norm.logpdf(residual, 0.0, np.sqrt(np.mean(residual**2))).sum()
    assert gaussian.llf_ == pytest.approx(fit)


def test_summary_of_our_own():
    """The table that is printed where statsmodels is not installed."""
    model = estimator("poisson").fit(X, COUNTS)
    text = table(model.fitted_, 0.9, ["a note"])
    row = next(line.split() for line in text.splitlines() if line.startswith("x2 "))
    low, high = model.conf_int(level=0.9)[2]
    numbers = [model.coef_[1], model.stderr_[1], model.coef_[1] / model.stderr_[1]]
    numbers += [model.pvalues_[1], low, high]
    np.testing.assert_allclose([float(cell) for cell in row[1:]], numbers, atol=6e-4, rtol=1e-4)
    assert "[0.05" in text
    assert "0.95]" in text
    assert text.endswith("a note")
    for value in (model.deviance_, model.fitted_.null_deviance, model.llf_, model.aic_, model.bic_):
        assert f"{value:#.5g}" in text
    assert all(len(line) <= 78 for line in text.splitlines())


@pytest.mark.parametrize(
    ("change", "note"),
    [
        (dict(converged=False), "The fit has not converged"),
        (dict(df_model=1), "Columns depend on each other (rank 2 of 3)"),
        (dict(scale=np.nan, df_resid=0.0), "The dispersion cannot be estimated (0 degrees"),
    ],
)
def test_summary_tells_what_is_not_as_it_should_be(change, note):
    fitted = estimator("poisson").fit(X, COUNTS).fitted_
    assert note not in str(summary(fitted))
    changed = summary(dataclasses.replace(fitted, **change))
    assert note in str(changed) == changed.as_text()


@pytest.mark.parametrize("level", [0.0, 1.0, 95, "0.95", None])
def test_bad_levels(level):
    model = estimator("poisson").fit(X, COUNTS)
    for call in (model.conf_int, model.summary):
        with pytest.raises(FastoptError, match=r"level is .*; allowed: between 0 and 1"):
            call(level=level)
    if level is not None:
        with pytest.raises(FastoptError, match=r"interval is .*; allowed: between 0 and 1"):
            model.predict(X, interval=level)


def test_before_a_fit():
    assert not hasattr(estimator("poisson"), "stderr_")
    with pytest.raises(ValueError, match="not fitted"):
        estimator("poisson").summary()
