"""Models: compared with independent definitions of the losses and with finite differences."""

import copy
import math
import pickle

import numpy as np
import pytest

from fastopt._errors import FastoptError
from fastopt.models import GLM, MLP

ACTIVATIONS = {
    "relu": lambda z: np.where(z > 0, z, 0.0),
    "tanh": np.tanh,
    "sigmoid": lambda z: 1 / (1 + np.exp(-z)),
}
LOSSES = {
    "softmax": lambda z, y: -np.log(np.exp(z[y]) / np.sum(np.exp(z))),
    "squared": lambda z, y: np.sum((z - y) ** 2) / 2,
    "logistic": lambda z, y: (
        -np.sum(np.log(np.where(y == 1, 1 / (1 + np.exp(-z)), 1 / (1 + np.exp(z)))))
    ),
    "poisson": lambda z, y: np.sum(np.exp(z) - y * z),
}


def output(model, params, row):
    h = row
    depth = len(model.sizes) - 1
    for layer in range(1, depth):
        h = ACTIVATIONS[model.activation](h @ params[f"w{layer}"] + params[f"b{layer}"])
    return h @ params[f"w{depth}"] + params[f"b{depth}"]


def reference_loss(model, params, X, y):
    losses = [LOSSES[model.loss](output(model, params, x), t) for x, t in zip(X, y, strict=True)]
    return math.fsum(losses) / len(losses)


def difference_quotients(model, params, X, y, h=1e-4):
    """Return central differences of fourth order; the error is about 1e-16/h + h^4."""
    grads = {}
    for name, param in params.items():
        grads[name] = np.empty(param.shape)
        for i in np.ndindex(param.shape):
            at = {}
            for k in (-2, -1, 1, 2):
                moved = copy.deepcopy(params)
                moved[name][i] += k * h
                at[k] = reference_loss(model, moved, X, y)
            grads[name][i] = (at[-2] - 8 * at[-1] + 8 * at[1] - at[2]) / (12 * h)
    return grads


def make_data(model, n, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, model.sizes[0]))
    k = model.sizes[-1]
    if model.loss == "softmax":
        return X, rng.integers(0, k, n)
    if model.loss == "squared":
        return X, rng.standard_normal((n, k))
    if model.loss == "logistic":
        return X, rng.integers(0, 2, (n, k))
    return X, rng.poisson(2.0, (n, k))


def make_params(model, seed=1):
    """Return random parameters with nonzero biases."""
    rng = np.random.default_rng(seed)
    return {name: 0.7 * rng.standard_normal(shape) for name, shape in model.shapes.items()}


MODELS = [
    *(
        MLP(sizes, activation, loss)
        for sizes in ([3, 4, 2], [2, 4, 3, 2])
        for activation in ACTIVATIONS
        for loss in LOSSES
    ),
    *(GLM(4, family) for family in ("linear", "logistic", "poisson")),
    *(GLM(4, family, 3) for family in ("linear", "logistic", "poisson", "softmax")),
]
every_model = pytest.mark.parametrize("model", MODELS, ids=repr)


@every_model
def test_gradient_equals_finite_differences_of_the_definition(model):
    X, y = make_data(model, 5)
    params = make_params(model)
    loss, grads = model.loss_and_grad(params, X, y)
    assert type(loss) is float
    assert loss == pytest.approx(reference_loss(model, params, X, y), rel=1e-13)
    expected = difference_quotients(model, params, X, y)
    largest = max(np.abs(grad).max() for grad in expected.values())
    assert list(grads) == list(params)
    for name, grad in grads.items():
        np.testing.assert_allclose(grad, expected[name], rtol=1e-9, atol=1e-10 * largest)


def probabilities(z):
    return np.exp(z) / np.exp(z).sum()


# The mean of y, the function that the Jacobian belongs to, and the variance of y.
MEANS = {
    "softmax": (probabilities, lambda z: z, None),
    "squared": (lambda z: z, lambda z: z, lambda m: np.ones_like(m)),
    "logistic": (ACTIVATIONS["sigmoid"], ACTIVATIONS["sigmoid"], lambda m: m * (1 - m)),
    "poisson": (np.exp, np.exp, lambda m: m),
}


