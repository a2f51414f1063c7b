"""KalmanSGD with a full covariance: the paper's formula, ridge regression, bad input, saving."""

import copy
import math
import pickle
import tracemalloc

import kalman_reference
import numpy as np
import pytest
from kalman_cases import FILTERED, LOOPED, alpha_of, close, data, everything, moderate
from kalman_reference import MODEL
from support import bits

import fastopt
from fastopt._errors import FastoptError
from fastopt.families import FAMILIES as FAMILY
from fastopt.kalman._kalman import FAMILIES
from fastopt.kalman.covariance.choosing import block_rows

BLOCKS = [1, 7, 32, 128, 512]


# Blocks of rows


@pytest.mark.parametrize("block", BLOCKS)
@pytest.mark.parametrize("family", LOOPED)
@pytest.mark.parametrize("keep", [1.0, 0.97])
def test_explicit_blocks_equal_single_rows(family, block, keep):
    X, y, w = data(family)
    m0 = moderate(family)
    k = fastopt.KalmanSGD(w, m0=m0, glm_update="explicit", block=block, forgetting=keep)
    k.partial_fit(X, y, *family, **alpha_of(family))
    expected = kalman_reference.explicit(w, m0 * np.eye(6), X, y, *MODEL[family], keep=keep)
    close(k.coef, expected[0], 1e-12 if family[1] in ("identity", "logit") else 1e-10)
    close(k.covariance(scaled=False), expected[1], 1e-11)


@pytest.mark.parametrize("block", BLOCKS)
@pytest.mark.parametrize("family", LOOPED)
@pytest.mark.parametrize("keep", [1.0, 0.97])
def test_implicit_blocks_equal_single_rows(family, block, keep):
    X, y, w = data(family)
    m0 = 1.0 if family[1] == "inverse" else 100.0
    weight = np.random.default_rng(1).uniform(0.2, 3.0, size=len(y))
    k = fastopt.KalmanSGD(w, m0=m0, block=block, forgetting=keep)
    k.partial_fit(X, y, *family, weight=weight, **alpha_of(family))
    single = fastopt.KalmanSGD(w, m0=m0, block=1, forgetting=keep)
    for i in range(len(y)):
        single.partial_fit(X[i : i + 1], y[i : i + 1], *family, weight=weight[i : i + 1],
                           **alpha_of(family))  # fmt: skip
    close(k.coef, single.coef, 1e-11)
    covariance = single.covariance(scaled=False)
    # M is a small difference from m0, so its error is relative to m0, or to M if it is larger.
    largest = max(m0, np.max(covariance))
    assert np.max(np.abs(k.covariance(scaled=False) - covariance)) <= 1e-14 * largest
    if family[1] in ("inverse", "cloglog"):
        return  # the reference fails for negative predictors, and if m rounds to 1
    with np.errstate(all="ignore"):
        expected = kalman_reference.implicit(
            w, m0 * np.eye(6), X[:60], y[:60], *MODEL[family], weight[:60], keep
        )
    start = fastopt.KalmanSGD(w, m0=m0, block=block, forgetting=keep)
    start.partial_fit(X[:60], y[:60], *family, weight=weight[:60], **alpha_of(family))
    close(start.coef, expected[0], 1e-8)
    close(start.covariance(scaled=False), expected[1], 1e-8)


@pytest.mark.parametrize("block", BLOCKS)
@pytest.mark.parametrize("update", ["implicit", "explicit"])
def test_saturated_logits_in_blocks_equal_single_rows(block, update):
    X, _, _ = data(("binomial", "logit"))
    w = np.full(6, 40.0)
    y = (X @ w > 0).astype(float)
    k = fastopt.KalmanSGD(w, m0=100.0, block=block, glm_update=update)
    with pytest.warns(UserWarning, match="separation"):
        k.partial_fit(X, y, "binomial")
    single = fastopt.KalmanSGD(w, m0=100.0, block=1, glm_update=update)
    for i in range(len(y)):
        single.partial_fit(X[i : i + 1], y[i : i + 1], "binomial")
    close(k.coef, single.coef, 1e-12)
    close(k.covariance(False), single.covariance(False), 1e-12)


