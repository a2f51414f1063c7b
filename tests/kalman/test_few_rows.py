"""Calls of few rows, which skip conversions: the same bits, errors and warnings."""

import warnings

import numpy as np
import pytest
from kalman_cases import LOOPED, alpha_of, data, everything, moderate

import fastopt
import fastopt.kalman.filter
from fastopt._errors import FastoptError

FORMS = {
    "plain": {"mode": "plain"},
    "plain-float32": {"mode": "plain", "dtype": "float32"},
    "ud": {"mode": "ud"},
    "ud-float32": {"mode": "ud", "dtype": "float32"},
    "diag": {"covariance": "diag"},
    "blocks": {"covariance": [[0, 1, 4], [2, 3, 5]]},
    "forgetting": {"forgetting": 0.97, "max_trace": 1e3},
    "explicit": {"glm_update": "explicit"},
}


def started(family, **options):
    """Return a filter that has absorbed 64 rows, and the rows that follow."""
    X, y, w = data(family)
    k = fastopt.KalmanSGD(w, m0=moderate(family), **options)
    k.partial_fit(X[:64], y[:64], *family, **alpha_of(family))
    return k, X[64:], y[64:]


@pytest.fixture
def no_conversion(monkeypatch):
    def refuse(*_):
        raise AssertionError("the rows were converted")

    monkeypatch.setattr(fastopt.kalman.filter, "checked_rows", refuse)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("family", LOOPED)
def test_few_rows_have_the_bits_of_lists(family, form, request):
    k, X, y = started(family, **FORMS[form])
    other = k.copy()
    for i in (0, 1, 33, 45):
        other.partial_fit(X[i : i + 32].tolist(), y[i : i + 32].tolist())
    request.getfixturevalue("no_conversion")
    rows = X.astype(k._state.form.reads)
    for i in (0, 1, 33, 45):
        k.partial_fit(rows[i : i + 32], y[i : i + 32])
    assert everything(k) == everything(other)


def test_repeated_arguments_need_no_conversion(request):
    family = ("negative_binomial", "log")
    k, X, y = started(family)
    request.getfixturevalue("no_conversion")
    for arguments in ((), (family[0],), (None, family[1]), family):
        k.partial_fit(X[:5], y[:5], *arguments, **alpha_of(family))
    assert k.n_obs == 84


@pytest.mark.parametrize(
    "change",
    [
        {"alpha": 2.0},
        {"family": "poisson"},
        {"weight": np.full(20, 2.0)},
        {"offset": np.full(20, 0.5)},
        {"exposure": np.full(20, 2.0)},
        {"new_pass": True},
    ],
    ids=str,
)
def test_other_arguments_have_an_effect(change):
    k, X, y = started(("negative_binomial", "log"))
    other = k.copy()
    k.partial_fit(X[:20], y[:20], **change)
    assert everything(k) != everything(other.partial_fit(X[:20], y[:20]))


@pytest.mark.parametrize(
    ("X", "y", "error"),
    [
        (np.full((1, 6), np.nan), [1.0], r"X\[0\] has a NaN"),
        (np.full((1, 6), np.inf), [1.0], r"X\[0\] has a NaN"),
        (np.ones((2, 6)), [1.0, -1.0], r"y\[1\] is -1.0"),
        (np.ones((2, 6)), [1.0, np.nan], r"y\[1\] is nan"),
        (np.ones((2, 6)), [1.0, np.inf], r"y\[1\] is inf"),
        (np.ones((2, 6)), [1.0], r"y has shape \(1,\)"),
        (np.ones((2, 5)), [1.0, 2.0], r"X has shape \(2, 5\)"),
        (np.full((1, 6), 1e200), [1.0], "64 rows have been absorbed"),
    ],
)
def test_bad_rows_change_nothing(X, y, error):
    k, _, _ = started(("poisson", "log"))
    before = everything(k)
    with pytest.raises(FastoptError, match=error):
        k.partial_fit(X, np.array(y))
    assert everything(k) == before


def test_gamma_excludes_0():
    k, X, _ = started(("gamma", "log"))
    with pytest.raises(FastoptError, match="gamma family allows"):
        k.partial_fit(X[:1], np.zeros(1))


@pytest.mark.parametrize(
    "convert",
    [
        np.asfortranarray,
        lambda X: X[::-1],
        lambda X: X.astype(">f8"),
        lambda X: X.astype(np.float32),
        np.ndarray.tolist,
    ],
)
def test_any_layout_is_accepted(convert):
    k, X, y = started(("poisson", "log"))
    X = X[:20].astype(np.float32).astype(float)
    other = k.copy()
    given = convert(X)
    k.partial_fit(given, y[:20])
    other.partial_fit(np.asarray(given, dtype=float).tolist(), y[:20].tolist())
    assert everything(k) == everything(other)


def test_the_first_rows_of_a_restarted_filter_determine_its_start():
    X, y, _ = data(("gaussian", "identity"))
    k, other = (fastopt.KalmanSGD(6).partial_fit(X[:100], y[:100]) for _ in range(2))
    for each, rows in ((k, X), (other, X.tolist())):
        each.restart()
        each.partial_fit(rows[100:120], y[100:120])
    assert everything(k) == everything(other)


def test_sorted_and_separated_rows_still_warn():
    k, X, y = started(("poisson", "log"))
    order = np.argsort(y[:40], kind="stable")
    for sorted_order in (order, order[::-1]):
        with pytest.warns(UserWarning, match="sorted by y"):
            k.partial_fit(X[sorted_order], y[sorted_order])
    X, _, w = data(("binomial", "logit"))
    labels = (X @ w > 0).astype(float)
    k = fastopt.KalmanSGD(w, m0=1e4).partial_fit(X[:8], labels[:8], "binomial")
    with pytest.warns(UserWarning, match="separation"):
        k.partial_fit(X[8:40], labels[8:40])


def test_single_rows_never_warn():
    k, X, y = started(("binomial", "logit"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for x, target in zip(X, y, strict=True):
            k.partial_fit(x[None], np.array([target]))
    assert k.n_obs == 300
