"""minimize: equal to a loop by hand; when it stops; its result; KeyboardInterrupt; bad input."""

import math
import os
import signal
import sys
import threading
import time
from contextlib import contextmanager, nullcontext

import numpy as np
import pytest
from problems import MINIMUM, ZERO, A, X, b, quadratic, squared, y
from scipy.optimize import OptimizeResult
from support import bits, printed

import fastopt
from fastopt import Batches, FastoptError, minimize, schedules
from fastopt.optimizers.base.optimizer import Optimizer
from fastopt.optimizers.conventions import _CONVENTIONS


class Scripted:
    """A function that returns these losses, one for each call, and gradients of 0."""

    def __init__(self, losses):
        self.losses = list(losses)
        self.calls = 0

    def __call__(self, x, *_batch):
        loss = self.losses[min(self.calls, len(self.losses) - 1)]
        self.calls += 1
        if isinstance(loss, type):
            raise loss
        return loss, np.zeros_like(x)


# Equal to a loop by hand

METHODS = [(convention, name) for convention, rules in _CONVENTIONS.items() for name in rules]


NO_LR = [(convention, "none") for convention in _CONVENTIONS] + [
    ("dl4j", "adadelta"),
    ("textbook", "adadelta"),
]


@pytest.mark.filterwarnings("ignore:eps is 0")  # the textbook's AdaMax has no epsilon
@pytest.mark.parametrize(("convention", "method"), METHODS)
def test_equals_the_loop_by_hand(convention, method):
    schedule = None if (convention, method) in NO_LR else schedules.cosine(0.05, total_steps=20)
    options = {"weight_decay": 0.01} if method == "adamw" else {}
    x0 = np.array([0.3, 0.2, -0.1])
    result = minimize(
        squared,
        x0,
        (X, y),
        method=method,
        convention=convention,
        batch_size=5,
        epochs=3,
        seed=4,
        schedule=schedule,
        **options,
    )

    if schedule:
        options["lr"] = schedule
    w = x0.copy()
    opt = fastopt.create(method, w, convention, **options)
    batches = Batches(X, y, batch_size=5, seed=4)
    ahead = (convention, method) == ("textbook", "nesterov")
    losses = []
    for _ in range(3):
        total = 0.0
        for batch in batches:
            with opt.extrapolated() if ahead else nullcontext():
                loss, grad = squared(w, *batch)
            opt.step(grad)
            total += loss * len(batch[0])
        losses.append(total / 23)
    with opt.averaged() if opt.has_averages else nullcontext():
        assert bits(result.x) == bits(w)
    if opt.has_averages:
        return  # the losses are those of the average: see test_averaging_rules.py
    assert bits(result.jac) == bits(grad)
    assert result.nit == result.nfev == 15
    assert result.history["loss"] == pytest.approx(losses, rel=1e-14)
    assert result.fun == result.history["loss"][-1]


def test_textbook_nesterov_takes_its_gradient_ahead():
    """Compares with the formula D = a*D + lr*g(theta - a*D), theta -= D."""
    lr, a = 0.1, 0.7
    theta, D, losses = np.zeros(2), np.zeros(2), []
    for _ in range(30):
        loss, g = quadratic(theta - a * D)
        losses.append(loss)
        D = a * D + lr * g
        theta = theta - D
    result = minimize(
        quadratic, np.zeros(2), method="nesterov", convention="textbook", lr=lr, momentum=a,
        epochs=30,
    )  # fmt: skip
    np.testing.assert_allclose(result.x, theta, rtol=1e-14)
    np.testing.assert_allclose(result.history["loss"], losses, rtol=1e-13)
    elsewhere = minimize(quadratic, np.zeros(2), method="nesterov", lr=lr, momentum=a, epochs=30)
    assert abs(elsewhere.x - theta).max() > 1e-6


def test_without_data_fun_and_jac_are_those_at_x():
    for options in ({"method": "gd"}, {"method": "nesterov", "convention": "textbook"}):
        result = minimize(quadratic, np.zeros(2), lr=0.1, epochs=7, **options)
        loss, grad = quadratic(result.x)
        assert (result.fun, bits(result.jac)) == (loss, bits(grad))
        assert (result.nit, result.nfev, len(result.history["loss"])) == (7, 8, 7)
        assert result.history["loss"][0] == 0.0


@pytest.mark.parametrize("method", ["gd", "momentum", "nesterov", "adam"])
@pytest.mark.parametrize("convention", ["torch", "textbook"])
def test_convergence_to_the_minimum_of_a_quadratic(method, convention):
    schedule = schedules.exponential(0.2, gamma=0.99)
    result = minimize(
        quadratic, np.zeros(2), method=method, convention=convention, schedule=schedule, epochs=1500
    )
    np.testing.assert_allclose(result.x, MINIMUM, rtol=1e-6)
    np.testing.assert_allclose(result.fun, quadratic(MINIMUM)[0], rtol=1e-12)


def test_bounds_of_the_rule():
    result = minimize(lambda x: (float(x @ x), 2.0 * x), np.ones(2), lr=0.1, bounds=(0.5, None))
    assert result.x.tolist() == [0.5, 0.5]


def test_rosenbrock():
    def rosenbrock(x):
        u, v = x
        loss = (1 - u) ** 2 + 100 * (v - u * u) ** 2
        return loss, np.array([-2 * (1 - u) - 400 * u * (v - u * u), 200 * (v - u * u)])

    result = minimize(rosenbrock, np.array([-1.2, 1.0]), lr=0.02, epochs=6000)
    np.testing.assert_allclose(result.x, 1.0, atol=1e-3)


