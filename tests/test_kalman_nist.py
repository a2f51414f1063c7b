"""Square-root information against NIST's certified values, and its edges."""

import numpy as np
import pytest
from nist_linear import digits, read
from support import bits

import fastopt
from fastopt._errors import FastoptError

# Correct digits of the worst coefficient and of the worst standard error.
DIGITS = {
    "Norris": (11.5, 11.5), "Pontius": (11, 11), "NoInt1": (14, 14), "NoInt2": (14, 14),
    "Longley": (11, 11.5), "Wampler1": (9, None), "Wampler2": (13, None), "Wampler3": (9, 9),
    "Wampler4": (8.5, 9), "Wampler5": (6.5, 9), "Filip": (7, 7),
}  # fmt: skip


@pytest.mark.parametrize("name", DIGITS)
def test_certified_values(name):
    X, y, coefficients, errors = read(name)
    k = fastopt.KalmanSGD(X.shape[1], mode="qr").partial_fit(X, y)
    least, least_error = DIGITS[name]
    assert digits(k.coef, coefficients) >= least
    if least_error is not None:
        assert digits(k.stderr, errors) >= least_error


def rows(n=600, p=5):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n, p))
    return X, X @ np.arange(1.0, p + 1) + rng.normal(size=n), rng.uniform(0.5, 2, n)


def test_any_split_of_the_rows_and_weights():
    X, y, weight = rows()
    k = fastopt.KalmanSGD(5, m0=np.inf).partial_fit(X, y, weight=weight)
    parts = fastopt.KalmanSGD(5, mode="qr")
    for i in range(0, 600, 7):
        part = slice(i, i + 7)
        parts.partial_fit(X[part], y[part], weight=weight[part])
    information = X.T @ (weight[:, None] * X)
    exact = np.linalg.solve(information, X.T @ (weight * y))
    for each in (k, parts):
        assert each.coef == pytest.approx(exact, rel=1e-12)
        assert each.covariance(False) == pytest.approx(np.linalg.inv(information), rel=1e-11)
        residual = np.sum(weight * (y - X @ exact) ** 2)
        assert each.dispersion == pytest.approx(residual / 595, rel=1e-12)
        assert each.trace == pytest.approx(np.trace(np.linalg.inv(information)), rel=1e-11)


def test_too_few_rows_leave_coefficients_open():
    X, y, _ = rows()
    k = fastopt.KalmanSGD(5, mode="qr").partial_fit(X[:4], y[:4])
    for read_off in (lambda: k.coef, lambda: k.stderr, lambda: k.trace, k.covariance):
        with pytest.raises(FastoptError, match="4 rows absorbed do not determine"):
            read_off()
    k.partial_fit(X[4:5], y[4:5])
    assert X[:5] @ k.coef == pytest.approx(y[:5])
    X[:, 2] = 2 * X[:, 1]
    with pytest.raises(FastoptError, match="coefficient 2"):
        _ = fastopt.KalmanSGD(5, mode="qr").partial_fit(X, y).coef


def test_what_the_mode_has_not():
    X, y, _ = rows()
    k = fastopt.KalmanSGD(5, mode="qr").partial_fit(X, y)
    before = bits(k.state_dict())
    with pytest.raises(FastoptError, match="gaussian"):
        k.partial_fit(X, np.abs(y), "poisson")
    with pytest.raises(FastoptError, match="finite m0"):
        k.update(1.0, 0.0, X[0])
    X[3, 3] = np.nan
    with pytest.raises(FastoptError, match=r"X\[3\]"):
        k.partial_fit(X, y)
    assert bits(k.state_dict()) == before
    for options in ({"mode": "qr", "m0": 1.0}, {"mode": "plain", "m0": np.inf},
                    {"mode": "qr", "forgetting": 0.9}, {"mode": "qr", "m0": "scale"},
                    {"mode": "qr", "m0": [np.inf] * 5}):  # fmt: skip
        with pytest.raises(FastoptError):
            fastopt.KalmanSGD(5, **options)


def test_copies_and_restart(tmp_path):
    X, y, _ = rows()
    k = fastopt.KalmanSGD(5, mode="qr").partial_fit(X[:3], y[:3])
    k.save(tmp_path / "k.npz")
    loaded = fastopt.KalmanSGD.load(tmp_path / "k.npz")
    for each in (loaded, k.copy(), k):
        each.partial_fit(X[3:], y[3:])
        assert bits(each.coef) == bits(loaded.coef)
        assert each.mode == "qr"
    k.restart()
    assert k.n_obs == 0
    with pytest.raises(FastoptError):
        _ = k.coef


@pytest.mark.parametrize("order", [(0, 1, 2, 3, 4), (3, 1, 4, 0, 2)])
def test_merged_shards_are_one_pass(order):
    X, y, weight = rows()
    whole = fastopt.KalmanSGD(5, mode="qr").partial_fit(X, y, weight=weight)
    shards = [
        fastopt.KalmanSGD(5, mode="qr").partial_fit(X[i::5], y[i::5], weight=weight[i::5])
        for i in order
    ]
    merged = shards[0]
    for shard in shards[1:]:
        merged.merge(shard)
    assert merged.n_obs == 600
    assert merged.coef == pytest.approx(whole.coef, rel=1e-12)
    assert merged.covariance() == pytest.approx(whole.covariance(), rel=1e-11, abs=1e-16)


def test_a_covariance_lost_to_rounding_gives_no_standard_errors():
    X, y, _, _ = read("Longley")
    k = fastopt.KalmanSGD(X.shape[1], mode="plain", m0=1e6).partial_fit(X, y)
    with pytest.raises(FastoptError, match="mode='ud'"):
        _ = k.stderr