def test_gamma_bounds_the_variance():
    family = ("poisson", "log")
    X, y, w = data(family)
    k = fastopt.KalmanSGD(w, m0=0.1, glm_update="explicit", gamma=(0.9, 1.5))
    k.partial_fit(X, y, *family)
    mean, slope, variance = MODEL[family]
    clipped = (mean, slope, lambda m: min(1.5, max(0.9, variance(m))))
    expected = kalman_reference.explicit(w, 0.1 * np.eye(6), X, y, *clipped)
    close(k.coef, expected[0], 1e-11)
    assert 0 < k.n_clipped <= k.n_obs == 300


@pytest.mark.parametrize("block", BLOCKS)
def test_max_trace_is_exact_in_blocks(block):
    """Half the columns become 0: their variance grows to the cap, as with single rows."""
    X, y, w = data(("gaussian", "identity"), n=2000)
    X[500:, 3:] = 0.0
    k = fastopt.KalmanSGD(w, forgetting=0.98, max_trace=50.0, m0=1.0, block=block)
    k.partial_fit(X, y)
    u, M = kalman_reference.explicit(
        w, np.eye(6), X, y, *MODEL["gaussian", "identity"], keep=0.98, max_trace=50.0
    )
    close(k.coef, u, 1e-10)
    close(k.covariance(False), M, 1e-10)
    assert k.trace == pytest.approx(np.trace(M), rel=1e-10)
    assert k.trace < 51.1


@pytest.mark.parametrize("mode", ["plain", "ud"])
def test_forgetting_stops_at_max_trace(mode):
    zeros = np.zeros((3, 2)), np.zeros(3)
    k = fastopt.KalmanSGD(2, m0=1.0, mode=mode, forgetting=0.5, max_trace=4.0)
    assert k.partial_fit(*zeros).trace == 4.0  # 2, then 4


# Observations of any model


@pytest.mark.parametrize("outputs", [1, 3, 40])
@pytest.mark.parametrize("keep", [1.0, 0.95])
@pytest.mark.parametrize("kind", ["number", "vector", "matrix"])
def test_updates_match_the_formula(outputs, keep, kind):
    rng = np.random.default_rng(0)
    p = 6
    k = fastopt.KalmanSGD(p, m0=2.0, forgetting=keep, block=8)
    w, M = np.zeros(p), 2.0 * np.eye(p)
    for _ in range(50):
        J, r = rng.normal(size=(outputs, p)), rng.normal(size=outputs)
        A = rng.normal(size=(outputs, outputs))
        R = {
            "number": 0.5,
            "vector": rng.uniform(0.5, 2, outputs),
            "matrix": A @ A.T + np.eye(outputs),
        }[kind]
        R_full = R if kind == "matrix" else np.diag(np.broadcast_to(R, outputs))
        mean = J @ k.coef
        k.update(mean + r, mean, J, R)
        M = M / keep
        gain = M @ J.T @ np.linalg.inv(R_full + J @ M @ J.T)
        w, M = w + gain @ r, M - gain @ J @ M
    close(k.coef, w, 1e-10)
    close(k.covariance(False), M, 1e-9)
    assert k.n_obs == 50 * outputs


def test_update_and_partial_fit_agree():
    X, y, w = data(("gaussian", "identity"))
    rows = fastopt.KalmanSGD(w, m0=100.0).partial_fit(X, y, weight=np.full(300, 4.0))
    single = fastopt.KalmanSGD(w, m0=100.0)
    for x, target in zip(X, y, strict=True):
        single.update(target, x @ single.coef, x, 0.25)
    close(single.coef, rows.coef, 1e-11)
    close(single.covariance(), rows.covariance(), 1e-10)


@pytest.mark.parametrize("update", ["explicit", "implicit"])
def test_a_row_without_residual_whose_variance_underflows(update):
    k = fastopt.KalmanSGD(np.array([-500.0]), m0=1.0, glm_update=update)
    k.partial_fit([[1.0]], [math.exp(-500.0)], "gamma", "log")
    assert (k.coef[0], k.n_obs) == (-500.0, 1)


def test_gamma_bounds_given_variances():
    k = fastopt.KalmanSGD(2, gamma=(1.0, None), glm_update="explicit")
    other = fastopt.KalmanSGD(2)
    k.update([1.0, 2.0], [0.0, 0.0], np.eye(2), [0.5, 3.0])
    other.update([1.0, 2.0], [0.0, 0.0], np.eye(2), [1.0, 3.0])
    assert bits(k.coef) == bits(other.coef)
    assert k.n_clipped == 1


