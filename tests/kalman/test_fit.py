"""KalmanSGD.fit: the maximum of the likelihood for any order of rows, and the calls after it."""

import copy
import math
import warnings

import numpy as np
import pytest
from kalman_cases import everything
from nist_linear import DATA, digits, read

import fastopt
from fastopt import FastoptError, KalmanSGD

RNG = np.random.default_rng(5)
MODELS = [
    ("gaussian", None),
    ("binomial", "logit"),
    ("binomial", "probit"),
    ("binomial", "cloglog"),
    ("poisson", None),
    ("gamma", "log"),
    ("negative_binomial", None),
]


def problem(family, n=400, p=4):
    RNG = np.random.default_rng(7)
    X = np.column_stack([np.ones(n), RNG.normal(size=(n, p - 1))])
    w = np.array([0.3, 0.5, -0.4, 0.2])[:p]
    z = X @ w
    y = {
        "gaussian": lambda: z + RNG.normal(size=n),
        "binomial": lambda: (RNG.random(n) < 1 / (1 + np.exp(-z))).astype(float),
        "poisson": lambda: RNG.poisson(np.exp(z)).astype(float),
        "gamma": lambda: RNG.gamma(2.0, np.exp(z) / 2.0),
        "negative_binomial": lambda: RNG.negative_binomial(1, 1 / (1 + np.exp(z))).astype(float),
    }[family]()
    return X, y


def nearly_sorted(y):
    """Return the order by y with two of its rows exchanged."""
    order = np.argsort(y)
    order[[500, -1]] = order[[-1, 500]]
    return order


def log_likelihood(family, link, y, z, weight):
    """Return the log-likelihood without its constants, by the formulas of McCullagh & Nelder."""
    if family == "gaussian":
        terms = -0.5 * (y - z) ** 2
    elif family == "binomial":
        m = {
            "logit": lambda: 1 / (1 + np.exp(-z)),
            "probit": lambda: 0.5 * np.vectorize(math.erfc)(-z / math.sqrt(2)),
            "cloglog": lambda: -np.expm1(-np.exp(z)),
        }[link]()
        terms = y * np.log(m) + (1 - y) * np.log1p(-m)
    elif family == "poisson":
        terms = y * z - np.exp(z)
    elif family == "gamma":
        terms = -y * np.exp(-z) - z
    else:
        terms = y * z - (y + 1) * np.log1p(np.exp(z))
    return np.sum(weight * terms)


def slopes(f, w):
    """Return the gradient by central differences, and the size of its rounding errors."""
    h = 1e-5
    return np.array([(f(w + h * e) - f(w - h * e)) / (2 * h) for e in np.eye(len(w))])


@pytest.mark.parametrize(("family", "link"), MODELS)
def test_the_log_likelihood_is_flat_at_the_coefficients(family, link):
    X, y = problem(family)
    weight, offset = RNG.uniform(0.5, 2.0, len(y)), RNG.normal(size=len(y)) / 4
    k = KalmanSGD(4).fit(X, y, family, link, weight, offset)

    def f(w):
        return log_likelihood(family, link or k._state.history.link, y, X @ w + offset, weight)

    assert np.abs(slopes(f, k.coef)).max() < 1e-6 * len(y)
    for e in np.eye(4):
        assert f(k.coef + 0.1 * k.stderr * e) < f(k.coef)
        assert f(k.coef - 0.1 * k.stderr * e) < f(k.coef)


@pytest.mark.parametrize(("family", "link"), MODELS)
def test_the_order_of_rows_does_not_matter(family, link):
    X, y = problem(family)
    first = KalmanSGD(4).fit(X, y, family, link)
    for order in (np.argsort(y), np.argsort(-y)):
        k = KalmanSGD(4).fit(X[order], y[order], family, link)
        np.testing.assert_allclose(k.coef, first.coef, rtol=1e-10)
        np.testing.assert_allclose(k.stderr, first.stderr, rtol=1e-10)


@pytest.mark.parametrize(("family", "link"), MODELS)
def test_a_column_with_a_large_mean(family, link):
    X, y = problem(family)
    moved = X.copy()
    moved[:, 2] += 2.0**20
    X[:, 2] = moved[:, 2] - 2.0**20
    expected = KalmanSGD(4).fit(X, y, family, link)
    k = KalmanSGD(4).fit(moved, y, family, link)
    np.testing.assert_allclose(k.coef[1:], expected.coef[1:], rtol=1e-9)
    np.testing.assert_allclose(k.stderr[1:], expected.stderr[1:], rtol=1e-8)


