"""KalmanSGD: failed calls, rows of weight 0 and empty input do not change the state."""

import pickle
import threading

import numpy as np
import pytest
import scipy.sparse
from kalman_cases import everything

from fastopt import FastoptError, KalmanSGD

RNG = np.random.default_rng(5)
X = RNG.normal(size=(300, 3))
Y = X @ [1.0, 2.0, 3.0] + RNG.normal(size=300)


def test_restart_outside_the_range_of_float32_changes_nothing():
    k = KalmanSGD(3, mode="plain", dtype="float32").partial_fit(X, Y)
    before = everything(k)
    with pytest.raises(FastoptError, match="range of float32"):
        k.restart(1e39)
    assert everything(k) == before


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_failed_first_call_does_not_determine_m0_scale(dtype):
    k = KalmanSGD(3, m0="scale", mode="plain", dtype=dtype)
    before = everything(k)
    with pytest.raises(FastoptError, match="range of"):
        k.partial_fit(1e-25 * X, np.full(300, 1e300))
    assert everything(k) == before
    fresh = KalmanSGD(3, m0="scale", mode="plain", dtype=dtype)
    assert everything(k.partial_fit(X, Y)) == everything(fresh.partial_fit(X, Y))


@pytest.mark.parametrize(
    ("options", "changed"),
    [
        ({}, {"n_obs": 2**63}),
        ({"mode": "ud"}, {"n_clipped": 2**63}),
        ({"dtype": "float32"}, {"unit_upper": np.full(3, 1e39)}),
        ({"mode": "plain", "dtype": "float32"}, {"covariance": np.full((3, 3), 1e39)}),
    ],
)
def test_a_state_dict_outside_the_range_changes_nothing(options, changed):
    k = KalmanSGD(3, **options).partial_fit(X, Y)
    before = everything(k)
    with pytest.raises(FastoptError, match=next(iter(changed))):
        k.load_state_dict({**k.state_dict(), **changed})
    assert everything(k) == before


LARGEST = {"float32": float(np.finfo("f4").max), "float64": float(np.finfo("f8").max)}


@pytest.mark.parametrize("at", range(18))
@pytest.mark.parametrize(
    ("dtype", "m0", "coef", "x", "y", "weight"),
    [
        ("float64", 1e308, 1.5e308, 0.7e-154, 2.35e154, 1.0),
        ("float64", LARGEST["float64"], 0.0, 1.7199053588004088e-154, 0.0, 1e200),
        ("float32", LARGEST["float32"], 0.0, 7.466409405071259e-20, 0.0, 1e200),
    ],
    ids=["coefficient", "covariance", "covariance in float32"],
)
def test_an_overflow_of_one_coefficient_changes_nothing(dtype, m0, coef, x, y, weight, at):
    only = np.eye(18)[at]
    prior = np.where(only, m0, 1.0)
    k = KalmanSGD(only * coef, m0=prior, mode="plain", dtype=dtype)
    before = everything(k)
    with pytest.raises(FastoptError, match="left the range"):
        k.partial_fit(only[None] * x, [y], weight=[weight])
    assert everything(k) == before


@pytest.mark.parametrize(("dtype", "m0", "x"), [("float64", 1e300, 1e160), ("float32", 1e36, 1e20)])
def test_a_call_after_an_overflow_equals_one_without(dtype, m0, x):
    first, other = (
        KalmanSGD(17, m0=m0, mode="plain", dtype=dtype).partial_fit(np.full((1, 17), 1e-3), [0.0])
        for _ in range(2)
    )  # whose first row is still to be subtracted from M
    with pytest.raises(FastoptError, match="left the range"):
        first.partial_fit(np.full((1, 17), x), [0.0])
    for k in (first, other):
        k.partial_fit(np.ones((1, 17)), [1.0])
    assert everything(first) == everything(other)