@pytest.mark.parametrize("keep", [1.0, 0.9])
def test_bad_updates_change_nothing(keep):
    k = fastopt.KalmanSGD(2, forgetting=keep).update(1.0, 0.0, [1.0, 2.0])
    before = everything(k)
    for args in [(np.nan, 0.0, [1.0, 2.0]), (1.0, np.inf, [1.0, 2.0]), (1.0, 0.0, [1.0, np.nan]),
                 (1.0, 0.0, [1.0]), (1.0, 0.0, np.eye(2)), (1.0, 0.0, [1.0, 2.0], 0.0),
                 (1.0, 0.0, [1.0, 2.0], -1.0), (1.0, 0.0, [1.0, 2.0], [1.0, 2.0]),
                 ([1.0, 0.0], [0.0, 0.0], np.eye(2), [[1.0, 2.0], [2.0, 1.0]]),
                 (1.0, 0.0, [1e200, 0.0])]:  # fmt: skip
        with pytest.raises(FastoptError):
            k.update(*args)
        assert everything(k) == before


# Closed forms


def test_gaussian_rows_give_ridge_regression():
    rng = np.random.default_rng(0)
    scale = np.logspace(0, -4, 30)
    X = rng.normal(size=(5000, 30)) * scale
    y = X @ (1 / scale) + rng.normal(size=5000)
    k = fastopt.KalmanSGD(30, m0=1e8).partial_fit(X, y)
    information = X.T @ X + 1e-8 * np.eye(30)
    ridge = np.linalg.solve(information, X.T @ y)
    assert np.max(np.abs(k.coef - ridge) / k.stderr) < 1e-6
    rss = np.sum((y - X @ ridge) ** 2) + 1e-8 * ridge @ ridge
    assert k.dispersion == pytest.approx(rss / (5000 - 30), rel=1e-9)
    expected = k.dispersion * np.linalg.inv(information)
    assert k.stderr == pytest.approx(np.sqrt(np.diagonal(expected)), rel=1e-6)


def test_integer_weights_equal_repeated_rows():
    X, y, _ = data(("gaussian", "identity"))
    counts = np.random.default_rng(2).integers(0, 4, size=len(y))
    weighted = fastopt.KalmanSGD(6).partial_fit(X, y, weight=counts)
    repeated = fastopt.KalmanSGD(6).partial_fit(np.repeat(X, counts, 0), np.repeat(y, counts))
    close(weighted.coef, repeated.coef, 1e-11)
    close(weighted.covariance(False), repeated.covariance(False), 1e-11)


@pytest.mark.parametrize("n", [4, 200])
def test_integer_weights_equal_repeated_rows_for_the_default_prior(n):
    """Four rows do not determine six coefficients, so that the prior matters."""
    X, y, _ = data(("poisson", "log"), n=200)
    weight = np.random.default_rng(3).integers(1, 4, n)
    repeated = np.repeat(np.arange(n), weight)
    k = fastopt.KalmanSGD(6).partial_fit(X[:n], y[:n], "poisson", weight=weight)
    other = fastopt.KalmanSGD(6).partial_fit(X[repeated], y[repeated], "poisson")
    close(k.coef, other.coef, 1e-6)
    close(k.covariance(), other.covariance(), 1e-5)


def test_m0_scale_makes_units_irrelevant():
    X, y, _ = data(("gaussian", "identity"))
    units = np.array([1.0, 1e3, 1e-3, 10.0, 1e5, 1e-5])
    plain = fastopt.KalmanSGD(6, m0="scale").partial_fit(X, y)
    scaled = fastopt.KalmanSGD(6, m0="scale").partial_fit(X * units, y)
    close(scaled.coef * units, plain.coef, 1e-9)