@pytest.mark.parametrize("mode", ["plain", "ud", "qr", "auto"])
@pytest.mark.parametrize(("family", "link"), MODELS)
def test_every_mode_has_the_same_fit(mode, family, link):
    X, y = problem(family)
    m0 = np.inf if mode == "qr" else None
    k = KalmanSGD(4, m0=m0, mode=mode).fit(X, y, family, link)
    other = KalmanSGD(4).fit(X, y, family, link)
    np.testing.assert_allclose(k.coef, other.coef, rtol=1e-12)
    np.testing.assert_allclose(k.covariance(), other.covariance(), rtol=1e-9, atol=1e-15)
    assert (k.n_obs, k.n_passes) == (400, 1)


@pytest.mark.parametrize(("family", "link"), MODELS)
def test_a_finite_start_is_a_normal_prior(family, link):
    X, y = problem(family, n=60)
    w0, m0 = np.array([0.1, -0.2, 0.3, 0.0]), np.array([0.05, 0.2, 1.0, 3.0])
    for start in (m0, np.diag(m0) + 0.02):
        k = KalmanSGD(w0, m0=start).fit(X, y, family, link)
        inverse = np.linalg.inv(np.diag(start) if start.ndim == 1 else start)

        def f(w, inverse=inverse):
            prior = -0.5 * (w - w0) @ inverse @ (w - w0)
            return log_likelihood(family, link or "logit", y, X @ w, 1.0) + prior

        assert np.abs(slopes(f, k.coef)).max() < 1e-5


def test_the_gaussian_fit_is_the_filter_after_one_pass():
    X, y = problem("gaussian")
    fitted = KalmanSGD(4, m0=3.0).fit(X, y)
    passed = KalmanSGD(4, m0=3.0).partial_fit(X, y)
    np.testing.assert_allclose(fitted.coef, passed.coef, rtol=1e-11)
    np.testing.assert_allclose(fitted.covariance(), passed.covariance(), rtol=1e-9, atol=1e-14)
    assert fitted.dispersion == pytest.approx(passed.dispersion, rel=1e-10)
    fitted.merge(KalmanSGD(4, m0=3.0).partial_fit(X, y + 1))
    passed.merge(KalmanSGD(4, m0=3.0).partial_fit(X, y + 1))
    np.testing.assert_allclose(fitted.coef, passed.coef, rtol=1e-10)


def test_partial_fit_continues_from_a_fit():
    X, y = problem("poisson", n=4000)
    k = KalmanSGD(4).fit(X[:3000], y[:3000], "poisson").partial_fit(X[3000:], y[3000:], "poisson")
    whole = KalmanSGD(4).fit(X, y, "poisson")
    assert np.abs((k.coef - whole.coef) / whole.stderr).max() < 0.05
    np.testing.assert_allclose(k.stderr, whole.stderr, rtol=0.02)
    assert (k.n_obs, k.n_passes) == (4000, 1)
    assert everything(k.copy()) == everything(k)


def test_fit_discards_what_was_absorbed_before():
    X, y = problem("poisson")
    k = KalmanSGD(4).partial_fit(X, 5 * y, "poisson").fit(X, y, "poisson")
    assert everything(k) == everything(KalmanSGD(4).fit(X, y, "poisson"))


def test_rows_of_weight_0_do_not_count():
    X, y = problem("gaussian")
    weight = np.ones(400)
    weight[::3] = 0
    kept = weight > 0
    for one, other in (
        (KalmanSGD(4).fit(X, y, weight=weight), KalmanSGD(4).fit(X[kept], y[kept])),
        (KalmanSGD(4).partial_fit(X, y, weight=weight), KalmanSGD(4).partial_fit(X[kept], y[kept])),
        (
            KalmanSGD(4, mode="qr").partial_fit(X, y, weight=weight),
            KalmanSGD(4, mode="qr").partial_fit(X[kept], y[kept]),
        ),
    ):
        assert one.n_obs == kept.sum()
        np.testing.assert_allclose(one.coef, other.coef, rtol=1e-13)
        np.testing.assert_allclose(one.stderr, other.stderr, rtol=1e-12)
    with pytest.raises(FastoptError, match="no rows of positive weight"):
        KalmanSGD(4).fit(X, y, weight=np.zeros(400))
    assert math.isnan(KalmanSGD(4, m0=1.0).partial_fit(X, y, weight=np.zeros(400)).dispersion) or (
        KalmanSGD(4, m0=1.0).partial_fit(X, y, weight=np.zeros(400)).n_obs == 0
    )


