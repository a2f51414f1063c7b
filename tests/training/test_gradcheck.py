"""check_grad finds wrong gradients and accepts correct ones."""

import ml_dtypes
import numpy as np
import pytest
from scipy.sparse import csr_array

from fastopt import FastoptError, RowSparse, check_grad
from fastopt.models import GLM

RNG = np.random.default_rng(0)
X = RNG.normal(size=(30, 4))
Y = RNG.normal(size=30)


def network(p, X, y):
    """Return loss and gradients of two layers with tanh."""
    hidden = np.tanh(X @ p["in"] + p["bias"])
    error = hidden @ p["out"] - y
    behind = np.outer(error, p["out"]) * (1 - hidden**2)
    grads = {"in": X.T @ behind, "bias": behind.sum(axis=0), "out": hidden.T @ error}
    return error @ error / 2, grads


PARAMS = {"in": RNG.normal(size=(4, 7)), "bias": RNG.normal(size=7), "out": RNG.normal(size=7)}


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16])
@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_correct_gradients_pass(dtype, scale):
    def scaled(p, X, y):
        loss, grads = network(p, X, y)
        return loss * scale, {name: g * scale for name, g in grads.items()}

    params = {name: w.astype(dtype) for name, w in PARAMS.items()}
    found = check_grad(scaled, params, X, Y)
    assert found.error < 1e-7
    assert list(found.errors) == ["in", "bias", "out"]
    assert params["in"].dtype == dtype
    assert all((params[name] == PARAMS[name].astype(dtype)).all() for name in PARAMS)


@pytest.mark.parametrize("name", PARAMS)
def test_one_wrong_element_is_found(name):
    place = tuple(n - 1 for n in PARAMS[name].shape)

    def wrong(p, X, y):
        loss, grads = network(p, X, y)
        grads[name][place] += 0.01 * np.abs(grads[name]).max()
        return loss, grads

    found = check_grad(wrong, PARAMS, X, Y)
    assert (found.param, found.index) == (name, place)
    assert 0.005 < found.error < 0.011
    assert abs(found.difference - found.gradient) > 0
    assert all(error < 1e-7 for other, error in found.errors.items() if other != name)
    one = check_grad(lambda p, *b: wrong(p, *b), PARAMS, X, Y, samples=10_000)
    assert (one.param, one.index, one.error) == (name, place, found.error)


def test_large_parameters_are_sampled_at_places_drawn_with_the_seed():
    calls = []

    def square(x):
        calls.append(1)
        gradient = x.copy()
        gradient[100:200] *= 2
        return x @ x / 2, gradient

    x = RNG.normal(size=1000)
    found = check_grad(square, x, samples=40)
    assert len(calls) == 1 + 2 * 40
    assert 100 <= found.index[0] < 200
    assert found.gradient == pytest.approx(2 * found.difference, rel=1e-6)
    assert check_grad(square, x, samples=40) == found
    assert check_grad(square, x, samples=40, seed=1).index != found.index


def test_structures_and_dtypes_of_parameters():
    a, b = RNG.normal(size=(2, 3)), RNG.normal(size=())

    def of_list(x):
        loss, (ga, gb) = (x[0] ** 2).sum() * x[1], (2 * x[0] * x[1], (x[0] ** 2).sum())
        return loss, (ga, float(gb))

    assert check_grad(of_list, [a, b]).error < 1e-8
    assert check_grad(lambda x: ((x**3).sum(), 3 * x * x), a.T).error < 1e-8
    assert check_grad(lambda x: (float(x**3), 3 * x * x), b).param == 0
    assert check_grad(lambda x: ((x * x).sum(), 2 * x), np.arange(3)).error < 1e-8
    frozen = check_grad(lambda x: ((x[0] ** 2).sum() + x[1], [2 * x[0], None]), [a, b])
    assert list(frozen.errors) == [0]
    assert frozen.error < 1e-8