@pytest.mark.parametrize("n", [200, 1000, 4000])
def test_dispersion_times_trace_is_the_expected_squared_distance(n):
    """Over replications, |w - w*|^2 averages to dispersion * trace(M)."""
    rng = np.random.default_rng(0)
    truth, ratios = rng.normal(size=8), []
    for _ in range(300):
        X = rng.normal(size=(n, 8)) * np.logspace(0, -1, 8)
        k = fastopt.KalmanSGD(8, m0=1e4).partial_fit(X, X @ truth + 2 * rng.normal(size=n))
        ratios.append(np.sum((k.coef - truth) ** 2) / (k.dispersion * k.trace))
    assert 0.85 <= np.mean(ratios) <= 1.15


@pytest.mark.parametrize("link", ["identity", "log"])
@pytest.mark.parametrize("kind", ["trace", "se"])
@pytest.mark.parametrize("layout", ["whole", "pieces", "copied"])
def test_converged_at_is_the_first_block_that_meets_the_condition(kind, link, layout):
    """It is evaluated after each block of 32 rows, for any size of the calls."""
    family = "gaussian" if link == "identity" else "poisson"
    X, y, w = data((family, link), n=3000)
    if kind == "se":
        X = X * np.logspace(0, 2, 6)
        w = w / np.logspace(0, 2, 6)
    probe = fastopt.KalmanSGD(w, m0=100.0)
    sizes = []
    for end in range(32, 3001, 32):
        probe.partial_fit(X[end - 32 : end], y[end - 32 : end], family)
        variances = probe.dispersion * np.diagonal(probe.covariance(False))
        spread = np.std(y[:end]) if link == "identity" else 1.0
        rms = np.sqrt(np.mean(X[:end] ** 2, 0))
        sizes.append(sum(variances) if kind == "trace" else max(np.sqrt(variances) * rms) / spread)
    expected = np.argmax(np.array(sizes) <= sizes[40])
    assert expected > 5
    k = fastopt.KalmanSGD(w, m0=100.0, stop=(kind, sizes[40] * (1 + 1e-9)), block=32)
    assert not k.converged
    assert k.converged_at is None
    if layout == "pieces":
        for start in range(0, 3000, 320):
            k.partial_fit(X[start : start + 320], y[start : start + 320], family)
    else:
        k.partial_fit(np.asfortranarray(X) if layout == "copied" else X, y, family)
    for each in (k, k.copy()):
        assert each.converged
        assert each.converged_at == 32 * (expected + 1)


def test_stop_condition_with_update():
    k = fastopt.KalmanSGD(2, stop=("se", 0.2))
    rng = np.random.default_rng(0)
    for _ in range(200):
        x = rng.normal(size=2)
        k.update(x.sum() + rng.normal(), x @ k.coef, x)
    at = k.converged_at
    assert 14 <= at < 60
    other = fastopt.KalmanSGD(2)
    rng = np.random.default_rng(0)
    squares = 0.0
    for _ in range(at):
        x = rng.normal(size=2)
        other.update(x.sum() + rng.normal(), x @ other.coef, x)
        squares = squares + x**2
    assert np.max(other.stderr * np.sqrt(squares / at)) <= 0.2


def test_stop_condition_needs_enough_rows_of_the_first_pass():
    X, y, w = data(("gaussian", "identity"))
    k = fastopt.KalmanSGD(w, stop=("trace", 1e9)).partial_fit(X[:21], y[:21])
    assert not k.converged
    assert k.partial_fit(X[21:22], y[21:22]).converged_at == 22
    k = fastopt.KalmanSGD(w, stop=("trace", 1e-6)).partial_fit(X, y)
    for _ in range(3):
        k.partial_fit(X, y, new_pass=True)
    k = fastopt.KalmanSGD(w, stop=("trace", k.dispersion * k.trace * 1.01)).partial_fit(X, y)
    for _ in range(3):
        k.partial_fit(X, y, new_pass=True)
    assert not k.converged
    for stop in (("time", 1.0), ("trace", 0.0), ("trace", -1.0), ("se", np.nan)):
        with pytest.raises(FastoptError):
            fastopt.KalmanSGD(3, stop=stop)
    with pytest.raises(FastoptError, match="forgetting"):
        fastopt.KalmanSGD(3, stop=("se", 0.1), forgetting=0.9)


# Merging