@pytest.mark.parametrize("mode", ["plain", "ud"])
@pytest.mark.parametrize(("family", "link"), MODELS)
def test_an_offset_is_a_column_whose_coefficient_is_known(mode, family, link):
    """Rows with an offset give the result of a column whose coefficient has a strong prior."""
    X, y = problem(family, n=100)
    offset = RNG.normal(size=100) / 3
    k = KalmanSGD(4, m0=2.0, mode=mode).partial_fit(X, y, family, link, offset=offset)
    wide = KalmanSGD(np.r_[np.zeros(4), 1.0], m0=[2.0, 2.0, 2.0, 2.0, 1e-18], mode=mode)
    wide.partial_fit(np.column_stack([X, offset]), y, family, link)
    np.testing.assert_allclose(k.coef, wide.coef[:4], rtol=1e-7)
    np.testing.assert_allclose(k.covariance(False), wide.covariance(False)[:4, :4], rtol=1e-6)
    with_zeros = KalmanSGD(4, m0=2.0, mode=mode).partial_fit(X, y, family, link, offset=0 * offset)
    without = KalmanSGD(4, m0=2.0, mode=mode).partial_fit(X, y, family, link)
    assert everything(with_zeros) == everything(without)


@pytest.mark.parametrize("covariance", ["diag", [[0, 1], [2, 3]]])
def test_an_offset_with_a_diagonal_or_blocks(covariance):
    X, y = problem("poisson", n=50)
    offset = RNG.normal(size=50) / 3
    k = KalmanSGD(4, m0=1.0, covariance=covariance)
    k.partial_fit(X, y, "poisson", offset=offset)
    rows = KalmanSGD(4, m0=1.0, covariance=covariance)
    for i in range(50):
        rows.partial_fit(X[i : i + 1], y[i : i + 1], "poisson", offset=offset[i : i + 1])
    assert everything(k) == everything(rows)
    plain = KalmanSGD(4, m0=1.0, covariance=covariance).partial_fit(X, y, "poisson")
    assert np.abs(k.coef - plain.coef).max() > 1e-3


def test_predict_is_the_mean():
    X, y = problem("poisson")
    k = KalmanSGD(4).fit(X, y, "poisson")
    np.testing.assert_allclose(k.predict(X), np.exp(X @ k.coef), rtol=1e-13)
    offset = RNG.normal(size=400)
    np.testing.assert_allclose(k.predict(X, offset), np.exp(X @ k.coef + offset), rtol=1e-13)
    copied = k.copy()
    assert (copied.predict(X) == k.predict(X)).all()
    with pytest.raises(FastoptError, match="fit or partial_fit"):
        KalmanSGD(4).predict(X)
    with pytest.raises(FastoptError, match=r"X has shape \(400, 3\)"):
        k.predict(X[:, :3])
    with pytest.raises(FastoptError, match=r"offset\[3\] is nan"):
        k.predict(X, np.where(np.arange(400) == 3, np.nan, 0.0))


def test_failed_fits_change_nothing():
    X, y = problem("binomial")
    k = KalmanSGD(4).fit(X, y, "binomial")
    before = everything(k)
    separated = (X[:, 1] > 0).astype(float)
    for arguments, options, message in (
        ((X, separated, "binomial"), {}, "separation"),
        ((X[:, [0, 1, 2, 2]], y, "binomial"), {}, "do not determine coefficient 3"),
        ((X, y, "binomial"), {"max_rounds": 1}, "max_rounds=1"),
        ((X[:3], y[:3], "gaussian"), {}, "do not determine"),
        ((X, y, "binomial"), {"tol": 2.0}, "tol is 2.0"),
        ((X, y - 1, "poisson"), {}, "the poisson family allows"),
        ((X, y, "binomial", None, None, y[:5]), {}, "offset has shape"),
    ):
        with pytest.raises(FastoptError, match=message):
            k.fit(*arguments, **options)
        assert everything(k) == before
    with pytest.raises(FastoptError, match="fit needs 'full'"):
        KalmanSGD(4, covariance="diag").fit(X, y)