@every_model
def test_mean_and_jacobian_equal_the_definition(model):
    X, _ = make_data(model, 5)
    params, h = make_params(model), 1e-4
    mean, jac = model.mean_and_jacobian(params, X)
    mean_of, of, variance_of = MEANS[model.loss]
    assert jac.shape == (5, model.sizes[-1], model.n_params)
    for row, x in enumerate(X):
        np.testing.assert_allclose(mean[row], mean_of(output(model, params, x)), rtol=1e-12)
    start = model.flatten(params)
    for i in range(model.n_params):
        at = {}
        for k in (-2, -1, 1, 2):
            moved = start.copy()
            moved[i] += k * h
            at[k] = np.array([of(output(model, model.unflatten(moved), x)) for x in X])
        expected = (at[-2] - 8 * at[-1] + 8 * at[1] - at[2]) / (12 * h)
        np.testing.assert_allclose(jac[:, :, i], expected, rtol=1e-9, atol=1e-9 * abs(jac).max())
    variance = model.variance(mean)
    if variance_of is None:
        assert variance == "multinomial"
    else:
        np.testing.assert_allclose(variance, variance_of(mean), rtol=1e-13)


@every_model
def test_jacobian_times_residual_is_the_gradient(model):
    X, y = make_data(model, 5)
    params = make_params(model)
    mean, jac = model.mean_and_jacobian(params, X)
    variance = 1.0 if model.loss == "softmax" else model.variance(mean)
    target = np.eye(model.sizes[-1])[y] if model.loss == "softmax" else y
    gradient = np.einsum("nk,nkp->p", (mean - target) / variance, jac) / 5
    expected = model.flatten(model.loss_and_grad(params, X, y)[1])
    np.testing.assert_allclose(gradient, expected, rtol=1e-10, atol=1e-12)


@every_model
def test_jacobian_has_the_dtype_of_the_parameters(model):
    X, _ = make_data(model, 5)
    params = make_params(model)
    params32 = {name: param.astype(np.float32) for name, param in params.items()}
    mean64, jac64 = model.mean_and_jacobian(params, X)
    mean32, jac32 = model.mean_and_jacobian(params32, X)
    assert mean32.dtype == jac32.dtype == np.float32
    assert mean64.dtype == jac64.dtype == np.float64
    np.testing.assert_allclose(mean32, mean64, rtol=1e-4)
    np.testing.assert_allclose(jac32, jac64, rtol=1e-3, atol=1e-4 * np.abs(jac64).max())


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_variance_and_slope_are_positive_if_the_mean_is_rounded_to_a_bound(dtype):
    for family, z in (("logistic", 800.0), ("logistic", -800.0), ("poisson", -800.0)):
        model = GLM(1, family)
        params = {"w1": np.full((1, 1), z, dtype), "b1": np.zeros(1, dtype)}
        mean, jac = model.mean_and_jacobian(params, [[1.0]])
        assert model.variance(mean) > 0
        assert jac[0, 0, 0] == model.variance(mean)


@every_model
def test_flatten_and_unflatten_keep_the_order_and_share_memory(model):
    params = make_params(model)
    flat = model.flatten(params)
    np.testing.assert_array_equal(flat, np.concatenate([params[n].ravel() for n in model.shapes]))
    again = model.unflatten(flat)
    assert list(again) == list(model.shapes)
    for name, param in params.items():
        np.testing.assert_array_equal(again[name], param)
        assert np.shares_memory(again[name], flat)
    with pytest.raises(FastoptError, match=rf"vector has shape \({flat.size + 1},\)"):
        model.unflatten(np.zeros(flat.size + 1))


@every_model
def test_neurons_partition_the_parameters(model):
    params = make_params(model)
    flat, neurons = model.flatten(params), model.neurons()
    assert sorted(np.concatenate(neurons)) == list(range(model.n_params))
    expected = [
        [*params[f"w{layer}"][:, unit], params[f"b{layer}"][unit]]
        for layer, width in enumerate(model.sizes[1:], 1)
        for unit in range(width)
    ]
    assert [list(flat[places]) for places in neurons] == expected


