"""minimize(model, ..., method="ksgd"): equal to a loop by hand; which models and data it takes."""

import math

import numpy as np
import pytest

from fastopt import Batches, FastoptError, KalmanSGD, minimize, schedules
from fastopt.models import GLM, MLP

RNG = np.random.default_rng(0)
X = RNG.normal(size=(60, 3))
CLASSES = (X[:, 0] > 0).astype(int) + (X[:, 1] > 0)


class Decay:
    """A model of w0 exp(-w1 t) without loss and variance; its parameters are one array."""

    def mean_and_jacobian(self, w, t):
        decay = np.exp(-w[1] * t)
        return w[0] * decay, np.column_stack([decay, -w[0] * t * decay])


TIMES = np.linspace(0, 3, 40)
DECAYED = 2.0 * np.exp(-0.7 * TIMES) + 0.01 * RNG.normal(size=40)


def test_equals_the_loop_by_hand():
    model, y = GLM(3, "poisson"), RNG.poisson(np.exp(X @ [0.3, -0.2, 0.1])).astype(float)
    options = dict(batch_size=7, seed=3)
    result = minimize(model, model.init(), (X, y), method="ksgd", m0=0.5, epochs=2, **options)
    k, batches, history = KalmanSGD(4, m0=0.5), Batches(X, y, **options), []
    for _ in range(2):
        total = 0.0
        for rows, target in batches:
            params = model.unflatten(k.coef)
            total += len(rows) * model.loss_and_grad(params, rows, target)[0]
            mean, jac = model.mean_and_jacobian(params, rows)
            k.update(target[:, None], mean, jac, mean)
        history.append(total / len(X))
    np.testing.assert_array_equal(model.flatten(result.x), k.coef)
    assert result.history["loss"] == pytest.approx(history, rel=1e-13)
    assert all(map(math.isnan, result.history["lr"]))
    assert result.nit == result.nfev == 18
    assert result.success
    assert list(result.jac) == list(model.shapes)
    np.testing.assert_array_equal(result.kalman.coef, k.coef)
    assert (result.kalman.stderr > 0).all()


def test_a_user_model_needs_only_mean_and_jacobian():
    start, seen = np.array([1.0, 1.0]), []
    result = minimize(
        Decay(),
        start,
        (TIMES, DECAYED),
        method="KSGD",
        m0=1.0,
        batch_size=1,
        epochs=20,
        seed=0,
        callback=lambda state: seen.append((state.fun, state.kalman.n_obs)),
    )
    np.testing.assert_allclose(result.x, [2.0, 0.7], atol=0.03)
    np.testing.assert_array_equal(start, [1.0, 1.0])
    assert result.jac is None
    assert result.nfev == result.nit == 800
    assert [loss for loss, _ in seen] == result.history["loss"]
    assert [n for _, n in seen] == list(range(40, 801, 40))
    full = minimize(Decay(), start, (TIMES, DECAYED), method="ksgd", m0=1.0, epochs=1)
    assert full.fun == pytest.approx(np.mean((DECAYED - np.exp(-TIMES)) ** 2) / 2)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_network_learns_classes_by_blocks_per_neuron(dtype):
    model = MLP([3, 8, 3], "tanh")
    start = model.init(seed=0, dtype=dtype)
    options = dict(method="ksgd", m0=0.1, covariance=model.neurons(), batch_size=2, seed=0)
    result = minimize(model, start, (X, CLASSES), epochs=15, **options)
    assert {x.dtype for x in result.x.values()} == {np.dtype(dtype)}
    assert result.history["loss"][-1] < 0.4 * result.history["loss"][0]
    assert model.score(result.x, X, CLASSES) > 0.9
    # The order of the keys is not the order of the Jacobian's columns.
    reordered = {name: start[name] for name in reversed(list(start))}
    again = minimize(model, reordered, (X, CLASSES), epochs=15, **options)
    for name in start:
        np.testing.assert_array_equal(again.x[name], result.x[name])


def test_outputs_in_two_columns_and_lists_of_parameters():
    class Linear:
        def mean_and_jacobian(self, params, X):
            jac = np.zeros((len(X), 2, 8))
            for column in range(2):
                jac[:, column, 3 * column : 3 * column + 3] = X
                jac[:, column, 6 + column] = 1
            return np.column_stack([X @ params[0][i] + params[1][i] for i in range(2)]), jac

        def variance(self, mean):
            return np.full(mean.shape, 0.01)

    W, b = np.array([[1.0, 2.0, 3.0], [-1.0, 0.5, 0.0]]), np.array([0.3, -0.4])
    start = [np.zeros((2, 3)), np.zeros(2)]
    result = minimize(Linear(), start, (X, X @ W.T + b), method="ksgd", batch_size=4, epochs=1)
    np.testing.assert_allclose(result.x[0], W, atol=1e-4)
    np.testing.assert_allclose(result.x[1], b, atol=1e-4)


def test_a_model_instead_of_a_function_with_update_rules():
    model = GLM(3)
    options = dict(lr=0.1, epochs=3, batch_size=20, seed=1)
    y = X @ [1.0, 2.0, 3.0]
    of_model = minimize(model, model.init(), (X, y), **options)
    of_loss = minimize(model.loss_and_grad, model.init(), (X, y), **options)
    np.testing.assert_array_equal(model.flatten(of_model.x), model.flatten(of_loss.x))


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"fun": lambda x, X, y: (0.0, x)}, FastoptError, r"mean_and_jacobian\(params, X\)"),
        ({"fun": None}, FastoptError, "fun is None; method='ksgd' needs more than a loss"),
        ({"data": None}, FastoptError, r"data is None; .* \(X, y\)"),
        ({"data": TIMES}, FastoptError, r"data is 1 array\(s\); .* \(X, y\)"),
        ({"lr": 0.1}, FastoptError, r"lr is 0\.1; it cannot be given with method='ksgd'"),
        (
            {"schedule": schedules.constant(1.0)},
            FastoptError,
            "schedule is .*; it cannot be given with",
        ),
        ({"convention": "keras"}, FastoptError, "convention is 'keras'"),
        (
            {"checkpoint": "run.npz"},
            FastoptError,
            "checkpoint is 'run.npz'; it cannot be given with method='ksgd'",
        ),
        ({"beta": 0.9}, TypeError, "beta"),
        ({"m0": -1.0}, FastoptError, r"m0 is -1\.0"),
        ({"data": (TIMES, np.ones((40, 2)))}, FastoptError, r"y has shape \(40, 2\)"),
    ],
)
def test_bad_input_is_refused(change, error, message):
    arguments = {"fun": Decay(), "data": (TIMES, DECAYED), "epochs": 1, "method": "ksgd", **change}
    start = np.ones(2)
    with pytest.raises(error, match=message):
        minimize(arguments.pop("fun"), start, arguments.pop("data"), **arguments)
    np.testing.assert_array_equal(start, np.ones(2))