@pytest.mark.parametrize(
    ("family", "link", "value"),
    [
        ("poisson", None, 0.0),
        ("negative_binomial", None, 0.0),
        *(("binomial", link, y) for link in ("logit", "probit", "cloglog") for y in (0.0, 1.0)),
    ],
)
def test_a_group_without_variation_has_no_maximum(family, link, value):
    """The coefficient of such a group's dummy variable is infinite, whatever the weights."""
    rng = np.random.default_rng(0)
    group = (np.arange(60) % 3 == 0).astype(float)
    X = np.column_stack([np.ones(60), rng.normal(size=60), group])
    y = np.where(group == 1, value, rng.integers(0, 2, 60).astype(float))
    for weight in (None, np.full(60, 1e-6)):
        with pytest.raises(FastoptError, match=r"no maximum.* coefficient 2 .*separation"):
            KalmanSGD(3).fit(X, y, family, link, weight)


def test_separated_labels_have_a_penalised_fit():
    X, _ = problem("binomial")
    y = (X[:, 1] > 0).astype(float)
    k = KalmanSGD(4, m0=10.0).fit(X, y, "binomial")
    assert ((k.predict(X) > 0.5) == y).mean() > 0.97
    assert np.isfinite(k.stderr).all()


@pytest.mark.parametrize("scale", [1e-150, 1e-15, 1e-8, 1e8, 1e150])
def test_the_unit_of_y_has_no_effect(scale):
    X, y = problem("gaussian", n=50)
    for absorb in (KalmanSGD.fit, KalmanSGD.partial_fit):
        k = absorb(KalmanSGD(4), X, y)
        scaled = absorb(KalmanSGD(4), X, y * scale)
        np.testing.assert_allclose(scaled.coef, k.coef * scale, rtol=1e-8)
        np.testing.assert_allclose(scaled.stderr, k.stderr * scale, rtol=1e-8)


def test_rates_in_a_small_unit_have_a_maximum():
    X, y = problem("gamma")
    k = KalmanSGD(4).fit(X, y, "poisson")
    small = KalmanSGD(4).fit(X, 1e-20 * y, "poisson")
    np.testing.assert_allclose(small.coef[1:], k.coef[1:], rtol=1e-6)


def test_a_constant_added_to_y_only_changes_the_intercept():
    X, y = problem("gaussian", n=50)
    for constant, rtol in ((1e6, 1e-9), (1e12, 1e-3)):
        y = (y + constant) - constant  # as rounding has changed it
        k, moved = KalmanSGD(4).fit(X, y), KalmanSGD(4).fit(X, y + constant)
        np.testing.assert_allclose(moved.coef[1:], k.coef[1:], rtol=rtol)
        np.testing.assert_allclose(moved.stderr, k.stderr, rtol=rtol)


@pytest.mark.parametrize("name", [file.stem for file in sorted(DATA.glob("*.dat"))])
def test_nist_linear_problems(name):
    """Compares with the certified values, to 9 digits except for two problems.

    The residuals of Wampler5 are 1e7 times the signal; rounding Filip's data to float64 loses the
    other digits.
    """
    X, y, certified, stderr = read(name)
    for mode in ("plain", "qr"):
        k = KalmanSGD(X.shape[1], mode=mode).fit(X, y)
        assert digits(k.coef, certified) >= {"Filip": 7, "Wampler5": 8.5}.get(name, 9)
        if stderr.all():  # where the residuals are not 0
            assert digits(k.stderr, stderr) >= (6 if name == "Filip" else 8)


# Orders of rows, and the default start