@every_model
def test_dtype_and_layout_of_the_gradient(model):
    X, y = make_data(model, 5)
    params = make_params(model)
    loss64, grads64 = model.loss_and_grad(params, X, y)
    params32 = {name: param.astype(np.float32) for name, param in params.items()}
    loss32, grads32 = model.loss_and_grad(params32, X, y)
    assert loss32 == pytest.approx(loss64, rel=1e-5)
    for name in params:
        assert grads64[name].dtype == np.float64
        assert grads32[name].dtype == np.float32
        assert grads64[name].flags.c_contiguous
        assert grads32[name].flags.c_contiguous
        np.testing.assert_allclose(grads32[name], grads64[name], rtol=1e-4, atol=1e-5)
    assert model.mean(params, X).dtype == np.float64
    assert model.mean(params32, X).dtype == np.float32


@pytest.mark.parametrize(
    "model",
    [
        *(GLM(1, family) for family in ("linear", "logistic", "poisson")),
        GLM(1, "softmax", 2),
        MLP([1, 2, 1], "tanh", "squared"),
    ],
    ids=repr,
)
def test_float32_gradients_lose_no_digits_with_the_number_of_rows(model):
    """All terms of a sum have the same sign, so that a float32 sum would stop growing."""
    n = 4_000_000
    X = np.random.default_rng(0).uniform(0.5, 1.5, (n, 1)).astype(np.float32)
    y = np.ones(n, int if model.loss == "softmax" else np.float32)
    params32 = {name: np.full(shape, 0.5, np.float32) for name, shape in model.shapes.items()}
    if model.loss == "poisson":
        params32 = {name: -param for name, param in params32.items()}
    loss32, grads32 = model.loss_and_grad(params32, X, y)
    params = {name: param.astype(float) for name, param in params32.items()}
    loss, grads = model.loss_and_grad(params, X.astype(float), y)
    assert loss32 == pytest.approx(loss, rel=1e-6)
    for name, grad in grads.items():
        assert grads32[name].dtype == np.float32
        np.testing.assert_allclose(grads32[name], grad, rtol=1e-5)


def test_the_mean_of_four_million_ones_is_1():
    n = 4_000_000
    model = GLM(1)
    params = model.init(dtype=np.float32)
    loss, grads = model.loss_and_grad(params, np.ones((n, 1), np.float32), np.ones(n, np.float32))
    assert loss == 0.5
    assert grads["b1"][0] == pytest.approx(-1, rel=1e-7)
    assert grads["w1"][0, 0] == pytest.approx(-1, rel=1e-5)


@pytest.mark.parametrize("n", [1, 1023, 1024, 1025, 2048, 2500])
def test_the_blocks_of_rows_contain_each_row_once(n):
    model = GLM(3, "linear", 2)
    rng = np.random.default_rng(n)
    X, y = rng.integers(-9, 9, (n, 3)), rng.integers(-9, 9, (n, 2))
    _, grads = model.loss_and_grad(model.init(), X, n * y)
    assert (grads["w1"] == -(X.T @ y)).all()
    assert (grads["b1"] == -y.sum(axis=0)).all()


@every_model
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_arguments_are_not_changed(model, dtype):
    X, y = make_data(model, 5)
    X, y = X.astype(dtype), y if model.loss == "softmax" else y.astype(dtype)
    params = {name: param.astype(dtype) for name, param in make_params(model).items()}
    for array in (X, y, *params.values()):
        array.flags.writeable = False
    _, grads = model.loss_and_grad(params, X, y)
    for grad in grads.values():
        assert grad.flags.writeable
        assert not any(np.shares_memory(grad, a) for a in (X, y, *params.values()))
    model.mean(params, X)
    model.predict(params, X)
    model.score(params, X, y)