@pytest.mark.parametrize("m0", [100.0, [1.0, 2.0, 3.0, 4.0, 5.0, 6.0], "matrix"])
@pytest.mark.parametrize("order", [(0, 1), (2, 0, 1), (3, 1, 4, 0, 2)], ids=str)
def test_merged_shards_equal_one_pass(order, m0):
    X, y, w = data(("gaussian", "identity"), n=600)
    if m0 == "matrix":
        root = np.random.default_rng(3).normal(size=(6, 6))
        m0 = root @ root.T + np.eye(6)
    weight = np.random.default_rng(4).uniform(0.5, 2.0, size=600)
    options = dict(m0=m0, gamma=(2.0, None), glm_update="explicit", stop=("se", 0.05))
    whole = fastopt.KalmanSGD(w, **options).partial_fit(X, y, weight=weight)
    n = len(order)
    shards = [
        fastopt.KalmanSGD(w, **options).partial_fit(X[i::n], y[i::n], weight=weight[i::n])
        for i in order
    ]
    merged = shards[0]
    for shard in shards[1:]:
        before = everything(shard)
        merged.merge(shard)
        assert everything(shard) == before
    close(merged.coef, whole.coef, 1e-11)
    close(merged.covariance(False), whole.covariance(False), 1e-11)
    assert merged.dispersion == pytest.approx(whole.dispersion, rel=1e-11)
    assert (merged.n_obs, merged.n_clipped, merged.n_passes) == (600, 600, 1)
    assert merged.converged
    merged.partial_fit(X, y)  # works after a merge
    assert everything(merged.copy()) == everything(merged)


def test_merge_refuses_filters_without_an_exact_sum():
    X, y, w = data(("gaussian", "identity"))
    k = fastopt.KalmanSGD(w).partial_fit(X, y)
    before = everything(k)
    counted = fastopt.KalmanSGD(w).partial_fit(X, np.abs(y.round()), "poisson")
    twice = fastopt.KalmanSGD(w).partial_fit(X, y).partial_fit(X, y, new_pass=True)
    for other, reason in [
        (fastopt.KalmanSGD(w, m0=1.0), "counted twice"),
        (fastopt.KalmanSGD(w + 1), "counted twice"),
        (fastopt.KalmanSGD(6, m0=np.inf), "mode"),
        (fastopt.KalmanSGD(w, gamma=(1.0, None), glm_update="explicit"), "gamma"),
        (fastopt.KalmanSGD(w, forgetting=0.9), "without forgetting"),
        (fastopt.KalmanSGD(w).update(1.0, 0.0, w), "gaussian family"),
        (counted, "gaussian family"),
        (twice, "2 times"),
        (fastopt.KalmanSGD(w[:4]), "4 coefficients"),
        (fastopt.KalmanSGD(w, m0="scale"), "scale"),
    ]:
        with pytest.raises(FastoptError, match=reason):
            k.merge(other)
    with pytest.raises(TypeError):
        k.merge(w)
    assert everything(k) == before


# Separation


def test_complete_separation_warns():
    X, y, _ = data(("binomial", "logit"))
    separable = (X[:, 0] > 0).astype(float)
    with pytest.warns(UserWarning, match="nearly separated"):
        k = fastopt.KalmanSGD(6, m0=1e6).partial_fit(X, separable, "binomial")
    with pytest.warns(UserWarning, match="complete separation"):
        k.partial_fit(np.tile(X, (50, 1)), np.tile(separable, 50), "binomial", new_pass=True)
    X[:, 0] += 0.3 * np.sign(X[:, 0])
    with pytest.warns(UserWarning, match="complete separation"):
        fastopt.KalmanSGD(6, m0=1e6).partial_fit(X, separable, "binomial")
    k = fastopt.KalmanSGD(6, m0=1e6)
    k.partial_fit(X[:12], separable[:12], "binomial")  # so few rows are always separated
    with pytest.warns(UserWarning, match="complete separation"):
        k.partial_fit(X[12:], separable[12:], "binomial")
    k = fastopt.KalmanSGD(6, m0=1e6).partial_fit(X, y, "binomial")  # which is not separated
    k.partial_fit(X, separable, "binomial")
    fastopt.KalmanSGD(6, m0=1e6).partial_fit(X, 0.1 + 0.8 * separable, "binomial")


# Calls that change nothing


