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
    """The model is not a `GLM` object, but has the formulas of a Poisson GLM."""
    model = MLP([3, 1], loss="poisson")
    y = RNG.poisson(np.exp(X @ [0.3, -0.2, 0.1])).astype(float)
    start, options = model.init(seed=0), dict(batch_size=7, seed=3)
    result = minimize(model, start, (X, y), method="ksgd", m0=0.5, epochs=2, **options)
    k, batches, history = KalmanSGD(model.flatten(start), m0=0.5), Batches(X, y, **options), []
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
    assert (result.status, result.success) == (1, False)
    assert list(result.jac) == list(model.shapes)
    np.testing.assert_array_equal(result.kalman.coef, k.coef)
    assert (result.kalman.stderr > 0).all()


def observations(family, X, slope, bias, rng):
    """Draw y of a generalized linear model; z is the linear predictor."""
    z = X @ slope + bias
    if family == "linear":
        return z + rng.normal(size=z.shape)
    return (
        rng.poisson(np.exp(z)) * 1.0
        if family == "poisson"
        else (rng.random(z.shape) < 1 / (1 + np.exp(-z))) * 1.0
    )


FAMILIES = {"linear": "gaussian", "logistic": "binomial", "poisson": "poisson"}


@pytest.mark.parametrize("family", FAMILIES)
def test_a_glm_equals_the_loop_of_partial_fit_by_hand(family):
    model, rng = GLM(3, family), np.random.default_rng(1)
    y = observations(family, X, np.array([0.3, -0.2, 0.1]), 0.5, rng)
    options = dict(batch_size=7, seed=3)
    result = minimize(model, model.init(), (X, y), method="ksgd", m0=0.5, epochs=3, **options)
    k, batches, losses = KalmanSGD(4, m0=0.5), Batches(X, y, **options), []
    for epoch in range(3):
        total = 0.0
        for i, (rows, target) in enumerate(batches):
            total += len(rows) * model.loss_and_grad(model.unflatten(k.coef), rows, target)[0]
            design = np.column_stack([rows, np.ones(len(rows))])
            k.partial_fit(design, target, FAMILIES[family], new_pass=epoch > 0 and i == 0)
        losses.append(total / len(X))
    np.testing.assert_array_equal(model.flatten(result.x), k.coef)
    assert result.history["loss"] == pytest.approx(losses, rel=1e-13)
    assert result.kalman.n_passes == k.n_passes == 3
    np.testing.assert_array_equal(
        result.kalman.covariance(scaled=False), k.covariance(scaled=False)
    )


def maximum_likelihood(family, X, y):
    """Return coefficients and standard errors of a GLM with a bias, by Newton's method."""
    design, w = np.column_stack([X, np.ones(len(X))]), np.zeros(X.shape[1] + 1)
    for _ in range(100):
        z = design @ w
        mean = {"linear": z, "poisson": np.exp(z), "logistic": 1 / (1 + np.exp(-z))}[family]
        variance = {"linear": np.ones_like(z), "poisson": mean, "logistic": mean * (1 - mean)}
        information = design.T @ (variance[family][:, None] * design)
        step = np.linalg.solve(information, design.T @ (y - mean))
        w = w + step / max(1.0, abs(step).max())  # short at first: exp(z) may overflow
    assert abs(step).max() < 1e-9
    scale = ((y - mean) ** 2).sum() / (len(y) - len(w)) if family == "linear" else 1.0
    return w, np.sqrt(scale * np.diag(np.linalg.inv(information)))


@pytest.mark.parametrize("batch_size", [1, 32, None])
@pytest.mark.parametrize("epochs", [1, 3])
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("seed", range(3))
def test_glms_end_near_the_maximum_of_the_likelihood(family, epochs, batch_size, seed):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(1500, 2))
    y = observations(family, X, np.array([0.7, -0.4]), 1.5, rng)
    w, stderr = maximum_likelihood(family, X, y)
    model, options = GLM(2, family), {} if batch_size is None else {"seed": seed}
    result = minimize(
        model, model.init(), (X, y), method="ksgd", epochs=epochs, batch_size=batch_size, **options
    )
    # The filter is approximate, and one pass is less precise than several.
    assert (abs(model.flatten(result.x) - w) / stderr).max() < (0.3 if epochs == 3 else 0.8)