@every_model
def test_layout_and_type_of_the_data_do_not_matter(model):
    X, y = make_data(model, 6)
    X = np.round(4 * X)
    params = make_params(model)
    loss, grads = model.loss_and_grad(params, X, y)
    for same in (X.tolist(), X.astype(np.int8), np.asfortranarray(X), np.repeat(X, 2, 0)[::2]):
        loss_same, grads_same = model.loss_and_grad(params, same, np.asarray(y).tolist())
        assert loss_same == pytest.approx(loss, rel=1e-14)
        for name in params:
            np.testing.assert_allclose(grads_same[name], grads[name], rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("loss", ["squared", "logistic", "poisson"])
def test_one_output_takes_flat_and_column_y(loss):
    model = MLP([3, 4, 1], "tanh", loss)
    X, y = make_data(model, 7)
    params = make_params(model)
    assert y.shape == (7, 1)
    loss_flat, grads_flat = model.loss_and_grad(params, X, y[:, 0])
    loss_column, grads_column = model.loss_and_grad(params, X, y)
    assert loss_flat == loss_column
    for name in params:
        np.testing.assert_array_equal(grads_flat[name], grads_column[name])
    assert model.mean(params, X).shape == model.predict(params, X).shape == (7,)
    assert model.score(params, X, y[:, 0]) == model.score(params, X, y)


@every_model
def test_loss_and_gradient_of_a_batch_are_means_over_rows(model):
    X, y = make_data(model, 6)
    params = make_params(model)
    loss, grads = model.loss_and_grad(params, X, y)
    rows = [model.loss_and_grad(params, X[i : i + 1], y[i : i + 1]) for i in range(6)]
    assert loss == pytest.approx(sum(row for row, _ in rows) / 6, rel=1e-13)
    for name in params:
        mean = sum(grad[name] for _, grad in rows) / 6
        np.testing.assert_allclose(grads[name], mean, rtol=1e-12, atol=1e-14)


@every_model
def test_mean_and_predict(model):
    X, y = make_data(model, 9)
    params = make_params(model)
    z = np.array([output(model, params, x) for x in X])
    if model.loss == "softmax":
        mean = np.exp(z) / np.exp(z).sum(axis=1)[:, None]
        predicted = np.array([max(range(len(row)), key=row.__getitem__) for row in z])
    elif model.loss == "logistic":
        mean = 1 / (1 + np.exp(-z))
        predicted = mean > 0.5
    else:
        mean = predicted = z if model.loss == "squared" else np.exp(z)
    shape = (9,) if z.shape[1] == 1 else z.shape
    np.testing.assert_allclose(model.mean(params, X), mean.reshape(shape), rtol=1e-12)
    if model.loss in ("softmax", "logistic"):
        predicted = predicted.reshape(9 if model.loss == "softmax" else shape)
        np.testing.assert_array_equal(model.predict(params, X), predicted)
        assert model.predict(params, X).dtype.kind == "i"
        right = np.count_nonzero(model.predict(params, X) == y.reshape(predicted.shape))
        assert model.score(params, X, y) == right / predicted.size
    else:
        np.testing.assert_array_equal(model.predict(params, X), model.mean(params, X))


def test_r2():
    model = GLM(1)
    params = {"w1": np.array([[2.0]]), "b1": np.array([1.0])}
    X = np.array([[0.0], [1.0], [2.0], [3.0]])
    y = np.array([1.0, 3.0, 5.0, 11.0])  # predicted 1, 3, 5, 7; mean 5; sums 16 and 56
    assert model.score(params, X, y) == pytest.approx(1 - 16 / 56, rel=1e-15)
    assert model.score(params, X, 2 * X + 1) == 1.0
    assert math.isnan(model.score(params, X, [0.1] * 4))
    assert math.isnan(model.score(params, X[:1], [1.0]))


def test_explained_deviance_of_counts():
    model = GLM(1, "poisson")
    params = {"w1": np.array([[0.5]]), "b1": np.array([0.2])}
    X = np.array([[0.0], [1.0], [2.0], [3.0]])
    y = [0, 3, 2, 7]

    def deviance(mean):
        terms = [
            (t * math.log(t / m) if t else 0.0) - (t - m) for t, m in zip(y, mean, strict=True)
        ]
        return 2 * math.fsum(terms)

    fitted = [math.exp(0.2 + 0.5 * x) for x in range(4)]
    expected = 1 - deviance(fitted) / deviance([3.0] * 4)
    assert model.score(params, X, y) == pytest.approx(expected, rel=1e-14)
    assert model.score({"w1": np.zeros((1, 1)), "b1": np.log([3.0])}, X, y) == pytest.approx(0)
    assert math.isnan(model.score(params, X, [0, 0, 0, 0]))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_losses_of_large_outputs_do_not_overflow(dtype):
    X = np.array([[1000.0], [-1000.0]])

    def at(family, n_outputs, weights, y):
        model = GLM(1, family, n_outputs)
        params = {"w1": np.array([weights], dtype), "b1": np.zeros(n_outputs, dtype)}
        loss, grads = model.loss_and_grad(params, X, y)
        return loss, grads["w1"].tolist()

    assert at("logistic", 1, [1.0], [1, 0]) == (0.0, [[0.0]])
    assert at("logistic", 1, [1.0], [0, 1]) == (1000.0, [[1000.0]])
    assert at("logistic", 1, [-1.0], [1, 1]) == (500.0, [[-500.0]])
    assert at("softmax", 3, [1.0, 0.0, -1.0], [0, 2]) == (0.0, [[0.0, 0.0, 0.0]])
    assert at("softmax", 3, [1.0, 0.0, -1.0], [2, 1]) == (1500.0, [[500.0, 500.0, -1000.0]])


def test_small_logistic_losses_have_full_relative_precision():
    model = GLM(1, "logistic")
    params = {"w1": np.array([[1.0]]), "b1": np.zeros(1)}
    for y, z in ((1, 50.0), (0, -50.0)):
        loss, grads = model.loss_and_grad(params, [[z]], [y])
        assert loss == pytest.approx(math.exp(-50.0), rel=1e-14)
        assert grads["b1"][0] == pytest.approx((1 - 2 * y) * math.exp(-50.0), rel=1e-14)


def test_nan_in_the_data_gives_nan():
    for model in MODELS:
        X, y = make_data(model, 3)
        X[1, 0] = math.nan
        loss, grads = model.loss_and_grad(make_params(model), X, y)
        assert math.isnan(loss)
        assert all(np.isnan(grad).any() for grad in grads.values())


def test_gradient_is_zero_at_the_least_squares_solution():
    model = GLM(4, "linear", 2)
    X, y = make_data(model, 30)
    w, *_ = np.linalg.lstsq(np.column_stack([X, np.ones(30)]), y)
    params = {"w1": w[:4].copy(), "b1": w[4].copy()}
    _, grads = model.loss_and_grad(params, X, y)
    for grad in grads.values():
        np.testing.assert_allclose(grad, 0.0, atol=1e-14)


def test_gradient_descent_reduces_the_loss():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((200, 2)).astype(np.float32)
    y = (X[:, 0] * X[:, 1] > 0).astype(np.int64)
    for activation in ACTIVATIONS:
        model = MLP([2, 16, 2], activation)
        params = model.init(0, np.float32)
        first, _ = model.loss_and_grad(params, X, y)
        for _ in range(1500):
            _, grads = model.loss_and_grad(params, X, y)
            for name in params:
                params[name] -= np.float32(2.0) * grads[name]
        assert model.loss_and_grad(params, X, y)[0] < first / 2
        assert model.score(params, X, y) > 0.9


def test_init():
    model = MLP([400, 300, 200, 10])
    params = model.init(seed=3)
    assert {name: param.shape for name, param in params.items()} == model.shapes
    assert list(params) == ["w1", "b1", "w2", "b2", "w3", "b3"]
    for name, variance in (("w1", 2 / 400), ("w2", 2 / 300), ("w3", 1 / 200)):
        assert params[name].var() == pytest.approx(variance, rel=0.1)
        assert abs(params[name].mean()) < 4 * math.sqrt(variance / params[name].size)
    for name in ("b1", "b2", "b3"):
        assert not params[name].any()
    params32 = model.init(3, np.float32)
    other = model.init(np.random.default_rng(4))
    for name in params:
        assert params[name].dtype == np.float64
        assert params[name].flags.c_contiguous
        np.testing.assert_array_equal(params[name], model.init(3)[name])
        assert params32[name].dtype == np.float32
        np.testing.assert_array_equal(params32[name], params[name].astype(np.float32))
    assert (other["w1"] != params["w1"]).all()
    for activation in ("tanh", "sigmoid"):
        w1 = MLP([400, 300, 10], activation).init(0)["w1"]
        assert w1.var() == pytest.approx(1 / 400, rel=0.1)
    for dtype in (np.float32, np.float64):
        zeros = GLM(3, "softmax", 4).init(0, dtype)
        assert {name: param.shape for name, param in zeros.items()} == {
            "w1": (3, 4),
            "b1": (4,),
        }
        assert all(param.dtype == dtype and not param.any() for param in zeros.values())


@every_model
def test_copies(model):
    X, y = make_data(model, 5)
    params = make_params(model)
    for twin in (
        pickle.loads(pickle.dumps(model)),
        copy.deepcopy(model),
        eval(repr(model), {"MLP": MLP, "GLM": GLM}),
    ):
        assert repr(twin) == repr(model)
        assert twin.loss_and_grad(params, X, y)[0] == model.loss_and_grad(params, X, y)[0]


def test_pickles_name_the_public_module():
    """Pickles can then be loaded after a class has moved to another module of the package."""
    assert MLP.__module__ == GLM.__module__ == "fastopt.models"


def test_repr():
    assert repr(MLP([64, 32, 10])) == "MLP(sizes=(64, 32, 10), activation='relu', loss='softmax')"
    assert repr(GLM(3, "poisson")) == "GLM(n_features=3, family='poisson', n_outputs=1)"


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: MLP([3]), FastoptError, r"sizes is \[3\]; 2 numbers or more"),
        (lambda: MLP([3, 0, 2]), FastoptError, r"sizes is \[3, 0, 2\]; .* each >= 1"),
        (lambda: MLP([3, 2.0]), TypeError, r"sizes is \[3, 2.0\]; whole numbers are needed"),
        (lambda: MLP([3, 1]), FastoptError, r"sizes is \[3, 1\]; 'softmax' needs 2 outputs"),
        (lambda: MLP([3, 2], "elu"), FastoptError, "activation is 'elu'; .* 'relu', 'tanh'"),
        (
            lambda: MLP([3, 2], loss="mse"),
            FastoptError,
            "loss is 'mse'; .*'softmax', 'squared'",
        ),
        (lambda: GLM(3, "squared"), FastoptError, "family is 'squared'; allowed: 'linear'"),
        (lambda: GLM(0), FastoptError, r"sizes is \(0, 1\)"),
        (lambda: GLM(3, "softmax"), FastoptError, "'softmax' needs 2 outputs"),
        (
            lambda: MLP([3, 2]).init(0, np.float16),
            TypeError,
            "dtype has dtype float16; float32",
        ),
        (lambda: GLM(3).init(0, np.int64), TypeError, "dtype has dtype int64; float32"),
    ],
)
def test_bad_models(make, error, message):
    with pytest.raises(error, match=message):
        make()