def test_sparse_gradients():
    def rows(x, wrong=0.0):
        loss = (x[1] ** 2).sum() + x[3].sum()
        return loss, RowSparse([3, 1, 1], np.array([0 * x[3] + 1, x[1], x[1] + wrong]))

    x = RNG.normal(size=(5, 2))
    assert check_grad(rows, x).error < 1e-8
    assert check_grad(rows, x, 0.1).index[0] == 1
    assert check_grad(lambda x: ((x[1] ** 2).sum(), csr_array(2 * x * [[0], [1], [0], [0], [0]])),
                      x).error < 1e-8  # fmt: skip
    assert check_grad(lambda x: ((x**2).sum(), 2 * x), x.astype(ml_dtypes.bfloat16)).error < 1e-8


def test_a_model_instead_of_a_function():
    model = GLM(2)
    X = RNG.normal(size=(9, 2))
    assert check_grad(model, model.init(), X, X[:, 0]).error < 1e-6


def test_zero_and_non_finite_gradients():
    assert check_grad(lambda x: (5.0, np.zeros(3)), np.ones(3)).error == 0.0
    assert check_grad(lambda x: (1e9 + 0 * x.sum(), 0 * x), np.ones(3)).error == 0.0
    found = check_grad(lambda x: (x.sum(), np.array([1.0, np.nan, 1.0])), np.ones(3))
    assert (found.error, found.index) == (np.inf, (1,))
    with np.errstate(all="ignore"):
        assert check_grad(lambda x: (np.log(x).sum(), 1 / x), np.zeros(1)).error == np.inf


@pytest.mark.parametrize(
    ("fun", "params", "options", "error", "message"),
    [
        (lambda x: (0.0, np.zeros(2)), np.ones(3), {}, FastoptError, r"shape \(2,\)"),
        (lambda x: (0.0, [x[0]]), [np.ones(3)] * 2, {}, FastoptError, r"keys \[0\]; \[0, 1\]"),
        (lambda x: (0.0, {"b": x}), {"a": np.ones(3)}, {}, FastoptError, r"keys \['b'\]"),
        (lambda x: (0.0, [None]), [np.ones(3)], {}, FastoptError, "no element"),
        (lambda x: (0.0, x), np.ones(0), {}, FastoptError, "no element"),
        (lambda x: (0.0, x), [1.0], {}, TypeError, r"params\[0\] is a float"),
        (lambda x: (0.0, x), np.ones(1, complex), {}, TypeError, "params is a complex128"),
        (lambda x: (0.0, x), np.ones(1, "f4,f4"), {}, TypeError, r"params is a \[\('f0'"),
        (lambda x: (0.0, x), np.ma.ones(1), {}, TypeError, "params is a masked array"),
        (lambda x: (0.0, x), [np.ma.ones(1)], {}, TypeError, r"params\[0\] is a masked array"),
        (5, np.ones(1), {}, TypeError, "fun is 5; a callable is needed"),
        (lambda x: 5, np.ones(1), {}, TypeError, r"fun returned 5; a pair \(loss, grad\)"),
        (lambda x: (1j, x), np.ones(1), {}, TypeError, "fun returned the loss 1j; a number"),
        (lambda x: (np.complex64(1), x), np.ones(1), {}, TypeError, "fun returned the loss"),
        (
            lambda x: (0.0, RowSparse([3], [[1.0]])),
            np.ones((3, 1)),
            {},
            FastoptError,
            r"indices\[0\] of the gradient of parameter 0 is 3; allowed: 0 to 2",
        ),
        (lambda x: (0.0, RowSparse([-1], [[1.0]])), np.ones((3, 1)), {}, FastoptError, "is -1"),
        (lambda x: (0.0, x), np.ones(1), {"samples": 0}, FastoptError, "samples is 0"),
        (lambda x: (0.0, x), np.ones(1), {"seed": -1}, FastoptError, "seed is -1"),
    ],
)
def test_bad_input_is_refused(fun, params, options, error, message):
    with pytest.raises(error, match=message):
        check_grad(fun, params, **options)