def test_linear_regression_in_batches():
    start = {"w": np.zeros(3), "b": np.zeros(())}

    def loss_and_grads(params, X, y):
        residual = X @ params["w"] + params["b"] - y
        grads = {"w": X.T @ residual / len(y), "b": residual.mean()}
        return residual @ residual / (2 * len(y)), grads

    schedule = schedules.polynomial(0.1, total_steps=2000)
    result = minimize(
        loss_and_grads, start, (X, y), batch_size=6, epochs=500, seed=0, schedule=schedule
    )
    design = np.column_stack([X, np.ones(23)])
    expected = np.linalg.lstsq(design, y, rcond=None)[0]
    np.testing.assert_allclose([*result.x["w"], result.x["b"]], expected, atol=2e-3)
    assert result.jac.keys() == start.keys()
    assert not start["w"].any()


# Structures and dtypes of x and data


@pytest.mark.parametrize("dtype", ["f4", "f8", "i2", "u8"])
def test_x0_is_copied_and_integers_become_float64(dtype):
    x0 = np.ones((2, 2), dtype, order="F")
    result = minimize(lambda x: ((x * x).sum(), 2 * x), x0, epochs=3, lr=0.1)
    assert result.x.dtype == (dtype if dtype[0] == "f" else "f8")
    assert (x0 == 1).all()
    assert (result.x != 1).all()


def test_list_and_dict_equal_the_array():
    x0 = np.array([0.5, -0.25])
    one = minimize(quadratic, x0, epochs=9, lr=0.1)

    def parts(x):
        loss, grad = quadratic(np.concatenate(x))
        return loss, (grad[:1].copy(), grad[1:].copy())

    listed = minimize(parts, [x0[:1], x0[1:]], epochs=9, lr=0.1)
    assert isinstance(listed.x, list)
    assert bits(np.concatenate(listed.x)) == bits(one.x)
    assert bits(np.concatenate(listed.jac)) == bits(one.jac)

    def named(x):
        loss, (first, second) = parts(list(x.values()))
        return loss, {"second": second, "first": first}

    mapped = minimize(named, {"first": x0[:1], "second": x0[1:]}, epochs=9, lr=0.1)
    assert list(mapped.x) == ["first", "second"]
    assert bits(np.concatenate(list(mapped.x.values()))) == bits(one.x)


def test_data_as_array_tuple_and_batches():
    def mean(x, X):
        return ((x - X) ** 2).mean(), 2 * (x - X.mean(axis=0)) / 3

    options = {"epochs": 4, "lr": 0.1}
    results = [
        minimize(mean, np.zeros(3), data, **options, **more)
        for data, more in [
            (X, {"batch_size": 4, "seed": 8}),
            ((X,), {"batch_size": 4, "seed": 8}),
            (Batches(X, batch_size=4, seed=8), {}),
        ]
    ]
    assert len({str(bits([r.x, r.fun, r.history["loss"]])) for r in results}) == 1


def test_default_is_the_full_batch_without_a_copy():
    seen = []

    def look(x, X, y):
        seen.append((np.shares_memory(X, data[0]), y.tolist()))
        return squared(x, X, y)

    data = X.copy(), y.copy()
    result = minimize(look, np.zeros(3), data, method="gd", epochs=2)
    assert seen == [(True, y.tolist())] * 2
    assert (
        result.fun
        == squared(minimize(squared, np.zeros(3), data, method="gd", epochs=1).x, X, y)[0]
    )


def test_batches_continue_from_their_position():
    batches = Batches(X, y, batch_size=5, seed=4)
    first = minimize(squared, np.zeros(3), batches, method="sgd", lr=0.1, max_steps=7)
    assert (batches.epoch, batches.position) == (1, 2)
    second = minimize(squared, first.x, batches, method="sgd", lr=0.1, epochs=2)
    assert second.nit == 3 + 5
    assert len(second.history["loss"]) == 2
    uninterrupted = minimize(
        squared, np.zeros(3), (X, y), method="sgd", lr=0.1, epochs=3, batch_size=5, seed=4
    )
    assert bits(uninterrupted.x) == bits(second.x)


def test_mean_loss_weighs_batches_by_rows():
    values = np.arange(7.0)
    result = minimize(
        lambda _, v: (v.mean(), np.zeros(1)), np.zeros(1), values, batch_size=3, epochs=2, seed=1
    )
    assert result.history["loss"] == pytest.approx([3.0, 3.0], rel=1e-15)
    one = minimize(lambda *_: (0.1, np.zeros(1)), np.zeros(1), values, batch_size=50, epochs=1)
    assert one.fun == 0.1


def test_jac_is_a_copy():
    buffer = np.zeros(2)

    def fun(x):
        buffer[:] = A @ x - b
        return x @ A @ x / 2 - b @ x, buffer

    result = minimize(fun, np.zeros(2), epochs=2)
    assert not np.shares_memory(result.jac, buffer)
    assert (result.jac == buffer).all()


# When it stops