def test_a_zero_row_changes_no_bit():
    for family in FILTERED:
        if family[1] == "inverse":
            continue
        X, y, w = data(family)
        k = fastopt.KalmanSGD(w, m0=1.0).partial_fit(X, y, *family)
        before = bits([k.coef, k.covariance(False)])
        k.partial_fit(np.zeros((3, 6)), y[:3], *family)
        assert bits([k.coef, k.covariance(False)]) == before


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("where", [(0, 0), (299, 5), (150, 2)])
def test_a_nonfinite_row_is_refused_and_changes_nothing(bad, where):
    X, y, w = data(("gaussian", "identity"))
    k = fastopt.KalmanSGD(w).partial_fit(X, y)
    before = everything(k)
    X[where] = bad
    with pytest.raises(FastoptError, match=rf"X\[{where[0]}\]"):
        k.partial_fit(X, y)
    y[7] = bad
    with pytest.raises(FastoptError, match=r"y\[7\]"):
        k.partial_fit(X, y)
    assert everything(k) == before


def test_bad_data_change_nothing():
    X, y, w = data(("gaussian", "identity"))
    k = fastopt.KalmanSGD(w).partial_fit(X, y)
    before = everything(k)
    wrong = [
        ((X[:, :5], y), {}),
        ((X, y[:5]), {}),
        ((X[0], y), {}),
        ((X, y - 100, "poisson"), {}),
        ((X, y, "gaussian", "log"), {}),
        ((X, y, "student"), {}),
        ((X, y), {"weight": -np.ones(300)}),
        ((X, y), {"weight": np.full(300, np.nan)}),
        ((X, y), {"weight": np.ones(3)}),
        ((X, y), {"alpha": 1.0}),
        ((X, abs(y), "negative_binomial"), {"alpha": -1.0}),
    ]
    for args, options in wrong:
        with pytest.raises(FastoptError):
            k.partial_fit(*args, **options)
    for args in ((X.astype(complex), y), (X, y.astype(str)), (np.ma.masked_array(X), y)):
        with pytest.raises(TypeError):
            k.partial_fit(*args)
    assert everything(k) == before


@pytest.mark.parametrize(
    "options",
    [{"m0": 0.0}, {"m0": -1.0}, {"m0": np.nan}, {"m0": [1.0, 2.0]}, {"m0": [1.0, -1.0, 1.0]},
     {"m0": [[1, 2, 0], [2, 1, 0], [0, 0, 1]]}, {"m0": [[1, 2, 0], [0, 1, 0], [0, 0, 1]]},
     {"m0": "unit"}, {"forgetting": 0.0}, {"forgetting": 1.1}, {"max_trace": 0.0},
     {"gamma": (2.0, 1.0), "glm_update": "explicit"}, {"gamma": (1.0, None)},
     {"gamma": (-1.0, None), "glm_update": "explicit"}, {"mode": "joseph"}, {"block": 0},
     {"glm_update": "both"}, {"dispersion": "known"}],
    ids=str,
)  # fmt: skip
def test_bad_options(options):
    with pytest.raises(FastoptError):
        fastopt.KalmanSGD(3, **options)


@pytest.mark.parametrize(
    "m0",
    [True, np.True_, [True, True, True], np.eye(3, dtype=bool), ["1", "1", "1"],
     np.ma.masked_array([1.0, 2.0, 3.0], [False, False, True])],
    ids=str,
)  # fmt: skip
def test_m0_must_be_numeric(m0):
    with pytest.raises(TypeError, match="m0"):
        fastopt.KalmanSGD(3, m0=m0)
    k = fastopt.KalmanSGD(3)
    before = everything(k)
    with pytest.raises(TypeError, match="m0"):
        k.restart(m0)
    assert everything(k) == before


@pytest.mark.parametrize("start", [0, -1, True, np.True_, [], [[1.0]], [np.nan], [True]], ids=str)
def test_bad_initial_coefficients(start):
    with pytest.raises((FastoptError, TypeError)):
        fastopt.KalmanSGD(start)


def test_max_bytes_names_the_bytes():
    with pytest.raises(FastoptError, match="8016000"):
        fastopt.KalmanSGD(1000, max_bytes=1000, block=1)
    fastopt.KalmanSGD(10, max_bytes=20_000)


