"""Mode "ud", and float32 in both modes, against plain float64; extreme m0, threads, bad input."""

import copy
import os
import pickle

import numpy as np
import pytest
from kalman_cases import FILTERED, LOOPED, alpha_of, close, data, everything, moderate
from kalman_reference import MODEL, explicit
from nist_linear import digits, read
from support import bits, printed

import fastopt
from fastopt._errors import FastoptError


def ud(*args, **options):
    return fastopt.KalmanSGD(*args, mode="ud", **options)


def rotated(p, n, condition, seed=0):
    """Return float32 rows whose scales fall from 1 to 1/condition along random directions."""
    rng = np.random.default_rng(seed)
    basis = np.linalg.qr(rng.normal(size=(p, p)))[0]
    X = (rng.normal(size=(n, p)) * np.logspace(0, -np.log10(condition), p)) @ basis
    return X.astype(np.float32), rng.normal(size=n)


def whitened(k, X, m0):
    """Return the eigenvalues of M relative to the exact posterior, which are 1 if M is exact."""
    X = X.astype(np.float64)
    root = np.linalg.cholesky(X.T @ X + np.eye(X.shape[1]) / m0)
    return np.linalg.eigvalsh(root.T @ k.covariance(False) @ root)


@pytest.mark.parametrize("block", [1, 7, 128])
@pytest.mark.parametrize("update", ["implicit", "explicit"])
@pytest.mark.parametrize("keep", [1.0, 0.97])
@pytest.mark.parametrize("family", FILTERED, ids="-".join)
def test_ud_equals_plain_up_to_rounding(family, keep, update, block):
    X, y, w = data(family)
    weight = np.random.default_rng(1).uniform(0.0, 3.0, size=len(y))
    weight[::11] = 0.0
    m0 = moderate(family) * (1 + np.arange(6.0))
    options = dict(m0=m0, glm_update=update, forgetting=keep)
    if update == "explicit":
        options["gamma"] = (0.1, 1.5)
    forms = [fastopt.KalmanSGD(w, mode=mode, block=block, **options) for mode in ("ud", "plain")]
    for k in forms:
        k.partial_fit(X, y, *family, weight=weight, **alpha_of(family))
    found, expected = forms
    close(found.coef, expected.coef, 1e-10)
    close(found.covariance(False), expected.covariance(False), 1e-10)
    assert found.stderr == pytest.approx(expected.stderr, rel=1e-9)
    assert found.trace == pytest.approx(expected.trace, rel=1e-10)
    assert (found.n_obs, found.n_clipped) == (expected.n_obs, expected.n_clipped)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("p", [1, 63, 64, 65, 150])
def test_trace_and_standard_errors_match_the_covariance(p, dtype):
    rng = np.random.default_rng(p)
    k = ud(p, dtype=dtype).partial_fit(rng.normal(size=(200, p)), rng.normal(size=200))
    covariance = k.covariance(False)
    assert k.trace == pytest.approx(np.trace(covariance), rel=1e-12)
    assert k.stderr**2 == pytest.approx(k.dispersion * np.diagonal(covariance), rel=1e-12)


@pytest.mark.parametrize("family", [f for f in LOOPED if f[0] in ("gaussian", "poisson")])
def test_rows_match_the_paper(family):
    X, y, w = data(family, p=70)  # columns longer than SPAN in ud.c
    M = 0.1 * np.eye(70) + 0.05
    k = ud(w, m0=M, glm_update="explicit").partial_fit(X, y, *family)
    w, M = explicit(w, M, X, y, *MODEL[family])
    close(k.coef, w, 1e-11)
    close(k.covariance(False), M, 1e-11)


@pytest.mark.parametrize(("name", "least"), [("Longley", 10), ("Pontius", 12), ("Wampler5", 5.5)])
@pytest.mark.parametrize("block", ["auto", 1])
def test_certified_values_with_an_extreme_m0(name, least, block):
    X, y, coefficients, errors = read(name)
    k = ud(X.shape[1], m0=1e20, block=block).partial_fit(X, y)
    assert digits(k.coef, coefficients) >= least
    assert digits(k.stderr, errors) >= 10