def test_budgets():
    def nit(**budget):
        result = minimize(squared, np.zeros(3), (X, y), batch_size=5, seed=0, **budget)
        assert (result.status, result.success) == (1, False)
        return result.nit, len(result.history["loss"]), result.message

    epochs = "Maximum number of epochs has been reached."
    steps = "Maximum number of steps has been reached."
    assert nit(epochs=2) == (10, 2, epochs)
    assert nit(max_steps=5) == (5, 1, steps)
    assert nit(max_steps=7) == (7, 2, steps)
    assert nit(max_steps=7, epochs=1) == (5, 1, epochs)
    assert nit(max_steps=7, epochs=3) == (7, 2, steps)
    result = minimize(Scripted([1.0]), np.zeros(1))
    assert (result.nit, result.message) == (1000, "Maximum number of iterations has been reached.")


def test_tol_without_data_ends_before_the_step_that_is_not_needed():
    result = minimize(Scripted([7.0] + [5.0] * 99), np.zeros(1), tol=0.1, patience=2)
    assert (result.nit, result.nfev, result.njev) == (4, 5, 5)
    assert (result.status, result.success) == (0, True)
    assert result.history["loss"] == [7.0, 5.0, 5.0, 5.0]
    assert result.fun == 5.0


def test_tol_does_not_count_an_incomplete_epoch():
    """The epoch that max_steps cuts short has a higher mean loss than the one before."""
    losses = [10.0 - i - epoch for epoch in range(4) for i in range(5)]
    result = minimize(
        Scripted(losses), np.zeros(1), X, batch_size=5, tol=0.01, patience=1, max_steps=17
    )
    assert (result.nit, result.status) == (17, 1)
    assert result.history["loss"][-1] > result.history["loss"][-2]
    result = minimize(Scripted([1.0] * 30), np.zeros(1), X, batch_size=5, tol=0.01, patience=1)
    assert (result.nit, result.nfev, result.status) == (15, 20, 0)


def test_tol_met_with_the_last_epoch_of_the_budget():
    for epochs, expected in ((2, (0, True)), (1, (1, False))):
        result = minimize(Scripted([3.0]), np.zeros(1), tol=0.1, patience=1, epochs=epochs)
        assert (result.status, result.success) == expected


# Success is true


def test_momentum_does_not_converge_where_it_passes_through_losses_that_are_equal():
    """It used to stop at step 9 with x = -.27."""
    result = minimize(
        lambda x: (float(x @ x), 2 * x), np.array([1.0]), method="momentum", lr=0.1, tol=1e-9
    )
    assert (result.status, result.success) == (0, True)
    assert abs(result.x[0]) < 3e-5
    assert abs(result.jac).max() <= 3.2e-5


def test_a_loss_that_rises_is_no_success():
    for tol in (None, 1e-6):
        result = minimize(
            lambda x: (float(x @ x), 2 * x), np.ones(1), method="gd", lr=1.05, tol=tol, epochs=200
        )
        assert result.fun > 1
        assert (result.status, result.success) == (1 if tol is None else 5, False)


def test_small_steps_are_no_success():
    result = minimize(quadratic, np.zeros(2), method="gd", lr=1e-12, tol=1e-6)
    assert (result.status, result.success) == (5, False)
    assert "max|g| is 9, gtol is 0.001" in result.message


@pytest.mark.parametrize("data", [None, np.ones((6, 1))])
@pytest.mark.parametrize("start", [0.075, 1.025])
def test_a_limit_cycle_is_no_success(data, start):
    """Each step is .05 times a sign, so the loss is equal in all epochs, far from the minimum."""

    def fun(x, *_batch):
        return float(x @ x), 2 * x

    options = {} if data is None else {"batch_size": 6, "seed": 0}
    result = minimize(
        fun, np.array([start]), data, method="rmsprop", alpha=0.0, lr=0.05, tol=1e-6, epochs=500,
        **options,
    )  # fmt: skip
    assert result.history["loss"][-1] == pytest.approx(result.history["loss"][-3])
    assert abs(result.x[0]) == pytest.approx(0.025, rel=1e-4)
    assert (result.status, result.success) == (5, False)
    assert "max|g| is 0.05" in result.message


def test_gtol_alone_ends_at_the_first_small_gradient():
    points = [np.zeros(2)]
    result = minimize(
        quadratic, points[0], method="gd", lr=0.1, gtol=1e-3,
        callback=lambda state: points.append(state.x.copy()),
    )  # fmt: skip
    small = [abs(quadratic(x)[1]).max() <= 1e-3 for x in points]
    assert small == [False] * (len(points) - 1) + [True]
    assert (result.nit, result.status, result.success) == (len(points) - 1, 0, True)
    assert result.nfev == result.nit + 1
    assert bits(result.x) == bits(points[-1])
    assert (result.fun, bits(result.jac)) == (quadratic(result.x)[0], bits(quadratic(result.x)[1]))


def test_gtol_with_a_full_batch():
    result = minimize(squared, np.zeros(3), (X, y), method="gd", lr=0.3, gtol=1e-6)
    loss, grad = squared(result.x, X, y)
    assert (result.fun, bits(result.jac)) == (loss, bits(grad))
    assert result.success
    assert abs(grad).max() <= 1e-6
    cut = minimize(squared, np.zeros(3), (X, y), method="gd", lr=0.3, gtol=1e-6, epochs=9)
    assert (cut.nit, cut.nfev, cut.status, cut.success) == (9, 10, 1, False)
    assert cut.fun == squared(cut.x, X, y)[0]