def test_an_indefinite_covariance_raises():
    k = fastopt.KalmanSGD(2, m0=100.0)
    state = k.state_dict()
    state["covariance"] = np.array([[1.0, 2.0], [2.0, 1.0]])
    k.load_state_dict(state)
    before = everything(k)
    with pytest.raises(FastoptError, match="positive definite"):
        k.partial_fit([[1.0, -1.0]], [0.0])
    assert everything(k) == before


@pytest.mark.parametrize(("n_eps", "raises"), [(2, False), (12, True)])
@pytest.mark.parametrize("forgetting", [1.0, 0.5])
def test_tolerance_for_negative_quadratic_forms(n_eps, raises, forgetting):
    """x'Mx < -4 eps x'x trace(M) raises, also if division by `forgetting` is still pending."""
    off = 1 + n_eps * np.finfo(float).eps
    k = fastopt.KalmanSGD(3, m0=100.0, mode="plain", forgetting=forgetting, block=64)
    covariance = np.array([[1.0, off, 0.0], [off, 1.0, 0.0], [0.0, 0.0, 1e-3]])
    k.load_state_dict({**k.state_dict(), "covariance": covariance})
    k.partial_fit([[0.0, 0.0, 1.0]], [1.0])
    before = k.coef.copy()
    if raises:
        with pytest.raises(FastoptError, match="positive definite"):
            k.partial_fit([[1.0, -1.0, 0.0]], [5.0])
    else:
        k.partial_fit([[1.0, -1.0, 0.0]], [5.0])
    assert (k.coef == before).all()


def test_overflowing_coefficients_change_nothing():
    """Only the coefficients overflow: the gain is 1e153."""
    k = fastopt.KalmanSGD(2, m0=100.0, mode="plain")
    covariance = np.array([[1.0, 1e153], [1e153, 1e307]])
    coef = np.array([0.0, 1.797e308])
    k.load_state_dict({**k.state_dict(), "coef": coef, "covariance": covariance})
    before = everything(k)
    with pytest.raises(FastoptError, match="left the range"):
        k.partial_fit([[1.0, 0.0]], [1e154])
    assert everything(k) == before


def test_a_failure_keeps_the_blocks_before_it():
    X, y = np.ones((12, 2)) * 0.1, np.ones(12)
    X[6] = 1e200
    k = fastopt.KalmanSGD(2, m0=100.0, block=4)
    with pytest.raises(FastoptError, match="4 rows have been absorbed"):
        k.partial_fit(X, y)
    other = fastopt.KalmanSGD(2, m0=100.0, block=4).partial_fit(X[:4], y[:4])
    assert everything(k) == everything(other)


def test_the_inverse_link_needs_positive_predictors():
    k = fastopt.KalmanSGD(2, glm_update="explicit")
    with pytest.raises(FastoptError, match="0 rows have been absorbed"):
        k.partial_fit([[1.0, 2.0]], [1.0], "gamma", "inverse")


# Layouts and copies


def test_any_layout_gives_the_same_bits():
    X, y, w = data(("gaussian", "identity"))
    expected = everything(fastopt.KalmanSGD(w).partial_fit(X, y))
    wide = np.zeros((300, 9))
    wide[:, 2:8] = X
    for rows in (np.asfortranarray(X), wide[:, 2:8], X[::-1].copy()[::-1], X.tolist(),
                 X.astype(">f8")):  # fmt: skip
        assert everything(fastopt.KalmanSGD(w).partial_fit(rows, y)) == expected
    assert everything(fastopt.KalmanSGD(w).partial_fit(X, np.repeat(y, 2)[::2])) == expected


def test_empty_input():
    k = fastopt.KalmanSGD(3).partial_fit(np.empty((0, 3)), np.empty(0))
    assert (k.n_obs, k.n_passes) == (0, 0)
    assert np.isnan(k.partial_fit(np.ones((2, 3)), np.ones(2)).dispersion)