def test_a_poisson_model_with_a_large_mean_does_not_diverge():
    """It used to diverge to w = 10.1 and b = -1.9."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2000, 1))
    y = rng.poisson(np.exp(0.5 * x[:, 0] + 2.0)).astype(float)
    w, stderr = maximum_likelihood("poisson", x, y)
    model = GLM(1, "poisson")
    for batch_size in (1, 50):
        result = minimize(
            model, model.init(), (x, y), method="ksgd", epochs=1, batch_size=batch_size, seed=0
        )
        assert (abs(model.flatten(result.x) - w) / stderr).max() < 0.3


def test_outputs_of_a_glm_are_separate_models_with_a_common_covariance():
    rng, slopes = np.random.default_rng(4), np.array([[0.5, -0.2, 0.1], [0.1, 0.3, -0.4]])
    Y = [observations("poisson", X, slope, 0.5, rng) for slope in slopes]
    model, options = GLM(3, "poisson", 2), dict(method="ksgd", m0=0.5, epochs=1)
    both = minimize(model, model.init(), (X, np.column_stack(Y)), **options)
    for column, y in enumerate(Y):
        alone = minimize(GLM(3, "poisson"), GLM(3, "poisson").init(), (X, y), **options)
        for name in ("w1", "b1"):
            np.testing.assert_allclose(
                both.x[name][..., column], alone.x[name][..., 0], rtol=1e-9, atol=1e-12
            )


def test_success_of_ksgd():
    model, y = GLM(3), X @ [1.0, 2.0, 3.0]
    options = dict(method="ksgd", batch_size=20, seed=1, m0=1e9)
    result = minimize(model, model.init(), (X, y), tol=1e-6, **options)
    assert (result.status, result.success) == (0, True)
    assert max(abs(g).max() for g in result.jac.values()) <= 1e-3
    full = minimize(model, model.init(), (X, y), method="ksgd", m0=1e9, gtol=1e-6)
    assert (full.status, full.success, full.nit) == (0, True, 2)
    user = minimize(
        Decay(), np.ones(2), (TIMES, DECAYED), method="ksgd", m0=1.0, batch_size=4, seed=0, tol=1e-4
    )
    assert (user.status, user.success) == (0, True)
    mean, jac = Decay().mean_and_jacobian(user.x, TIMES)
    assert abs(jac.T @ (DECAYED - mean) / 40).max() <= 1e-2
    assert user.jac is None
    assert user.fun == pytest.approx(np.mean((DECAYED - mean) ** 2) / 2)


# Labels of a user's class model


class Classes:
    """Softmax regression with three classes, without a loss."""

    def mean_and_jacobian(self, w, X):
        odds = np.exp(X @ w)
        jac = np.einsum("ni,cd->ncid", X, np.eye(3)).reshape(len(X), 3, 9)
        return odds / odds.sum(axis=1, keepdims=True), jac

    def variance(self, _mean):
        return "multinomial"


def fit_classes(y):
    start = np.zeros((3, 3))
    options = dict(method="ksgd", batch_size=1, epochs=1, seed=0, m0=1.0)
    return minimize(Classes(), start, (X, y), **options).x


@pytest.mark.parametrize("dtype", ["i1", "u8", "i8"])
def test_integer_labels_equal_one_hot_rows(dtype):
    expected = fit_classes(np.eye(3)[CLASSES])
    np.testing.assert_array_equal(fit_classes(CLASSES.astype(dtype)), expected)
    assert np.isfinite(fit_classes(np.full((60, 3), 1 / 3))).all()


def replaced(value):
    y = CLASSES.copy()
    y[7] = value
    return y


@pytest.mark.parametrize(
    ("y", "error", "message"),
    [
        (replaced(-1), FastoptError, r"y\[0\] is -1; allowed: labels 0 to 2"),
        (replaced(3), FastoptError, r"y\[0\] is 3; allowed: labels 0 to 2"),
        (CLASSES.astype(float), TypeError, "y has dtype float64; labels must be integers in 0..2"),
        (CLASSES > 0, TypeError, "y has dtype bool; labels must be integers"),
        (np.full((60, 3), 0.5), FastoptError, "probabilities that sum to 1"),
        (np.tile([1.5, -0.5, 0.0], (60, 1)), FastoptError, "probabilities that sum to 1"),
        (np.full((60, 3), np.nan), FastoptError, "probabilities that sum to 1"),
        (np.ones((60, 2)), FastoptError, r"y has shape \(1, 2\); .* a row of probabilities"),
    ],
)
def test_bad_labels_are_refused_by_name(y, error, message):
    with pytest.raises(error, match=message):
        fit_classes(y)


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