GOOD = {"w1": np.ones((3, 2)), "b1": np.ones(2)}
FLOAT32 = {name: param.astype(np.float32) for name, param in GOOD.items()}
X4 = np.ones((4, 3))


@pytest.mark.parametrize(
    ("params", "X", "error", "message"),
    [
        ([1.0], X4, TypeError, "params is a list; a dict is needed"),
        ({"w1": GOOD["w1"]}, X4, FastoptError, r"the keys \['w1'\]; \['w1', 'b1'\] are needed"),
        (GOOD | {"w2": 1}, X4, FastoptError, "params has the keys"),
        (GOOD | {"b1": [1, 1]}, X4, TypeError, r"params\['b1'\] is a list; a numpy.ndarray is"),
        (
            GOOD | {"b1": np.ones(3)},
            X4,
            FastoptError,
            r"params\['b1'\] has shape \(3,\); \(2,\)",
        ),
        (
            GOOD | {"b1": FLOAT32["b1"]},
            X4,
            TypeError,
            "params has dtype float32, float64; .* one",
        ),
        (
            {name: param.astype(np.float16) for name, param in GOOD.items()},
            X4,
            TypeError,
            "params has dtype float16; float32 or float64",
        ),
        (
            {name: param.astype(">f8") for name, param in GOOD.items()},
            X4,
            TypeError,
            "params has dtype >f8",
        ),
        (GOOD, np.ones(3), FastoptError, r"X has shape \(3,\); \(n >= 1, 3\) is needed"),
        (GOOD, np.ones((4, 2)), FastoptError, r"X has shape \(4, 2\)"),
        (GOOD, np.ones((0, 3)), FastoptError, r"X has shape \(0, 3\)"),
        (GOOD, X4.astype(complex), TypeError, "X is a ndarray of dtype complex128; a dense"),
        (GOOD, np.full((4, 3), "a"), TypeError, "X is a ndarray of dtype <U1"),
        (GOOD, np.ma.masked_array(X4), TypeError, "X is a MaskedArray"),
        (GOOD, object(), TypeError, "X is a object of dtype object"),
    ],
)
@pytest.mark.parametrize("method", ["loss_and_grad", "mean", "predict", "score"])
def test_bad_params_and_data(method, params, X, error, message):
    y = [[0, 1, 1, 0]] if method in ("loss_and_grad", "score") else []
    call = getattr(MLP([3, 2]), method)
    with pytest.raises(error, match=message):
        call(params, X, *y)