@pytest.mark.parametrize("m0", [None, [1.0, 2.0, 3.0, 4.0, 5.0, 6.0], "scale"])
def test_copies_continue_with_equal_bits(m0, tmp_path):
    X, y, w = data(("gaussian", "identity"), n=600)
    k = fastopt.KalmanSGD(w, m0=m0, forgetting=0.99, max_trace=1e3).partial_fit(X[:300], y[:300])
    k.save(tmp_path / "k.npz")
    loaded = fastopt.KalmanSGD(6, m0=m0, forgetting=0.99, max_trace=1e3)
    loaded.load_state_dict(k.state_dict())
    others = [loaded, k.copy(), copy.deepcopy(k), copy.copy(k), pickle.loads(pickle.dumps(k)),
              fastopt.KalmanSGD.load(tmp_path / "k.npz")]  # fmt: skip
    k.partial_fit(X[300:], y[300:])
    for other in others:
        other.partial_fit(X[300:], y[300:])
        assert everything(other) == everything(k)
        assert repr(other) == repr(k)


def test_states_may_have_an_older_name_of_the_family():
    X, y, _ = data(("binomial", "logit"))
    k = fastopt.KalmanSGD(6, m0=1.0).partial_fit(X, y, "binomial")
    loaded = fastopt.KalmanSGD(6, m0=1.0)
    loaded.load_state_dict({**k.state_dict(), "family": "bernoulli"})
    assert everything(loaded) == everything(k)


def test_damaged_states_change_nothing():
    k = fastopt.KalmanSGD(3)
    before = everything(k)
    for name, value in [("coef", np.zeros(4)), ("covariance", np.zeros((2, 2))), ("n_obs", -1),
                        ("coef", [np.nan] * 3), ("innovations", -1.0),
                        ("covariance", np.triu(np.ones((3, 3))))]:  # fmt: skip
        with pytest.raises(FastoptError):
            k.load_state_dict({**k.state_dict(), name: value})
    with pytest.raises(FastoptError):
        k.load_state_dict({"coef": np.zeros(3)})
    assert everything(k) == before


def test_restart_keeps_the_coefficients():
    X, y, w = data(("gaussian", "identity"))
    k = fastopt.KalmanSGD(w).partial_fit(X, y)
    reached = k.coef
    k.restart(m0=2.0)
    assert bits(k.coef) == bits(reached)
    assert (k.n_obs, k.n_passes, k.trace) == (0, 0, 12.0)


def test_stderr_corrects_for_the_number_of_passes():
    X, y, w = data(("poisson", "log"), n=2000)
    k = fastopt.KalmanSGD(w).partial_fit(X, y, "poisson")
    once = k.stderr
    for _ in range(3):
        k.partial_fit(X, y, "poisson", new_pass=True)
    assert k.n_passes == 4
    assert k.stderr == pytest.approx(once, rel=0.05)


def test_known_and_estimated_dispersions():
    X, y, w = data(("poisson", "log"), n=2000)
    assert fastopt.KalmanSGD(w).partial_fit(X, y, "poisson").dispersion == 1.0
    estimated = fastopt.KalmanSGD(w, dispersion="estimate").partial_fit(X, y, "poisson")
    assert estimated.dispersion == pytest.approx(1.0, abs=0.1)
    X, y, w = data(("gamma", "log"), n=4000)
    k = fastopt.KalmanSGD(6).partial_fit(X, y, "gamma")
    assert k.dispersion == pytest.approx(0.5, abs=0.06)


def test_every_family_is_in_both_tables():
    assert sorted(FAMILIES) == sorted((f.name, link) for f in FAMILY.values() for link in f.links)


@pytest.mark.parametrize("p", [300, 1000])
def test_the_memory_is_one_square_and_a_few_blocks(p):
    """The covariance is the only p x p array, and X is not copied."""
    rows = block_rows(p)
    X, y = np.ones((10 * rows + 3, p)), np.ones(10 * rows + 3)
    tracemalloc.start()
    try:
        fastopt.KalmanSGD(p, m0=100.0).partial_fit(X, y)
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    square = 8 * p * p
    assert square <= most <= square + 8 * (4 * rows * p + rows * rows) + 20_000


def test_variances_and_trace_before_forgetting_is_written_into_the_covariance():
    x, keep = np.array([2.0, 3.0]), 0.9
    k = fastopt.KalmanSGD(1, m0=5.0, forgetting=keep, block=32).partial_fit(x[:, None], [1.0, 4.0])
    precision = (keep / 5.0 + x[0] ** 2) * keep + x[1] ** 2
    np.testing.assert_allclose(k.trace, 1 / precision, rtol=1e-14)
    np.testing.assert_allclose(k.stderr**2, k.dispersion / precision, rtol=1e-14)