@pytest.mark.parametrize("options", [{}, {"tol": 1e-12}])
def test_a_point_that_is_worse_than_the_start_is_no_success(options):
    """A step that is too long leads to the maximum of a cosine."""
    result = minimize(
        lambda x: (float(np.cos(x).sum()), -np.sin(x)), np.array([0.5 * np.pi]), method="gd",
        lr=1.5 * np.pi, gtol=1e-9, epochs=9, **options,
    )  # fmt: skip
    assert result.fun == pytest.approx(1.0)
    assert not result.success


@pytest.mark.parametrize("method", ["gd", "nesterov"])
def test_the_look_ahead_point_is_not_what_is_judged(method):
    result = minimize(
        quadratic, np.zeros(2), method=method, convention="textbook", lr=0.1, gtol=1e-5
    )
    assert result.success
    assert abs(quadratic(result.x)[1]).max() <= 1e-5
    assert result.fun == quadratic(result.x)[0]


def test_mini_batches_look_at_all_rows_in_their_order_without_a_step():
    seen = []

    def fun(x, X, y):
        seen.append((len(y), x.copy(), X.flags.writeable))
        return squared(x, X, y)

    batches = Batches(X, y, batch_size=5, seed=0)
    schedule = schedules.exponential(0.3, gamma=0.98)
    result = minimize(fun, np.zeros(3), batches, method="gd", schedule=schedule, tol=1e-3)
    assert (result.status, result.success) == (0, True)
    assert result.nfev == len(seen) == result.nit + 5
    assert [n for n, *_ in seen[-5:]] == [5, 5, 5, 5, 3]
    assert all(bits(x) == bits(result.x) for _, x, _ in seen[-5:])
    assert not any(writeable for *_, writeable in seen[-5:])
    assert (batches.epoch, batches.position) == divmod(result.nit, 5)
    loss, grad = squared(result.x, X, y)
    assert result.fun == pytest.approx(loss, rel=1e-13)
    np.testing.assert_allclose(result.jac, grad, rtol=1e-9, atol=1e-15)
    assert abs(grad).max() <= np.sqrt(1e-3)


def test_mini_batches_look_again_after_patience_epochs():
    looks = []

    def fun(x, X):
        if not X.flags.writeable:  # rows that are not shuffled are read-only views
            looks.append(len(epochs))
        return 1.0, np.ones(1)

    epochs = []
    result = minimize(
        fun, np.zeros(1), X, batch_size=23, tol=0.1, patience=3, lr=0.0, seed=0,
        callback=lambda _: epochs.append(1),
    )  # fmt: skip
    assert looks == [7, 10, 13, 16, 19, 22, 25, 28, 31]
    assert (result.nit, result.nfev, result.status) == (31, 31 + 9, 5)
    assert "max|g| is 1, gtol is 0.316" in result.message


def test_row_sparse_and_missing_gradients_are_judged():
    start = [np.ones((3, 2)), np.ones(1)]
    result = minimize(fun_of_rows, start, method="gd", lr=0.5, gtol=1e-4)
    assert result.success
    assert abs(result.x[0][[0, 2]]).max() <= 1e-4
    assert (result.x[0][1] == 1).all()


def fun_of_rows(x):
    """Half the sum of squares of rows 0 and 2; row 0 is given in two parts."""
    rows = x[0][[0, 2, 0]] * [[0.5], [1.0], [0.5]]
    return float((x[0][[0, 2]] ** 2).sum()) / 2, [fastopt.RowSparse([0, 2, 0], rows), None]


# What is not finite


@pytest.mark.parametrize("loss", [math.nan, math.inf, -math.inf])
def test_a_loss_that_is_not_finite_ends_the_run(loss):
    result = minimize(Scripted([1.0, 2.0, loss, 3.0]), np.zeros(1), epochs=9)
    assert (result.status, result.success, result.nit, result.nfev) == (6, False, 2, 3)
    assert result.message == f"The loss is not finite after iteration 2: {loss}."
    assert bits(result.fun) == bits(loss)
    result = minimize(Scripted([loss]), np.zeros(1), tol=1e-3)
    assert (result.status, result.nit) == (6, 0)
    assert result.message == f"The loss is not finite at x0: {loss}."
    result = minimize(Scripted([1.0] * 7 + [loss]), np.zeros(1), X, batch_size=5, epochs=9)
    assert (result.status, result.success, result.nit) == (6, False, 10)
    assert result.message == f"The loss of epoch 2 is not finite: {loss}."


def test_skipped_steps_do_not_end_a_run():
    calls = []

    def fun(x):
        calls.append(1)
        return (math.nan, x * math.nan) if len(calls) == 3 else (float(x @ x), 2 * x)

    options = {"method": "gd", "lr": 0.1, "epochs": 6}
    result = minimize(fun, np.ones(2), on_nonfinite="skip", **options)
    assert (result.status, result.nit) == (1, 6)
    assert math.isnan(result.history["loss"][2])
    np.testing.assert_allclose(result.x, 0.8**5, rtol=1e-14)
    calls.clear()
    with pytest.raises(FastoptError, match="NaN or an infinity"):
        minimize(fun, np.ones(2), on_nonfinite="raise", **options)


