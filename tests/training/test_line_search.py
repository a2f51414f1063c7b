"""minimize(line_search=True): gradient descent with a line search."""

import numpy as np
import pytest
from problems import MINIMUM, ZERO, X, quadratic, y
from support import bits

from fastopt import FastoptError, minimize, schedules


def rosenbrock(x):
    u, v = x
    gradient = np.array([-2 * (1 - u) - 400 * u * (v - u * u), 200 * (v - u * u)])
    return (1 - u) ** 2 + 100 * (v - u * u) ** 2, gradient


def test_each_step_of_a_line_search_satisfies_the_wolfe_conditions():
    points = []
    result = minimize(
        rosenbrock, np.array([-1.2, 1.0]), method="GD", line_search=True, epochs=40,
        callback=lambda state: points.append(state.x.copy()),
    )  # fmt: skip
    points.insert(0, np.array([-1.2, 1.0]))
    for before, after, lr in zip(points, points[1:], result.history["lr"], strict=False):
        loss, g = rosenbrock(before)
        new_loss, new_g = rosenbrock(after)
        np.testing.assert_array_equal(after, before - lr * g)
        assert new_loss <= loss - 1e-4 * lr * (g @ g)
        assert abs(new_g @ g) <= 0.9 * (g @ g)
    losses = [*result.history["loss"], result.fun]
    assert losses == [rosenbrock(x)[0] for x in points]
    assert bits(result.jac) == bits(rosenbrock(result.x)[1])
    assert (result.nit, result.status, result.success) == (40, 1, False)


def test_a_line_search_converges_to_the_minimum():
    result = minimize(
        quadratic, np.zeros(2), method="gd", line_search=True, tol=1e-14, convention="optax"
    )
    np.testing.assert_allclose(result.x, MINIMUM, rtol=1e-6)
    assert (result.status, result.success) == (0, True)
    assert result.nit < 60
    assert result.nfev < 3 * result.nit + 20


@pytest.mark.parametrize("gtol", [None, 1e-2, 1e-6])
def test_a_line_search_succeeds_when_the_gradient_is_small(gtol):
    result = minimize(quadratic, np.zeros(2), method="gd", line_search=True, gtol=gtol)
    limit = 1e-5 * abs(result.fun) if gtol is None else gtol
    assert (result.status, result.success) == (0, True)
    assert abs(result.jac).max() <= limit
    assert abs(quadratic(result.x)[1]).max() <= limit
    assert "Optimization terminated successfully" in result.message


def test_no_further_step_from_the_minimum_is_a_success():
    """The losses are equal to the last digit while the gradient is not yet 0."""
    result = minimize(
        lambda x: (1e9 + float(x @ x), 2 * x), np.full(2, 1e-3), method="gd", line_search=True,
        tol=1e-14, gtol=1e-2,
    )  # fmt: skip
    assert (result.status, result.success) == (0, True)


def test_a_line_search_over_a_full_batch_in_any_structure():
    def parts(x, X, y):
        residual = X @ x["w"] + x["b"] - y
        grads = {"frozen": None, "b": residual.mean(), "w": X.T @ residual / len(y)}
        return residual @ residual / (2 * len(y)), grads

    start = {"w": np.zeros(3), "frozen": np.ones((2, 2), np.float32), "b": np.zeros(())}
    result = minimize(parts, start, (X, y), method="gd", line_search=True, epochs=300)
    design = np.column_stack([X, np.ones(23)])
    expected = np.linalg.lstsq(design, y, rcond=None)[0]
    np.testing.assert_allclose([*result.x["w"], result.x["b"]], expected, rtol=1e-3)
    assert (result.status, result.success) == (0, True)
    assert max(abs(g).max() for g in (result.jac["w"], result.jac["b"])) <= 1e-5
    assert (result.x["frozen"] == 1).all()
    listed = minimize(
        lambda x, *batch: (lambda f, g: (f, list(g.values())))(
            *parts({"w": x[2], "frozen": x[0], "b": x[1]}, *batch)
        ),
        [start["frozen"], start["b"], start["w"]], (X, y), method="gd", line_search=True, epochs=9,
    )  # fmt: skip
    assert listed.nit == 9
    assert listed.history["loss"][:2] == result.history["loss"][:2]


def test_a_function_that_reuses_its_gradient_array():
    buffer = np.zeros(2)

    def reused(x):
        loss, buffer[...] = quadratic(x)
        return loss, buffer

    options = {"method": "gd", "line_search": True, "epochs": 8}
    assert bits(minimize(reused, np.zeros(2), **options).x) == bits(
        minimize(quadratic, np.zeros(2), **options).x
    )


def test_a_failed_line_search_has_status_4():
    result = minimize(
        lambda x: (x @ x, -2 * x), np.ones(2), method="gd", line_search=True, epochs=5
    )
    assert (result.status, result.success, result.nit) == (4, False, 0)
    assert "The line search found no step" in result.message
    assert "max|g| is 2, gtol is 1e-05" in result.message
    assert bits(result.x) == bits(np.ones(2))
    assert result.fun == 2.0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"method": "adam"}, "method is 'adam' with line_search=True; allowed: 'gd'"),
        ({"method": "momentum"}, "method is 'momentum' with line_search"),
        ({"lr": 0.1}, "lr is 0.1; it cannot be given with line_search"),
        (
            {"schedule": schedules.constant(0.1)},
            "schedule is .*; it cannot be given with line_search",
        ),
        ({"weight_decay": 0.1}, "weight_decay is 0.1; it cannot be given with line_search"),
        ({"checkpoint": "x.npz"}, "checkpoint is 'x.npz'; it cannot be given with line_search"),
        ({"data": X, "batch_size": 5}, "batch_size is 5 with line_search"),
    ],
)
def test_arguments_that_a_line_search_excludes_are_refused(change, message):
    arguments = {"method": "gd", "line_search": True, **change}
    with pytest.raises(FastoptError, match=message):
        minimize(lambda x, *_: (0.0, x), np.zeros(2), **arguments)
    with pytest.raises(TypeError, match="line_search is 1"):
        minimize(quadratic, np.zeros(2), line_search=1)


@pytest.mark.parametrize("line_search", [True, False])
@pytest.mark.parametrize(
    ("returned", "error", "message"),
    [
        ({"w": ZERO}, FastoptError, r"gradients have keys \['w'\]; \['w', 'b'\] are needed"),
        ({"w": ZERO, "c": ZERO}, FastoptError, r"gradients have keys \['w', 'c'\]"),
        ([ZERO, ZERO], TypeError, "gradients are a list; a dict is needed"),
        (ZERO, TypeError, "gradients are a ndarray; a dict is needed"),
        (None, TypeError, r"fun returned \(1\.0, None\); gradients"),
        ({"w": ZERO, "b": np.ones(3)}, FastoptError, r"parameter 'b' has shape \(3,\)"),
        ({"w": ZERO, "b": "x"}, TypeError, "the gradient of parameter 'b' is a str"),
    ],
)
def test_gradients_of_another_structure_are_refused(line_search, returned, error, message):
    start = {"w": np.ones(2), "b": np.ones(2)}
    with pytest.raises(error, match=message):
        minimize(lambda x: (1.0, returned), start, method="gd", line_search=line_search, epochs=1)
