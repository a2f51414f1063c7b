"""scipy_method: the update rules as methods of scipy.optimize.minimize."""

import pickle
import warnings

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
        lambda x: bowl(x, 0.5, 3.0), np.array([0.0, 5.0]), method=name, epochs=40, gtol=1e-5,
        **options,
    )  # fmt: skip
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
    np.testing.assert_allclose(result.x, 2.0, atol=1e-4)
    assert (result.status, result.success) == (0, True)
    assert result.nit < 1000


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
    assert (result.nfev, result.njev) == (4, 4)
    assert bits(seen[-1]) == bits(result.x)
    stopped = solve(method, callback=of_result)
    assert (stopped.nit, stopped.status) == (4, 2)
    assert bits(seen[-1][0]) == bits(stopped.x)
    # The callback receives the loss at x, as from SciPy's methods; no evaluation is repeated.
    assert [fun for _, fun in seen[3:]] == [bowl(x)[0] for x, _ in seen[3:]]
    assert stopped.nfev == 5


def test_disp(capsys):
    solve(scipy_method("gd"), options={"maxiter": 5, "disp": True})
    assert "iteration 5/5" in capsys.readouterr().err


def test_pickling():
    method = pickle.loads(pickle.dumps(scipy_method("adam", lr=0.1)))
    assert bits(solve(method).x) == bits(solve(scipy_method("adam", lr=0.1)).x)


def rosenbrock(x, steepness=100.0):
    u, v = x
    gradient = [-2 * (1 - u) - 4 * steepness * u * (v - u * u), 2 * steepness * (v - u * u)]
    return (1 - u) ** 2 + steepness * (v - u * u) ** 2, np.array(gradient)


def checks(result, fun, x0, args=()):
    """Check what a user of SciPy may rely on, for any method with gradients."""
    assert isinstance(result, scipy.optimize.OptimizeResult)
    assert result.success is True
    assert result.status == 0
    assert result.message.startswith("Optimization terminated successfully")
    assert result.x.shape == np.shape(x0)
    loss, gradient = fun(result.x, *args)
    assert isinstance(result.fun, float)
    assert result.fun == pytest.approx(float(np.asarray(loss).item()), abs=1e-12)
    assert result.jac.shape == result.x.shape
    np.testing.assert_allclose(result.jac, gradient, atol=1e-6)
    assert abs(result.jac).max() <= 1e-5
    assert 0 < result.nit <= result.nfev
    assert 0 < result.njev <= result.nfev


@pytest.mark.parametrize("method", ["BFGS", "momentum", "adam", "nesterov", "gd with line search"])
@pytest.mark.parametrize("how", ["jac=True", "function", "none", "2-point", "3-point"])
@pytest.mark.parametrize("shape", [(), (1,)])
def test_the_same_checks_as_for_bfgs(method, how, shape):
    rule, _, searches = method.partition(" ")
    ours = {"line_search": True, "gtol": 1e-5} if searches else {"lr": 0.05}
    method = method if method == "BFGS" else scipy_method(rule, **ours)

    def loss(x, centre):
        return np.reshape(bowl(x, centre)[0], shape)

    jac = {"jac=True": True, "function": lambda x, c: bowl(x, c)[1], "none": None}.get(how, how)
    fun = (lambda x, c: (loss(x, c), bowl(x, c)[1])) if jac is True else loss
    result = scipy.optimize.minimize(fun, [0, 5], args=(2.0,), jac=jac, method=method)
    checks(result, bowl, [0, 5], (2.0,))
    np.testing.assert_allclose(result.x, 2.0, atol=1e-4)


@pytest.mark.parametrize("method", ["BFGS", scipy_method("adam", lr=0.05)])
def test_more_checks_as_for_bfgs(method):
    x0 = np.array([-1.2, 1.0])
    options = {"maxiter": 20_000}
    result = scipy.optimize.minimize(rosenbrock, x0, jac=True, method=method, options=options)
    checks(result, rosenbrock, x0)
    assert (x0 == [-1.2, 1.0]).all()
    cut = scipy.optimize.minimize(rosenbrock, x0, jac=True, method=method, options={"maxiter": 3})
    assert (cut.success, cut.status, cut.nit) == (False, 1, 3)
    assert cut.message.startswith("Maximum number of iterations has been")
    loose = scipy.optimize.minimize(
        rosenbrock, x0, jac=True, method=method, options={**options, "gtol": 0.1}
    )
    assert loose.success
    assert 1e-5 < abs(loose.jac).max() <= 0.1
    with pytest.warns(scipy.optimize.OptimizeWarning, match="Unknown solver options: ftol, x"):
        scipy.optimize.minimize(
            rosenbrock, x0, jac=True, method=method, options={"maxiter": 3, "ftol": 1, "x": 2}
        )
    with pytest.raises((TypeError, ValueError)):
        scipy.optimize.minimize(lambda x: x, x0, method=method)


def test_finite_differences_are_counted():
    method = scipy_method("gd", lr=0.5)
    result = scipy.optimize.minimize(
        lambda x: bowl(x)[0], [0.0, 5.0], method=method, options={"maxiter": 4, "eps": 1e-3}
    )
    assert result.njev == 5
    assert result.nfev == 5 * (1 + 3)  # SciPy evaluates x once more for its differences
    np.testing.assert_allclose(result.jac, bowl(result.x)[1] + 1e-3 / 2, atol=1e-9)


def test_known_options_do_not_warn():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        solve(scipy_method("adam"), options={"maxiter": 3, "gtol": 1e-3, "disp": False}, tol=1e-3)


@pytest.mark.parametrize(
    ("name", "options", "error", "message"),
    [
        ("adm", {}, FastoptError, "name is 'adm'; allowed"),
        ("ksgd", {}, FastoptError, "name is 'ksgd'"),
        (3, {}, TypeError, "name is 3"),
        ("adam", {"beta": 0.9}, TypeError, "unexpected keyword 'beta'"),
        ("adam", {"lr": -1.0}, FastoptError, r"lr is -1\.0"),
        ("adam", {"convention": "optax"}, FastoptError, "lr must be given"),
    ],
)
def test_refused_at_construction(name, options, error, message):
    with pytest.raises(error, match=message):
        scipy_method(name, **options)


@pytest.mark.parametrize(
    ("method", "arguments", "error", "message"),
    [
        (scipy_method("adam"), {"bounds": [(0, 1), (0, 1)]}, FastoptError, "bounds or constr"),
        (scipy_method("adam"), {"constraints": {"type": "eq", "fun": bowl}}, FastoptError, "bound"),
        (scipy_method("adam"), {"options": {"maxiter": 0}}, FastoptError, "maxiter is 0"),
        (scipy_method("adam"), {"options": {"gtol": -1}}, FastoptError, "gtol is -1"),
        (scipy_method("adam"), {"jac": None}, FastoptError, r"with jac=None; give jac=True"),
    ],
)
def test_refused(method, arguments, error, message):
    with pytest.raises(error, match=message):
        solve(method, **arguments)


def test_a_loss_that_is_no_number_is_refused():
    with pytest.raises(FastoptError, match=r"fun returned the loss .* a number"):
        solve(scipy_method("adam"), fun=lambda x: (x, x))