@pytest.mark.parametrize(
    ("x0", "name"), [(np.zeros(1), "x"), ([np.zeros(1)], r"x[0]"), ({"w": np.zeros(1)}, "x['w']")]
)
def test_a_parameter_that_is_not_finite_ends_the_run(x0, name):
    def fun(x):
        bad = np.full(1, np.inf)
        return 1.0, bad if name == "x" else [bad] if name == "x[0]" else {"w": bad}

    result = minimize(fun, x0, method="gd", lr=0.1)
    assert (result.status, result.success, result.nit) == (6, False, 1)
    assert result.message == f"{name} is not finite after iteration 1."


def test_a_start_that_is_not_finite_is_no_success():
    for tol in (None, 1e-3):
        result = minimize(Scripted([1.0]), np.array([1.0, math.nan]), tol=tol)
        assert (result.status, result.success, result.nit) == (6, False, 0)
        assert result.message == "x is not finite at the start."


def test_large_parameters_are_finite():
    x0 = np.full(4, 1e308)  # their sum is infinite
    result = minimize(lambda x: (1.0, np.zeros_like(x)), x0, epochs=2)
    assert result.status == 1


# The best point


def test_restore_best():
    """The steps of gradient descent are too long, so that the second point is the best."""

    def fun(x):
        return float(abs(x).sum()), np.sign(x)

    start, options = np.array([0.5]), {"method": "gd", "lr": 0.4, "epochs": 8}
    last = minimize(fun, start, **options)
    best = minimize(fun, start, restore_best=True, **options)
    assert (last.x[0], best.x[0]) == pytest.approx((0.5, 0.1)) or best.fun < last.fun
    assert best.fun == min([*last.history["loss"], last.fun]) == abs(best.x[0])
    assert (best.jac, best.history["loss"]) == (np.sign(best.x), last.history["loss"])
    assert best.nfev == last.nfev


def test_restore_best_with_mini_batches_and_after_nan():
    points = []

    def fun(x, X):
        return (math.nan if len(points) > 5 else float((x - 1) @ (x - 1))), 2 * (x - 1)

    arguments = {"method": "momentum", "lr": 0.1, "batch_size": 12, "epochs": 20, "seed": 0}
    for restore in (False, True):
        points.clear()
        result = minimize(
            fun, np.zeros(3), X, restore_best=restore, **arguments,
            callback=lambda state: points.append((state.fun, state.x.copy(), state.jac.copy())),
        )  # fmt: skip
        assert result.status == 6
        finite = points[:6]
        loss, x, grad = min(finite, key=lambda point: point[0])
        assert x is not points[-1][1]
        if restore:
            assert (result.fun, bits(result.x), bits(result.jac)) == (loss, bits(x), bits(grad))
        else:
            assert bits(result.x) == bits(points[-1][1])


def test_restore_best_and_convergence():
    result = minimize(quadratic, np.zeros(2), lr=0.1, tol=1e-9, restore_best=True)
    assert result.success
    assert result.fun == quadratic(result.x)[0]
    assert result.fun <= min(result.history["loss"]) + 1e-9 * abs(result.fun)


def test_nan_gradients_reach_x():
    result = minimize(lambda _: (1.0, np.full(1, np.nan)), np.zeros(1), epochs=1)
    assert np.isnan(result.x).all()
    assert (result.status, result.success, result.fun) == (6, False, 1.0)


def test_callback_is_called_after_each_epoch():
    seen = []

    def callback(state):
        assert isinstance(state, OptimizeResult)
        seen.append((state.nit, state.nfev, state.fun, state.x.copy(), state.jac.copy()))
        assert len(state.history["loss"]) == len(seen)

    result = minimize(
        squared, np.zeros(3), (X, y), batch_size=5, max_steps=12, seed=0, callback=callback
    )
    assert [entry[:2] for entry in seen] == [(5, 5), (10, 10), (12, 12)]
    assert [entry[2] for entry in seen] == result.history["loss"]
    assert bits(seen[-1][3:]) == bits([result.x, result.jac])


@pytest.mark.parametrize("how", ["True", "numpy", "StopIteration"])
def test_callback_stops(how):
    def callback(state):
        if state.nit < 10:
            return np.False_ if how == "numpy" else None
        if how == "StopIteration":
            raise StopIteration
        return np.True_ if how == "numpy" else True

    result = minimize(squared, np.zeros(3), (X, y), batch_size=5, callback=callback)
    assert (result.nit, result.status, result.success) == (10, 2, False)
    assert result.message == "Stopped by callback."


def test_a_callback_that_is_false_as_a_bool():
    class Recorder(list):
        def __call__(self, state):
            self.append(state.nit)

    callback, progress = Recorder(), Recorder()
    minimize(quadratic, np.zeros(2), epochs=3, callback=callback, progress=progress)
    assert callback == progress == [1, 2, 3]


def test_callback_and_tol_in_the_same_epoch():
    result = minimize(
        Scripted([1.0]), np.zeros(1), tol=0.1, patience=1, callback=lambda state: state.nit == 2
    )
    assert (result.nit, result.status) == (2, 0)


# Ctrl-C


def interrupting(at, how, fun=squared):
    """Return fun, interrupted in call number `at`, and a list of the points of its calls."""
    calls = []

    def call(x, *batch):
        calls.append(x.copy())
        if len(calls) == at:
            if how == "raise":
                raise KeyboardInterrupt
            signal.raise_signal(signal.SIGINT)
        return fun(x, *batch)

    return call, calls