@pytest.mark.parametrize(
    "options",
    [{"mode": "plain"}, {"mode": "plain", "dtype": "float32"}, {"mode": "ud"},
     {"covariance": "diag"}, {"covariance": [[0]]}],
    ids=str,
)  # fmt: skip
def test_forgetting_that_overflows_changes_nothing(options):
    k = KalmanSGD(1, m0=0.2 * LARGEST[options.get("dtype", "float64")], forgetting=0.5, **options)
    for _ in range(2):
        k.partial_fit([[0.0]], [0.0])
    before = everything(k)
    with pytest.raises(FastoptError, match="left the range"):
        k.partial_fit([[0.0]], [0.0])
    assert everything(k) == before


@pytest.mark.parametrize("outputs", [1, 2])
@pytest.mark.parametrize(
    "options",
    [{"mode": "plain"}, {"mode": "ud"}, {"covariance": "diag"}, {"covariance": [[0, 1], [2]]}],
    ids=str,
)
def test_an_innovation_that_overflows_changes_nothing(options, outputs):
    k = KalmanSGD(3, m0=1.0, **options)
    before = everything(k)
    with pytest.raises(FastoptError, match="left the range"):
        k.update(np.full(outputs, 1e200), np.zeros(outputs), np.eye(3)[:outputs])
    assert everything(k) == before


@pytest.mark.parametrize("m0", [100.0, np.inf])
def test_empty_input_changes_nothing(m0):
    k = KalmanSGD(3, m0=m0)
    before = everything(k)
    k.partial_fit(np.empty((0, 3)), [])
    assert everything(k) == before


def test_rows_of_weight_0_do_not_hide_a_separation():
    x = RNG.normal(size=(100, 2))
    label = (x @ [1.0, 1.0] > 0).astype(float)
    weight = np.ones(100)
    label[:3], weight[:3] = 1 - label[:3], 0.0
    with pytest.warns(UserWarning, match="complete separation"):
        KalmanSGD(2, m0=1e6).partial_fit(x, label, "binomial", weight=weight)


@pytest.mark.parametrize("options", [{}, {"mode": "ud"}, {"covariance": "diag"}, {"mode": "qr"}])
def test_another_thread_is_refused_during_a_call(options):
    """A copy made during partial_fit could contain a mixture of old and new coefficients."""
    k = KalmanSGD(3, **options)
    calls = {
        "coef": lambda: k.coef,
        "stderr": lambda: k.stderr,
        "trace": lambda: k.trace,
        "covariance": k.covariance,
        "state_dict": k.state_dict,
        "copy": k.copy,
        "pickle": lambda: pickle.dumps(k),
        "partial_fit": lambda: k.partial_fit(X, Y),
        "restart": k.restart,
    }
    k.partial_fit(X, Y)
    refused = {}

    class Rows:
        """Rows whose conversion to an array lets another thread use the filter."""

        def __array__(self, dtype=None, copy=None):
            def use():
                for name, call in calls.items():
                    try:
                        call()
                    except FastoptError as error:
                        refused[name] = str(error)

            thread = threading.Thread(target=use)
            thread.start()
            thread.join()
            return X

    k.partial_fit(Rows(), Y)
    assert refused.keys() == calls.keys()
    assert all("another thread" in message for message in refused.values())
    for call in calls.values():
        call()


def test_sparse_matrices_and_frames_of_text_are_refused_by_name():
    k = KalmanSGD(3)
    with pytest.raises(TypeError, match=r"X is a sparse csr_array; pass X\.toarray\(\)"):
        k.partial_fit(scipy.sparse.csr_array(X), Y)

    class Frame:
        """What a pandas.DataFrame has that matters here."""

        dtypes = {"age": np.dtype(float), "city": np.dtype(object)}

        def __array__(self, dtype=None, copy=None):
            return np.array([[1.0, "a"]], dtype=object)

    with pytest.raises(TypeError, match="X has dtype object in the columns 'city'"):
        k.partial_fit(Frame(), [1.0])