@pytest.mark.parametrize("p", [1, 2, 63, 64, 65, 300])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_equal_bits_for_any_number_of_threads(p, dtype):
    X, y, w = data(("poisson", "log"), n=200, p=p)
    seen = [
        everything(
            ud(w, m0=1.0, dtype=dtype, n_threads=n, forgetting=0.99).partial_fit(X, y, "poisson")
        )
        for n in (1, 2, 3)
    ]
    assert seen[0] == seen[1] == seen[2]


FORKED = """
import os, numpy, fastopt
def fit():
    rng = numpy.random.default_rng(0)
    k = fastopt.KalmanSGD(300, mode="ud", n_threads=2)
    return k.partial_fit(rng.normal(size=(100, 300)), rng.normal(size=100)).coef.tobytes()
fastopt.SGD(numpy.ones(200_000), n_threads=2).step(numpy.ones(200_000))
reading, writing = os.pipe()
if not os.fork():
    os.write(writing, fit())
    os._exit(0)
print(os.read(reading, 8 * 300) == fit())
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_fork_after_another_extension_used_threads():
    assert printed(FORKED) == "True"


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("outputs", [1, 3, 40])
@pytest.mark.parametrize("keep", [1.0, 0.95])
def test_updates_match_the_formula(outputs, keep, dtype):
    rng = np.random.default_rng(0)
    k = ud(6, m0=2.0, forgetting=keep, block=8, dtype=dtype)
    w, M = np.zeros(6), 2.0 * np.eye(6)
    for _ in range(50):
        J, r = rng.normal(size=(outputs, 6)), rng.normal(size=outputs)
        R = rng.normal(size=(outputs, outputs))
        R = R @ R.T + np.eye(outputs)
        mean = J @ k.coef
        k.update(mean + r, mean, J, R)
        M = M / keep
        gain = M @ J.T @ np.linalg.inv(R + J @ M @ J.T)
        w, M = w + gain @ r, M - gain @ J @ M
    tolerance = 1e-9 if dtype == "float64" else 1e-4
    close(k.coef, w, tolerance)
    close(k.covariance(False), M, tolerance)
    assert k.n_obs == 50 * outputs
    before = everything(k)
    for bad in (np.nan, 1e200):
        with pytest.raises(FastoptError):
            k.update([0.0, 1.0], [0.0, 0.0], [[1.0] * 6, [bad] * 6])
    assert everything(k) == before


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("block", [1, 32])
def test_max_trace_is_exact_in_blocks(block, dtype):
    X, y, w = data(("gaussian", "identity"), n=2000)
    X[500:, 3:] = 0.0
    k = ud(w, forgetting=0.98, max_trace=50.0, m0=1.0, block=block, dtype=dtype)
    k.partial_fit(X, y)
    model = MODEL["gaussian", "identity"]
    u, M = explicit(w, np.eye(6), X, y, *model, keep=0.98, max_trace=50.0)
    close(k.coef, u, 1e-10 if dtype == "float64" else 1e-5)
    close(k.covariance(False), M, 1e-10 if dtype == "float64" else 1e-5)


@pytest.mark.parametrize("condition", [1.0, 1e2, 1e4])
def test_float32_covariance_is_accurate(condition):
    X, y = rotated(20, 100_000, condition)
    k = fastopt.KalmanSGD(20, m0=1e6, dtype="float32").partial_fit(X, y)
    assert k.mode == "ud"
    assert np.abs(whitened(k, X, 1e6) - 1).max() < 0.02


@pytest.mark.parametrize("condition", [1e4, 1e8])
@pytest.mark.parametrize("block", ["auto", 1])
def test_plain_float32_raises_when_the_covariance_is_indefinite(condition, block):
    X, y = rotated(20, 100_000, condition)
    k = fastopt.KalmanSGD(20, m0=1e6, mode="plain", dtype="float32", block=block)
    with pytest.raises(FastoptError, match="mode='ud'"):
        k.partial_fit(X, y)


@pytest.mark.parametrize("block", [1, 7, 128])
@pytest.mark.parametrize("keep", [1.0, 0.97])
@pytest.mark.parametrize("family", FILTERED, ids="-".join)
def test_plain_float32_equals_plain_float64_up_to_rounding(family, keep, block):
    X, y, w = data(family)
    X = X.astype(np.float32)
    options = dict(m0=moderate(family), forgetting=keep, block=block, mode="plain")
    single, double = (
        fastopt.KalmanSGD(w, dtype=dtype, **options).partial_fit(X, y, *family, **alpha_of(family))
        for dtype in ("float32", "float64")
    )
    close(single.coef, double.coef, 1e-3)
    close(single.covariance(False), double.covariance(False), 1e-3)
    assert single.trace == pytest.approx(double.trace, rel=1e-4)
    assert single.stderr == pytest.approx(double.stderr, rel=1e-3)
    J, target = X[:3].astype(np.float64), y[:3]
    for k in (single, double):
        k.update(target, J @ k.coef, J, 0.5)
    close(single.coef, double.coef, 1e-3)


def test_plain_float32_copies_layouts_and_overflow(tmp_path):
    X, y, w = data(("gaussian", "identity"))
    k = fastopt.KalmanSGD(w, mode="plain", dtype="float32").partial_fit(X, y)
    k.save(tmp_path / "k.npz")
    loaded = fastopt.KalmanSGD.load(tmp_path / "k.npz")
    narrow = X.astype(np.float32)
    wide = np.zeros((300, 9), np.float32)
    wide[:, 2:8] = narrow
    k.partial_fit(narrow, y)
    for other, rows in ((loaded.copy(), X), (loaded, wide[:, 2:8])):
        assert everything(other.partial_fit(rows, y)) == everything(k)
    before = everything(k)
    X[7, 2] = 1e39  # beyond float32
    with pytest.raises(FastoptError, match=r"X\[7\]"):
        k.partial_fit(X, y)
    with pytest.raises(FastoptError, match="too small"):
        k.update(y[7], 0.0, X[7])
    assert everything(k) == before
    with pytest.raises(FastoptError, match="float32"):
        fastopt.KalmanSGD(3, m0=1e39, mode="plain", dtype="float32")
    with pytest.raises(FastoptError, match="4008000"):
        fastopt.KalmanSGD(1000, mode="plain", dtype="float32", max_bytes=1, block=1)


@pytest.mark.parametrize("mode", ["plain", "ud"])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_forgetting_with_columns_that_become_zero(mode, dtype):
    X = np.random.default_rng(0).normal(size=(200_000, 8))
    X[2000:, 4:] = 0.0
    y = X @ np.ones(8)
    k = fastopt.KalmanSGD(8, mode=mode, dtype=dtype, forgetting=0.99, max_trace=1e4)
    k.partial_fit(X, y)
    close(k.coef, np.ones(8), 1e-5)
    variances = np.linalg.eigvalsh(k.covariance(False))
    assert variances[0] > 1e-6
    assert 1e4 <= k.trace < 1.02e4


def test_float32_rows_equal_float64_rows():
    X, y, w = data(("gaussian", "identity"))
    X = X.astype(np.float32)
    narrow = ud(w).partial_fit(X, y)
    assert everything(narrow) == everything(ud(w).partial_fit(X.astype(np.float64), y))


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_a_row_without_information_changes_no_bit(dtype):
    for family in FILTERED:
        X, y, w = data(family)
        k = ud(w, m0=1.0, dtype=dtype).partial_fit(X, y, *family)
        before = bits(k._state.form.arrays())
        if family[1] != "inverse":
            k.partial_fit(np.zeros((3, 6)), y[:3], *family)
        k.partial_fit(X[:3], y[:3], *family, weight=np.zeros(3))
        assert bits(k._state.form.arrays()) == before


def test_failures_change_nothing():
    X, y, w = data(("gaussian", "identity"))
    k = ud(w, dtype="float32").partial_fit(X, y)
    before = everything(k)
    for bad in (np.nan, 1e200):
        X[7, 2] = bad
        with pytest.raises(FastoptError):
            k.partial_fit(X[:20], y[:20])
        assert everything(k) == before
    k = ud(2, m0=100.0, block=4)
    X, y = np.ones((12, 2)) * 0.1, np.ones(12)
    X[6] = 1e200
    with pytest.raises(FastoptError, match="absorbed"):
        k.partial_fit(X, y)
    assert k.n_obs <= 6
    assert everything(k) == everything(
        ud(2, m0=100.0, block=4).partial_fit(X[: k.n_obs], y[: k.n_obs])
    )
    k = ud(2, forgetting=0.5)
    with pytest.raises(FastoptError, match="left the range"):
        k.partial_fit(np.zeros((2000, 2)), np.zeros(2000))
    assert np.isfinite(k.trace)


def test_an_overflow_of_u_in_float32_changes_nothing():
    k = ud(2, m0=1e20, dtype="float32")
    before = everything(k)
    with pytest.raises(FastoptError, match="left the range"):
        k.partial_fit([[1e-10, 1e30]], [0.0], weight=[1e3])
    assert everything(k) == before


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("m0", [None, np.eye(6) + 0.5, "scale"], ids=["number", "matrix", "scale"])
def test_copies_continue_with_equal_bits(m0, dtype, tmp_path):
    X, y, w = data(("gaussian", "identity"), n=600)
    options = dict(m0=m0, dtype=dtype, n_threads=2, forgetting=0.99, max_trace=1e3)
    k = ud(w, **options).partial_fit(X[:300], y[:300])
    k.save(tmp_path / "k.npz")
    loaded = ud(6, **options)
    loaded.load_state_dict(k.state_dict())
    others = [loaded, k.copy(), copy.deepcopy(k), pickle.loads(pickle.dumps(k)),
              fastopt.KalmanSGD.load(tmp_path / "k.npz")]  # fmt: skip
    k.partial_fit(X[300:], y[300:])
    for other in others:
        other.partial_fit(X[300:], y[300:])
        assert everything(other) == everything(k)
        assert repr(other) == repr(k)
    before = everything(k)
    wrong = [("diagonal", np.zeros(6)), ("diagonal", -np.ones(6)), ("unit_upper", np.zeros(14)),
             ("unit_upper", np.full(15, np.inf))]  # fmt: skip
    for name, value in wrong:
        with pytest.raises(FastoptError):
            k.load_state_dict({**k.state_dict(), name: value})
    assert everything(k) == before


@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-9), ("float32", 1e-6)])
@pytest.mark.parametrize("mode", ["ud", "plain"])
def test_fit_model_equals_plain_float64(mode, dtype, tolerance):
    X, y, w = data(("poisson", "log"))

    def model(w, X):
        mean = np.exp(X @ w)
        return mean, mean[:, None] * X

    m0 = np.eye(6) + 0.5
    k, plain = fastopt.KalmanSGD(w, m0=m0, mode=mode, dtype=dtype), fastopt.KalmanSGD(w, m0=m0)
    for each in (k, plain):
        assert each.fit_model(model, X, y).success
    close(k.coef, plain.coef, tolerance)
    close(k.covariance(), plain.covariance(), tolerance)
    for each in (k, plain):
        each.partial_fit(X, y)
    close(k.coef, plain.coef, 100 * tolerance)


def test_merged_shards_equal_one_pass():
    X, y, w = data(("gaussian", "identity"))
    whole = ud(w).partial_fit(X, y)
    shards = [ud(w).partial_fit(X[i::3], y[i::3]) for i in range(3)]
    merged = shards[2].merge(shards[0]).merge(shards[1])
    close(merged.coef, whole.coef, 1e-11)
    close(merged.covariance(), whole.covariance(), 1e-11)


def test_u_is_stored_as_a_packed_triangle():
    for dtype, itemsize in (("float64", 8), ("float32", 4)):
        arrays = ud(200, dtype=dtype)._state.form.arrays()
        assert sum(a.size for a in arrays.values()) == 200 * 199 // 2 + 2 * 200
        assert arrays["unit_upper"].nbytes == itemsize * 200 * 199 // 2
    triangle, work = 8 * 1000 * 999 // 2, 8 * 1000 * (4 + 3)
    with pytest.raises(FastoptError, match=str(triangle + work)):
        ud(1000, max_bytes=1000, block=1)
    ud(1000, max_bytes=triangle + work, block=1)


@pytest.mark.parametrize(
    "options",
    [{"mode": "ud", "m0": np.inf}, {"dtype": "float16"}, {"dtype": "float32", "m0": np.inf},
     {"dtype": "float32", "mode": "qr"}, {"n_threads": 0}, {"n_threads": -1},
     {"mode": "ud", "covariance": "diag"}, {"dtype": "float32", "covariance": [[0, 1, 2]]}],
    ids=str,
)  # fmt: skip
def test_bad_options(options):
    with pytest.raises(FastoptError):
        fastopt.KalmanSGD(3, **options)