@pytest.mark.parametrize("family", ["binomial", "poisson", "gamma"])
@pytest.mark.parametrize("sign", [1, -1])
def test_sorted_rows_warn(family, sign):
    """Calls of 50 rows are too short to compare the information."""
    X, y = problem(family, n=600)
    order = np.argsort(sign * y)
    with pytest.warns(UserWarning, match="the rows of this call are sorted by y"):
        KalmanSGD(4, m0=100.0).partial_fit(X[order], y[order], family)
    stream = KalmanSGD(4)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for rows in np.array_split(order, 12):
            stream.partial_fit(X[rows], y[rows], family)
    assert all("sorted by y" in str(warning.message) for warning in caught)
    assert caught
    KalmanSGD(4).partial_fit(X[order], y[order], family)  # starts at the maximum of all rows
    KalmanSGD(4).fit(X, y, family).partial_fit(X[order[:50]], y[order[:50]], family)


def test_the_family_is_that_of_the_rows_before():
    """It used to be Gaussian, which mixed two models without a warning."""
    for family, link, alpha in (
        ("poisson", None, None),
        ("binomial", "probit", None),
        ("gamma", "log", None),
        ("negative_binomial", None, 0.5),
    ):
        X, y = problem(family)
        named = KalmanSGD(4).partial_fit(X[:200], y[:200], family, link, alpha=alpha)
        for rows in (slice(200, 300), slice(300, None)):
            first = copy.deepcopy(named)
            named.partial_fit(X[rows], y[rows], family, link, alpha=alpha)
            first.partial_fit(X[rows], y[rows])
            assert everything(first) == everything(named)
        fitted = KalmanSGD(4).fit(X, y, family, link, alpha=alpha)
        again = copy.deepcopy(fitted)
        fitted.partial_fit(X[:9], y[:9], family, link, alpha=alpha)
        assert everything(again.partial_fit(X[:9], y[:9])) == everything(fitted)
    X, y = problem("gaussian")
    fitted.partial_fit(X, y, "gaussian")  # a family that is given is used
    assert fitted.predict(X[:1]) == pytest.approx(X[:1] @ fitted.coef)


def test_rows_of_one_label_first_warn():
    X, y = problem("binomial", n=3000)
    order = nearly_sorted(y)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        KalmanSGD(4).partial_fit(X[order], y[order], "binomial")
    assert "first rows all have y = 0" in str(caught[0].message)
    with pytest.warns(UserWarning, match="differ by more than 25 %"):
        KalmanSGD(4, m0=100.0).partial_fit(X[order[200:]], y[order[200:]], "poisson")


@pytest.mark.parametrize("family", ["binomial", "poisson", "gamma"])
@pytest.mark.parametrize("m0", [None, 100.0])
def test_rows_in_random_order_do_not_warn(family, m0):
    for n in (100, 1000, 5000):
        X, y = problem(family, n=n)
        KalmanSGD(4, m0=m0).partial_fit(X, y, family)


@pytest.mark.parametrize("family", ["binomial", "poisson", "gamma"])
@pytest.mark.parametrize("n_calls", [1, 20])
def test_rows_sorted_by_a_column_of_X_do_not_warn(family, n_calls):
    """The last rows then have another information than the others, but stderr is right."""
    X, y = problem(family, n=20_000)
    best = KalmanSGD(4).fit(X, y, family)
    k = KalmanSGD(4)
    for rows in np.array_split(np.argsort(X[:, 1]), n_calls):
        k.partial_fit(X[rows], y[rows], family)
    np.testing.assert_allclose(k.stderr, best.stderr, rtol=0.02)


def test_a_warning_as_an_error_changes_nothing():
    X, y = problem("poisson", n=3000)
    order = nearly_sorted(y)
    k = KalmanSGD(4, m0=100.0).partial_fit(X[:9], y[:9], "poisson")
    before = everything(k)
    with pytest.raises(UserWarning, match="differ"):
        k.partial_fit(X[order], y[order], "poisson")
    assert everything(k) == before


def test_one_pass_from_the_default_start_is_near_the_maximum():
    """This holds for an intercept of 1e5 standard deviations and for columns of any scale."""
    for family in ("gaussian", "poisson", "binomial", "gamma"):
        X, y = problem(family, n=3000)
        X = X * [1, 1e6, 1e-6, 1]
        y = y + 1e5 if family == "gaussian" else y
        k = KalmanSGD(4).partial_fit(X, y, family)
        best = KalmanSGD(4).fit(X, y, family)
        assert np.abs((k.coef - best.coef) / best.stderr).max() < 0.1
        np.testing.assert_allclose(k.stderr, best.stderr, rtol=0.05)


