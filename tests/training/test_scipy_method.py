"""scipy_method: the update rules as methods of scipy.optimize.minimize."""

import pickle

import numpy as np
import pytest
import scipy.optimize
from support import bits

from fastopt import FastoptError, minimize, schedules, scipy_method


def bowl(x, centre=1.0, width=2.0):
    return ((x - centre) ** 2).sum() / width, 2 * (x - centre) / width


def solve(method, x0=(0.0, 5.0), fun=bowl, **arguments):
    return scipy.optimize.minimize(fun, np.array(x0), method=method, **{"jac": True, **arguments})


@pytest.mark.parametrize("name", ["gd", "adam", "NESTEROVS", "adadelta"])
def test_the_steps_are_those_of_minimize(name):
    options = {"convention": "dl4j", **({} if name == "adadelta" else {"lr": 0.03})}
    result = solve(scipy_method(name, **options), options={"maxiter": 40}, args=(0.5, 3.0))
    own = minimize(
        lambda x: bowl(x, 0.5, 3.0), np.array([0.0, 5.0]), method=name, epochs=40, **options
    )
    for field in ("x", "fun", "jac", "nit", "nfev", "status", "success", "message"):
        assert bits(result[field]) == bits(own[field]), field
    assert result.njev == result.nfev == 41


def test_jac_as_a_function_and_an_integer_start():
    result = scipy.optimize.minimize(
        lambda x, c: bowl(x, c)[0],
        [0, 5],
        jac=lambda x, c: list(bowl(x, c)[1]),
        args=2.0,
        method=scipy_method("adam", schedule=schedules.exponential(0.5, 0.98)),
    )
    np.testing.assert_allclose(result.x, 2.0, atol=1e-3)
    assert (result.nit, result.success) == (1000, True)


def test_tol_ends_the_run():
    own = minimize(bowl, np.array([0.0, 5.0]), method="gd", lr=0.1, tol=1e-6, patience=2)
    result = solve(scipy_method("gd", lr=0.1, patience=2), tol=1e-6)
    assert (result.nit, result.status) == (own.nit, 0)
    assert solve(scipy_method("gd", lr=0.1, patience=2, tol=1e-3), tol=1e-6).nit == own.nit


def test_callbacks_in_both_forms():
    seen, method = [], scipy_method("gd", lr=0.1)

    def of_x(xk):
        seen.append(xk)

    def of_result(intermediate_result):
        seen.append((intermediate_result.x.copy(), intermediate_result.fun))
        if len(seen) == 7:
            raise StopIteration

    result = solve(method, callback=of_x, options={"maxiter": 3})
    assert len({x.tobytes() for x in seen}) == 3
    assert bits(seen[-1]) == bits(result.x)
    stopped = solve(method, callback=of_result)
    assert (stopped.nit, stopped.status) == (4, 2)
    assert bits(seen[-1][0]) == bits(stopped.x)


def test_disp(capsys):
    solve(scipy_method("gd"), options={"maxiter": 5, "disp": True})
    assert "epoch 5/5" in capsys.readouterr().err


def test_pickling():
    method = pickle.loads(pickle.dumps(scipy_method("adam", lr=0.1)))
    assert bits(solve(method).x) == bits(solve(scipy_method("adam", lr=0.1)).x)


@pytest.mark.parametrize(
    ("method", "arguments", "error", "message"),
    [
        (scipy_method("adam"), {"jac": None}, FastoptError, "jac is None; True or a function"),
        (scipy_method("adam"), {"bounds": [(0, 1), (0, 1)]}, FastoptError, "bounds or constr"),
        (scipy_method("adam"), {"constraints": {"type": "eq", "fun": bowl}}, FastoptError, "bound"),
        (scipy_method("adam"), {"options": {"ftol": 1}}, TypeError, "ftol"),
        (scipy_method("adam"), {"options": {"maxiter": 0}}, FastoptError, "maxiter is 0"),
        (scipy_method("adm"), {}, FastoptError, "'adm'"),
    ],
)
def test_refused(method, arguments, error, message):
    with pytest.raises(error, match=message):
        solve(method, fun=lambda x: bowl(x) if arguments.get("jac", True) else 0.0, **arguments)