@pytest.mark.parametrize("how", ["raise", "signal"])
@pytest.mark.parametrize("method", ["adam", "nesterov"])
@pytest.mark.parametrize("at", [1, 2, 5, 6, 8])
def test_interrupt_in_fun(at, method, how):
    options = {"method": method, "convention": "textbook", "lr": 0.01}
    batches = Batches(X, y, batch_size=5, seed=4)
    fun, calls = interrupting(at, how)
    result = minimize(fun, np.ones(3), batches, **options)
    assert (result.status, result.success, result.message) == (3, False, "Interrupted.")
    assert len(calls) == at
    assert result.nit == result.nfev == at - 1
    assert (batches.epoch, batches.position) == divmod(at - 1, 5)  # the batch counts as not used
    if at == 1:
        assert bits(result.x) == bits(np.ones(3))
        assert math.isnan(result.fun)
        assert result.jac is None
        assert result.history == {"loss": [], "lr": [], "seconds": []}
    else:
        uninterrupted = minimize(
            squared, np.ones(3), (X, y), batch_size=5, seed=4, max_steps=at - 1, **options
        )
        for name in ("x", "fun", "jac"):
            assert bits(result[name]) == bits(uninterrupted[name])
        assert result.history["loss"] == uninterrupted.history["loss"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.parametrize("how", ["raise", "signal"])
def test_interrupt_without_data(how):
    fun, _ = interrupting(4, how, quadratic)
    result = minimize(fun, np.zeros(2), lr=0.1)
    expected = minimize(quadratic, np.zeros(2), lr=0.1, epochs=3)
    assert bits(result.x) == bits(expected.x)
    assert result.fun == expected.history["loss"][-1]
    assert (result.nit, result.nfev, result.status) == (3, 3, 3)


def test_interrupt_in_the_last_evaluation():
    fun, _ = interrupting(4, "raise", quadratic)
    result = minimize(fun, np.zeros(2), epochs=3)
    assert (result.nit, result.status, result.success) == (3, 3, False)


@pytest.mark.parametrize("name", ["callback", "progress"])
def test_interrupt_in_callback(name):
    def call(state):
        if state.nit == 10:
            signal.raise_signal(signal.SIGINT)

    result = minimize(squared, np.zeros(3), (X, y), batch_size=5, **{name: call})
    assert (result.nit, result.status, len(result.history["loss"])) == (10, 3, 2)


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("data", [None, (X, y)])
def test_a_signal_during_a_step_takes_effect_after_it(data, when, monkeypatch):
    step = Optimizer.step

    def interrupted_step(self, grads):
        if when == "before" and self.step_count == 2:
            signal.raise_signal(signal.SIGINT)
        step(self, grads)
        if when == "after" and self.step_count == 3:
            signal.raise_signal(signal.SIGINT)

    fun = squared if data else lambda x: squared(x, X, y)
    uninterrupted = minimize(fun, np.zeros(3), data, epochs=3)
    monkeypatch.setattr(Optimizer, "step", interrupted_step)
    for budget in ({"epochs": 30}, {"epochs": 3}, {"max_steps": 3}):  # the last step too
        result = minimize(fun, np.zeros(3), data, **budget)
        assert (result.nit, result.status, result.success) == (3, 3, False)
        assert bits(result.x) == bits(uninterrupted.x)
        assert len(result.history["loss"]) == 3


def test_a_signal_while_parameters_are_at_the_look_ahead_point(monkeypatch):
    extrapolated = Optimizer.extrapolated

    @contextmanager
    def interrupted(self):
        with extrapolated(self):
            if self.step_count == 2:
                signal.raise_signal(signal.SIGINT)
            yield

    options = {"method": "nesterov", "convention": "textbook"}
    uninterrupted = minimize(quadratic, np.zeros(2), epochs=2, **options)
    monkeypatch.setattr(Optimizer, "extrapolated", interrupted)
    result = minimize(quadratic, np.zeros(2), **options)
    assert (result.nit, result.status) == (2, 3)
    assert bits(result.x) == bits(uninterrupted.x)


def test_a_signal_from_another_thread_ends_the_run_within_a_second():
    pressed = []

    def press():
        pressed.append(time.monotonic())
        os.kill(os.getpid(), signal.SIGINT)

    timer = threading.Timer(0.1, press)
    timer.start()
    result = minimize(squared, np.zeros(3), (X, y), batch_size=1, epochs=10**9)
    assert time.monotonic() - pressed[0] < 1.0
    timer.join()
    assert result.status == 3
    assert result.nit > 0
    loss_count = len(result.history["loss"])
    assert loss_count == -(-result.nit // 23)


def test_an_interrupt_that_fun_catches_ends_the_run():
    def bilevel(x):
        inner = minimize(interrupting(2, "signal", quadratic)[0], np.zeros(2))
        assert inner.status == 3
        return quadratic(x)

    result = minimize(bilevel, np.zeros(2))
    assert (result.nit, result.nfev, result.status) == (0, 1, 3)


def test_a_handler_of_the_user_is_left_in_place():
    came = []

    def handler(number, _frame):
        came.append(number)

    before = signal.signal(signal.SIGINT, handler)
    try:
        result = minimize(interrupting(2, "signal", quadratic)[0], np.zeros(2), epochs=3)
        assert signal.getsignal(signal.SIGINT) is handler
    finally:
        signal.signal(signal.SIGINT, before)
    assert came == [signal.SIGINT]
    assert (result.status, result.nit) == (1, 3)


def test_a_handler_that_a_callback_installs_stays_after_the_run():
    def handler(_number, _frame):
        raise AssertionError

    def install(_state):
        signal.signal(signal.SIGINT, handler)

    try:
        minimize(quadratic, np.zeros(2), epochs=2, callback=install)
        assert signal.getsignal(signal.SIGINT) is handler
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def test_in_another_thread():
    results = []
    thread = threading.Thread(
        target=lambda: results.append(minimize(quadratic, np.zeros(2), epochs=3))
    )
    thread.start()
    thread.join()
    assert results[0].status == 1


def test_other_exceptions_are_passed_on():
    batches = Batches(X, batch_size=5, seed=0)
    with pytest.raises(ZeroDivisionError):
        minimize(Scripted([1.0] * 7 + [ZeroDivisionError]), np.zeros(1), batches)
    assert (batches.epoch, batches.position) == (1, 2)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


# Learning rates and history


def test_history():
    schedule = schedules.exponential(0.1, gamma=0.5)
    result = minimize(
        squared, np.zeros(3), (X, y), batch_size=5, seed=0, max_steps=12, schedule=schedule,
        callback=lambda _: time.sleep(0.05),
    )  # fmt: skip
    assert list(result.history) == ["loss", "lr", "seconds"]
    assert result.history["lr"] == [schedule(1), schedule(6), schedule(11)]
    seconds = result.history["seconds"]
    assert 0 < seconds[0] < seconds[1] < seconds[2] < seconds[0] + 0.05
    assert set(result) == {
        "x", "fun", "jac", "nit", "nfev", "njev", "success", "status", "message", "history",
    }  # fmt: skip


def test_lr_of_the_convention_is_the_default():
    assert minimize(quadratic, np.zeros(2), epochs=1).history["lr"] == [0.001]
    result = minimize(quadratic, np.zeros(2), epochs=1, method="NESTEROVS", convention="dl4j")
    assert result.history["lr"] == [0.1]


def test_plateau_gets_the_mean_loss_of_each_epoch():
    losses = [4.0, 2.0, 2.0, 2.0, 1.0, 1.0, 1.0, 1.0]
    expected, alone = [], schedules.ReduceOnPlateau(0.1, patience=1)
    for loss in losses:
        expected.append(alone(1))
        alone.report(loss)
    assert len(set(expected)) == 3

    schedule = schedules.ReduceOnPlateau(0.1, patience=1)
    by_batch = [loss + up for loss in losses for up in (-1.0, 0.0, 1.0)]
    result = minimize(
        Scripted(by_batch), np.zeros(1), np.zeros(9), batch_size=3, epochs=8, schedule=schedule
    )
    assert result.history["loss"] == losses
    assert result.history["lr"] == expected
    assert schedule.state_dict() == alone.state_dict()


def test_an_incomplete_epoch_is_not_reported_to_plateau():
    reported = []

    class Listener(schedules.ReduceOnPlateau):
        def report(self, metric):
            reported.append(metric)

    minimize(
        Scripted([1.0]), np.zeros(1), np.zeros(9), batch_size=3, max_steps=8, schedule=Listener(0.1)
    )
    assert reported == [1.0, 1.0]


@pytest.mark.parametrize("terminal", [False, True])
def test_progress_line(terminal, capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal, raising=False)
    result = minimize(quadratic, np.zeros(2), epochs=50, lr=0.1, progress=True)
    out, err = capsys.readouterr()
    assert out == ""
    first, *between, last = err.split("\r")[1:] if terminal else err.splitlines()
    assert first.startswith("iteration 1/50  loss 0  lr 0.1  0.0 s")
    assert last.startswith(f"iteration 50/50  loss {result.history['loss'][-1]:.6g}  lr 0.1")
    assert len(between) < 40
    assert err.endswith("\n")


def test_progress_off(capsys):
    minimize(quadratic, np.zeros(2), epochs=2, progress=False)
    assert capsys.readouterr().err == ""


# Bad input


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"fun": None}, TypeError, "fun is None; a callable"),
        ({"callback": 1}, TypeError, "callback is 1; a callable"),
        ({"progress": "yes"}, TypeError, "progress is 'yes'"),
        ({"x0": 1.0}, TypeError, "x0 is a float; a numpy.ndarray"),
        ({"x0": [1.0, 2.0]}, TypeError, r"x0\[0\] is a float; a numpy.ndarray"),
        ({"x0": [{"params": ZERO}]}, TypeError, r"x0\[0\] is a dict"),
        ({"x0": {"w": None}}, TypeError, r"x0\['w'\] is a NoneType"),
        ({"x0": np.ma.array(ZERO)}, TypeError, "x0 is a masked array"),
        ({"x0": ZERO.astype(complex)}, TypeError, "x0 has dtype .*complex128"),
        ({"x0": ZERO.astype(bool)}, TypeError, "x0 has dtype .*bool"),
        ({"x0": ZERO.astype(">f8")}, TypeError, "x0 has dtype >f8"),
        ({"data": [1, 2]}, TypeError, "data is a list; an array, a tuple of arrays or a Batches"),
        ({"data": (X, y[:3])}, FastoptError, r"arrays\[1\] has 3 rows"),
        ({"data": ()}, FastoptError, "at least one array"),
        ({"batch_size": 3}, FastoptError, "batch_size is 3; .* without data"),
        ({"seed": 3}, FastoptError, "seed is 3; .* without data"),
        ({"data": Batches(X), "batch_size": 3}, FastoptError, "batch_size is 3; .* with a Batches"),
        ({"data": Batches(X), "seed": 3}, FastoptError, "seed is 3; .* with a Batches"),
        ({"epochs": 0}, FastoptError, "epochs is 0; allowed: 1 or more"),
        ({"epochs": 2.5}, TypeError, r"epochs is 2\.5"),
        ({"max_steps": True}, TypeError, "max_steps is True"),
        (
            {"lr": 0.1, "schedule": schedules.constant(1.0)},
            FastoptError,
            "lr is 0.1; it must be None with a",
        ),
        ({"schedule": 0.1}, TypeError, r"schedule is 0\.1; a callable"),
        ({"lr": -1.0}, FastoptError, r"lr is -1\.0"),
        ({"tol": -1.0}, FastoptError, r"tol is -1\.0"),
        ({"tol": math.nan}, FastoptError, "tol is nan"),
        ({"tol": 0.1, "patience": 0}, FastoptError, "patience is 0; allowed: 1 or more"),
        ({"patience": 3}, FastoptError, "patience is 3; .* without tol"),
        ({"method": "adm"}, FastoptError, "method is 'adm'; allowed"),
        ({"method": None}, TypeError, "method is None; a string"),
        ({"convention": "jax"}, FastoptError, "convention is 'jax'"),
        ({"gtol": -1.0}, FastoptError, r"gtol is -1\.0"),
        ({"data": X, "batch_size": 5, "gtol": 0.1}, FastoptError, "gtol is 0.1 and tol None with"),
        ({"gtol": 0.1, "patience": 3}, FastoptError, "patience is 3; .* without tol"),
        ({"restore_best": 1}, TypeError, "restore_best is 1; True or False"),
        ({"beta": 0.9}, TypeError, "'beta'.*allowed: lr, .*betas.*of minimize: data, .*epochs"),
        ({"options": {"lr": 0.1}}, TypeError, r"no argument 'options'.*minimize\(fun, x0, lr=0\.1"),
        ({"maxiter": 9}, TypeError, "'maxiter': that is epochs, or max_steps.* tol, gtol"),
        ({"jac": True}, TypeError, r"'jac': fun returns the pair \(loss, grad\)"),
        ({"bounds": [(0, 1)]}, TypeError, r"bounds is \[\(0, 1\)\]; a pair \(low, high\)"),
        ({"constraints": ()}, TypeError, "'constraints': constraints are not supported"),
        ({"args": (1,)}, TypeError, r"'args': .*data=.*lambda x: fun\(x, \*args\)"),
        ({"learning_rate": 0.1}, TypeError, "'learning_rate'.*lr, "),
        ({"method": "ksgd", "maxiter": 3}, TypeError, "'maxiter': that is epochs"),
        ({"maximize": True}, FastoptError, "maximize=True in minimize"),
        ({"zero_grads": True}, FastoptError, "zero_grads=True in minimize"),
    ],
)
def test_bad_input_is_refused(change, error, message):
    arguments = {"fun": quadratic, "x0": ZERO, "epochs": 1, **change}
    with pytest.raises(error, match=message):
        minimize(
            arguments.pop("fun"), arguments.pop("x0"), arguments.pop("data", None), **arguments
        )


