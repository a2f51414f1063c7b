"""minimize with rules that average the parameters: the result is the average x, not y."""

import numpy as np
import pytest
from problems import A, X, b, quadratic, squared, y
from support import bits

from fastopt import ScheduleFreeAdamW, ScheduleFreeSGD, minimize
from fastopt.training.ending import INTERRUPTED

RULES = {"schedule_free_sgd": ScheduleFreeSGD, "schedule_free_adamw": ScheduleFreeAdamW}
every_rule = pytest.mark.parametrize("method", RULES)


def by_hand(method, x0, steps):
    """Return y and x after each of the steps."""
    w, path = np.array(x0, float), []
    opt = RULES[method](w, lr=0.1)
    for _ in range(steps):
        opt.step(quadratic(w)[1])
        with opt.averaged():
            path.append(w.copy())
    return path


@every_rule
def test_result_and_callbacks_are_at_x(method):
    path, seen = by_hand(method, [1.0, 2.0], 20), []
    result = minimize(
        quadratic,
        np.array([1.0, 2.0]),
        method=method,
        lr=0.1,
        epochs=20,
        callback=lambda state: seen.append(state.x.copy()),
    )
    assert bits(seen) == bits(path)
    assert bits(result.x) == bits(path[-1])
    loss, grad = quadratic(path[-1])
    assert result.fun == loss
    assert bits(result.jac) == bits(grad)


@every_rule
def test_criteria_are_of_x(method):
    result = minimize(quadratic, np.zeros(2), method=method, lr=0.3, gtol=1e-3, epochs=20_000)
    assert result.success
    assert np.abs(A @ result.x - b).max() <= 1e-3
    assert bits(result.jac) == bits(quadratic(result.x)[1])


@every_rule
def test_best_is_an_x_with_its_loss(method):
    start = np.array([1.0, 2.0])
    path = by_hand(method, start, 20)
    losses = [quadratic(x)[0] for x in path]
    result = minimize(quadratic, start, method=method, lr=0.1, epochs=20, restore_best=True)
    best = int(np.argmin(losses))
    assert bits(result.x) == bits(path[best])
    assert result.fun == losses[best]
    assert bits(result.jac) == bits(quadratic(path[best])[1])


@every_rule
@pytest.mark.parametrize("batch_size", [None, 8])
def test_resuming_continues_from_y(method, batch_size, tmp_path):
    def run(epochs, path):
        return minimize(
            squared,
            np.zeros(X.shape[1]),
            (X, y),
            batch_size=batch_size,
            method=method,
            lr=0.1,
            epochs=epochs,
            seed=0,
            checkpoint=tmp_path / path,
        )

    first = run(3, "one.npz")
    again = run(3, "one.npz")
    assert bits([first.x, first.fun, first.jac]) == bits([again.x, again.fun, again.jac])
    resumed, direct = run(6, "one.npz"), run(6, "two.npz")
    assert bits(resumed.x) == bits(direct.x) != bits(first.x)
    assert resumed.history["loss"] == direct.history["loss"]


@every_rule
def test_full_batches_with_a_criterion_end_with_loss_and_gradient_at_x(method):
    result = minimize(
        squared, np.zeros(X.shape[1]), (X, y), method=method, lr=0.1, epochs=5, gtol=1e-12
    )
    loss, grad = squared(result.x, X, y)
    assert result.fun == loss
    assert bits(result.jac) == bits(grad)
    assert not result.success


def test_interrupted_run_is_at_x():
    def stops(state):
        if state.nit == 5:
            raise KeyboardInterrupt

    start = np.array([1.0, 2.0])
    result = minimize(
        quadratic, start, method="schedule_free_sgd", lr=0.1, epochs=20, callback=stops
    )
    assert result.status == INTERRUPTED
    assert bits(result.x) == bits(by_hand("schedule_free_sgd", start, 5)[-1])