@pytest.mark.parametrize(
    ("loss", "y", "error", "message"),
    [
        ("softmax", [0, 1, 2, 0], FastoptError, "y contains 2; allowed: classes 0 to 1"),
        ("softmax", [0, 1, -1, 0], FastoptError, "y contains -1; allowed: classes 0 to 1"),
        ("softmax", [0, 1, 1], FastoptError, r"y has shape \(3,\); \(4,\) is needed"),
        ("softmax", [[0], [1], [1], [0]], FastoptError, r"y has shape \(4, 1\); \(4,\) is"),
        ("softmax", [0.0, 1.0, 1.0, 0.0], TypeError, "y has dtype float64; .* needs integers"),
        ("softmax", list("abab"), TypeError, "y is a list of dtype <U1"),
        ("squared", [1, 2, 3, 4], FastoptError, r"y has shape \(4,\); \(4, 2\) is needed"),
        ("squared", np.ones((2, 4)), FastoptError, r"y has shape \(2, 4\); \(4, 2\) is needed"),
        ("squared", np.ma.ones((4, 2)), TypeError, "y is a MaskedArray"),
        ("logistic", [[0, 1], [1, 0], [0, 2], [0, 0]], FastoptError, "y contains 2.*: 0 and 1"),
        ("logistic", np.full((4, 2), math.nan), FastoptError, "y contains nan"),
        ("poisson", [[0, 1], [1, 0], [0, -1], [0, 0]], FastoptError, "y contains -1.*, >= 0"),
        ("poisson", np.full((4, 2), math.inf), FastoptError, "y contains inf"),
        ("poisson", np.full((4, 2), math.nan), FastoptError, "y contains nan"),
    ],
)
@pytest.mark.parametrize("method", ["loss_and_grad", "score"])
def test_bad_y(method, loss, y, error, message):
    with pytest.raises(error, match=message):
        getattr(MLP([3, 2], loss=loss), method)(GOOD, X4, y)


def test_flat_y_is_not_broadcast():
    with pytest.raises(FastoptError, match=r"y has shape \(1,\); \(4,\) or \(4, 1\) is needed"):
        GLM(3).loss_and_grad(GLM(3).init(), X4, [1.0])


def test_boolean_classes_are_accepted():
    model = GLM(3, "softmax", 2)
    X, y = make_data(model, 6)
    params = make_params(model)
    loss, grads = model.loss_and_grad(params, X, y)
    loss_bool, grads_bool = model.loss_and_grad(params, X, y.astype(bool))
    assert loss_bool == loss
    np.testing.assert_array_equal(grads_bool["w1"], grads["w1"])
    assert model.score(params, X, y.astype(bool)) == model.score(params, X, y)