@pytest.mark.parametrize(
    ("returned", "error", "message"),
    [
        (None, TypeError, r"fun returned None; a pair \(loss, grad\)"),
        (1.0, TypeError, r"fun returned 1\.0; a pair"),
        ((1.0, ZERO, 3), TypeError, r"fun returned \(1\.0, .* 3\); a pair"),
        ((ZERO, 1.0), TypeError, r"fun returned the loss array.* a number"),
        ((np.ones(1), ZERO), TypeError, "fun returned the loss array"),
        ((None, ZERO), TypeError, "fun returned the loss None"),
        (("1", ZERO), TypeError, "fun returned the loss '1'"),
        ((1j, ZERO), TypeError, "fun returned the loss 1j"),
        ((np.complex64(1), ZERO), TypeError, r"fun returned the loss np\.complex64.* a number"),
        ((np.array("1"), ZERO), TypeError, "fun returned the loss array"),
        ((10**400, ZERO), FastoptError, "fun returned the loss 1000.*float64"),
        ((1.0, None), TypeError, r"fun returned \(1\.0, None\); gradients in the structure of x"),
        ((1.0, np.zeros(3)), FastoptError, r"has shape \(3,\); \(2,\) is needed"),
        ((1.0, [0.0, 0.0]), TypeError, "gradient of parameter 0 is a list"),
        ((1.0, ZERO.astype(int)), TypeError, "int64"),
    ],
)
def test_bad_return_values_of_fun_are_refused(returned, error, message):
    with pytest.raises(error, match=message):
        minimize(lambda _: returned, np.ones(2))


@pytest.mark.parametrize("loss", [1, True, np.float32(1.0), np.array(1.0), np.int8(1)])
def test_losses_that_are_numbers(loss):
    result = minimize(lambda _: [loss, np.zeros(1)], np.zeros(1), epochs=1)
    assert result.fun == 1.0
    assert type(result.fun) is float


def test_import_does_not_import_scipy():
    code = "import sys, fastopt; print('scipy' in sys.modules)"
    assert printed(code) == "False"