def test_the_default_start_one_row_at_a_time():
    X, y = problem("gaussian")
    k = KalmanSGD(4)
    for i in range(400):
        k.partial_fit(X[i : i + 1], y[i : i + 1])
        assert np.isfinite(k.coef).all()
    best = KalmanSGD(4).fit(X, y)
    assert np.abs((k.coef - best.coef) / best.stderr).max() < 0.01
    np.testing.assert_allclose(k.stderr, best.stderr, rtol=1e-3)


@pytest.mark.parametrize("m0", [None, "scale"])
@pytest.mark.parametrize("n", [1, 5, 100])
def test_any_number_of_first_rows(m0, n):
    X, y = problem("gaussian", n=100)
    k = KalmanSGD(4, m0=m0).partial_fit(X[:n], y[:n])
    assert k.n_obs == n
    assert np.isfinite(k.coef).all()


def test_default_filters_merge():
    X, y = problem("gaussian")
    whole = KalmanSGD(4).fit(X, y)
    shards = [KalmanSGD(4).partial_fit(X[i::3], y[i::3]) for i in range(3)]
    merged = shards[0].merge(shards[1]).merge(shards[2])
    np.testing.assert_allclose(merged.coef, whole.coef, rtol=1e-6)
    np.testing.assert_allclose(merged.stderr, whole.stderr, rtol=1e-6)


# Dispersion


def test_stderr_is_the_same_after_each_pass():
    k = KalmanSGD(1, m0=1e9)
    for _ in range(5):
        k.partial_fit(np.ones((3, 1)), [0.0, 1.0, 2.0], new_pass=k.n_passes > 0)
        assert k.stderr[0] == pytest.approx(math.sqrt(1 / 3), rel=1e-6)


def test_large_targets_have_finite_standard_errors():
    X, y = problem("gaussian")
    k = KalmanSGD(4, mode="qr").partial_fit(X, y)
    large = KalmanSGD(4, mode="qr").partial_fit(X, y * 2.0**600)
    np.testing.assert_allclose(large.stderr, k.stderr * 2.0**600, rtol=1e-12)


@pytest.mark.parametrize(
    ("options", "rows", "scale"),
    [
        ({"forgetting": 0.5}, 3000, 0.0),
        ({"forgetting": 0.5, "dtype": "float32", "mode": "plain"}, 3000, 0.0),
        ({"forgetting": 0.9, "covariance": "diag"}, 20_000, 0.0),
        ({"forgetting": 0.9}, 20_000, 1.0),
    ],
)
def test_forgetting_without_information_raises_before_it_overflows(options, rows, scale):
    """If rows or a column are 0, forgetting makes M grow without bound."""
    X = np.zeros((rows, 2))
    X[:, 0] = scale * RNG.normal(size=rows)
    k = KalmanSGD(2, m0=1.0, **options)
    with pytest.raises(FastoptError, match="left the range"):
        k.partial_fit(X, np.zeros(rows))
    assert np.isfinite(k.covariance(False)).all()
    loaded = KalmanSGD(2, m0=1.0, **options)
    loaded.load_state_dict(k.state_dict())
    assert everything(loaded) == everything(k)


def test_the_public_name_is_documented():
    assert "Fisher scoring" in fastopt.KalmanSGD.fit.__doc__


def test_columns_that_are_too_small_for_y_raise():
    k = KalmanSGD(1, mode="qr").partial_fit([[1e-310]] * 3, [1.0, 2.0, 3.0])
    with pytest.raises(FastoptError, match="coefficient 0 is beyond float64"):
        _ = k.coef


def test_a_large_start_takes_the_mode_that_resolves_it():
    X, y = problem("gaussian")
    best = KalmanSGD(4).fit(X, y)
    for m0 in (1e9, 1e13, 1e14, [1e14, 1.0, 1.0, 1.0]):
        k = KalmanSGD(4, m0=m0)
        assert k.mode == ("plain" if m0 == 1e9 else "ud")
        if m0 != [1e14, 1.0, 1.0, 1.0]:
            np.testing.assert_allclose(k.partial_fit(X, y).stderr, best.stderr, rtol=1e-6)
