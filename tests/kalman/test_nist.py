"""Mode "qr": NIST's certified values, refinement, extreme numbers and bad input."""

from fractions import Fraction

import numpy as np
import pytest
from nist_linear import digits, read
from support import bits

import fastopt
from fastopt._errors import FastoptError

# The least number of correct digits of the coefficients and of the standard errors.
DIGITS = {
    "Norris": (13.5, 11.5), "Pontius": (13, 11), "NoInt1": (14, 14), "NoInt2": (14, 14),
    "Longley": (14, 11.5), "Wampler1": (13, None), "Wampler2": (13, None), "Wampler3": (12, 9),
    "Wampler4": (10.5, 9), "Wampler5": (8.5, 9), "Filip": (7, 7),
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


def test_rows_may_be_split_between_calls():
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


def polynomial(n=600, p=9):
    """Return rows of condition number 4e10 with a large residual, and weights from 1e-6 to 1e6."""
    rng = np.random.default_rng(1)
    X = np.linspace(0, 20, n)[:, None] ** np.arange(p)
    y = X @ (1 / X.max(axis=0)) + 1e3 * rng.normal(size=n)
    return X, y, 10.0 ** rng.uniform(-6, 6, n)


def exact_least_squares(X, y, weight):
    """Return the coefficients, by Gauss-Jordan elimination with fractions."""
    fractions = np.vectorize(Fraction, otypes=[object])
    rows, by = fractions(np.column_stack([X, y])), fractions(weight)
    system = rows[:, :-1].T @ (by[:, None] * rows)
    for i in range(len(system)):
        system[i] /= system[i, i]
        for j in range(len(system)):
            if j != i:
                system[j] -= system[j, i] * system[i]
    return system[:, -1].astype(float)


def test_refinement_removes_the_error_of_the_squared_condition_number():
    X, y, weight = polynomial()
    for by in (None, weight, np.where(np.arange(600) % 5, weight, 0.0)):
        exact = exact_least_squares(X, y, np.ones(600) if by is None else by)
        k = fastopt.KalmanSGD(9, mode="qr").partial_fit(X, y, weight=by)
        assert digits(k.coef, exact) >= 13  # without refinement 10.7 and 9.4
        parts = fastopt.KalmanSGD(9, mode="qr")
        for i in range(0, 600, 7):
            one = slice(i, i + 7)
            parts.partial_fit(X[one], y[one], weight=None if by is None else by[one])
        assert digits(parts.coef, exact) >= 8


def test_refinement_of_many_rows():
    X, y, _ = polynomial(9000, 6)  # more than one block of any kind
    exact = exact_least_squares(X, y, np.ones(9000))
    for stop in (None, ("se", 1e-3)):
        for rows in (X, np.asfortranarray(X)):
            k = fastopt.KalmanSGD(6, mode="qr", stop=stop).partial_fit(rows, y)
            assert digits(k.coef, exact) >= 14.5  # without refinement 13.7


def test_rows_after_a_refined_call():
    X, y, weight = polynomial()
    exact = exact_least_squares(X, y, weight)
    one, other = (
        fastopt.KalmanSGD(9, mode="qr").partial_fit(X[i::2], y[i::2], weight=weight[i::2])
        for i in (0, 1)
    )
    before = bits(one.coef)
    one.partial_fit(X[:0], y[:0])
    assert bits(one.coef) == before
    both = one.copy().partial_fit(X[1::2], y[1::2], weight=weight[1::2])
    assert digits(both.coef, exact) >= 8
    one.merge(other)
    assert digits(one.coef, exact) >= 8
    one.restart()
    one.partial_fit(X, y, weight=weight)
    assert digits(one.coef, exact) >= 13


def test_very_small_and_very_large_numbers():
    X, y, _ = rows()
    exact = np.linalg.lstsq(X, y)[0]
    with np.errstate(over="ignore"):  # of the dispersion
        for size, scale in ((1e-150, 1e-155), (1e140, 1e-150), (1.0, 1e300)):
            k = fastopt.KalmanSGD(5, mode="qr").partial_fit(X * size, y * scale)
            assert k.coef * size / scale == pytest.approx(exact, rel=1e-12)
        before = bits(k.state_dict())
        with pytest.raises(FastoptError, match="left the range"):
            k.partial_fit(X, y * 5e306)
        assert bits(k.state_dict()) == before


def test_too_few_rows_do_not_determine_coefficients():
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


def test_what_mode_qr_does_not_allow():
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
    whole = fastopt.KalmanSGD(5, mode="qr").partial_fit(X, y)
    assert bits(whole.coef) == bits(whole.copy().coef)
    for each in (loaded, k.copy(), k):
        each.partial_fit(X[3:], y[3:])
        assert bits(each.coef) == bits(loaded.coef)
        assert each.mode == "qr"
    k.restart()
    assert k.n_obs == 0
    with pytest.raises(FastoptError):
        _ = k.coef


@pytest.mark.parametrize("order", [(0, 1, 2, 3, 4), (3, 1, 4, 0, 2)])
def test_merged_shards_equal_one_pass(order):
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


def test_negative_variances_give_no_standard_errors():
    X, y, _, _ = read("Longley")
    k = fastopt.KalmanSGD(X.shape[1], mode="plain", m0=1e7).partial_fit(X, y)
    with pytest.raises(FastoptError, match="mode='ud'"):
        _ = k.stderr
