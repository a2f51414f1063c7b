"""KalmanSGD.fit_model: NIST's certified values, priors, weights, blocks, bad input."""

import nist_nonlinear as nist
import numpy as np
import pytest
from nist_linear import digits
from scipy.optimize import least_squares
from support import bits

import fastopt
from fastopt._errors import FastoptError


@pytest.mark.parametrize("name", nist.MODELS)
def test_jacobians(name):
    problem, fun = nist.read(name), nist.fun(name)
    w = problem.starts[1]
    for i, column in enumerate(fun(w, problem.X)[1].T):
        complex_step = fun(w + 1e-30j * np.eye(w.size)[i], problem.X)[0].imag / 1e-30
        assert column == pytest.approx(complex_step, rel=1e-11, abs=1e-13 * abs(column).max())


@pytest.mark.parametrize("start", [1, 2])
@pytest.mark.parametrize("name", nist.MODELS)
def test_certified_values(name, start):
    problem = nist.read(name)
    k = fastopt.KalmanSGD(problem.starts[start - 1], m0=np.inf)
    result = k.fit_model(nist.fun(name), problem.X, problem.y)
    assert result.success
    assert digits(k.coef, problem.coef) >= 6
    # The residuals of Lanczos1 are 1e-13: the last three digits of y, which is near 1.
    exact = name == "Lanczos1"
    assert digits(k.stderr, problem.stderr) >= (2.5 if exact else 6)
    assert digits(np.sqrt(k.dispersion), problem.residual_sd) >= (2.5 if exact else 9)
    assert k.n_obs == len(problem.y)
    assert k.n_passes == 1


def wave(w, X):
    """Return the mean and Jacobian of a damped wave; some coefficients make it overflow."""
    x, z = X.T
    decay, phase = np.exp(-w[1] * x), w[2] * x + z
    mean = w[0] * decay * np.sin(phase)
    return mean, np.column_stack(
        [decay * np.sin(phase), -x * mean, x * w[0] * decay * np.cos(phase)]
    )


W0 = np.array([1.0, 0.3, 2.2])


def wave_rows(n=200):
    rng = np.random.default_rng(1)
    X = np.column_stack([rng.uniform(0, 5, n), rng.normal(size=n)])
    y = wave([2.0, 0.5, 2.0], X)[0] + 0.1 * rng.normal(size=n)
    return X, y, rng.uniform(0.5, 2, n)


@pytest.mark.parametrize("m0", [1e-3, [0.1, 1e-3, 1.0], "matrix", np.inf])
@pytest.mark.parametrize("weighted", [False, True])
def test_prior_and_weights_match_scipy(m0, weighted):
    X, y, weight = wave_rows()
    if m0 == "matrix":
        m0 = np.array([[0.1, 0.01, 0.0], [0.01, 0.002, 0.001], [0.0, 0.001, 0.3]])
    if not weighted:
        weight = np.ones(len(y))
    k = fastopt.KalmanSGD(W0, m0=m0)
    result = k.fit_model(wave, X, y, weight=weight if weighted else None, tol=0)

    if np.ndim(m0) == 0:
        information = np.eye(3) / m0
    else:
        information = np.linalg.inv(m0 if np.ndim(m0) == 2 else np.diag(m0))
    root = np.sqrt(information) if np.ndim(m0) < 2 else np.linalg.cholesky(information).T
    judge = least_squares(
        lambda w: np.append(np.sqrt(weight) * (y - wave(w, X)[0]), root @ (w - W0)),
        W0, xtol=1e-15, ftol=1e-15, gtol=1e-15,
    )  # fmt: skip
    jac = wave(judge.x, X)[1]
    covariance = np.linalg.inv(information + jac.T @ (weight[:, None] * jac))
    assert result.success
    assert result.x == pytest.approx(judge.x, rel=1e-6)
    assert result.fun == pytest.approx(2 * judge.cost, rel=1e-10)
    assert k.coef == pytest.approx(result.x, rel=1e-14)
    assert k.covariance(False) == pytest.approx(covariance, rel=1e-5)
    assert k.dispersion == pytest.approx(2 * judge.cost / (200 - 3), rel=1e-10)
    assert k.stderr == pytest.approx(np.sqrt(np.diag(covariance) * k.dispersion), rel=1e-5)
    assert (k.n_obs, k.n_passes) == (200, 1)


@pytest.mark.parametrize("m0", [10.0, np.inf])
def test_a_linear_model_equals_partial_fit(m0):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(120, 4))
    y = X @ [1.0, -2, 3, 0] + rng.normal(size=120)
    whole = fastopt.KalmanSGD(4, m0=m0).partial_fit(X, y)
    parts = fastopt.KalmanSGD(4, m0=m0).partial_fit(X[:40], y[:40])
    parts.fit_model(lambda w, rows: (rows @ w, rows), X[40:80], y[40:80])
    parts.partial_fit(X[80:], y[80:])
    assert parts.coef == pytest.approx(whole.coef, rel=1e-10, abs=1e-12)
    assert parts.covariance() == pytest.approx(whole.covariance(), rel=1e-10, abs=1e-14)
    assert parts.dispersion == pytest.approx(whole.dispersion, rel=1e-10)
    assert parts.n_obs == 120


@pytest.mark.parametrize("m0", [0.1, np.inf])
@pytest.mark.parametrize("block", [1, 7, 199, 200, 1000])
def test_rows_in_blocks_give_the_same_fit(block, m0):
    X, y, weight = wave_rows()
    sizes = []

    def fun(w, rows):
        sizes.append(len(rows))
        return wave(w, rows)

    whole = fastopt.KalmanSGD(W0, m0=m0)
    result = whole.fit_model(wave, X, y, weight=weight, tol=1e-5)
    k = fastopt.KalmanSGD(W0, m0=m0)
    in_blocks = k.fit_model(fun, X, y, weight=weight, tol=1e-5, block=block)
    assert max(sizes) == min(block, 200)
    assert sum(sizes) == 200 * in_blocks.nfev
    assert in_blocks.nit == result.nit
    assert k.coef == pytest.approx(whole.coef, rel=1e-11)
    assert k.covariance() == pytest.approx(whole.covariance(), rel=1e-10)


def returning(mean, jac):
    return lambda w, rows: (mean, jac)


ZEROS, FLAT = np.zeros(200), np.zeros((200, 3))
BAD_CALLS = {
    "fun is": ("no function", {}),
    "fun returned": (lambda w, rows: ZEROS, {}),
    r"mean of fun has shape \(3,\); \(200,\)": (returning(np.zeros(3), FLAT), {}),
    r"Jacobian of fun has shape \(3, 200\); \(200, 3\)": (returning(ZEROS, FLAT.T), {}),
    "mean of fun has dtype complex128": (returning(ZEROS * 1j, FLAT), {}),
    "coefficients start": (returning(ZEROS * np.nan, FLAT), {}),
    "has a NaN": (returning(ZEROS, FLAT + np.inf), {}),
    "square overflows": (returning(ZEROS + 1e200, FLAT), {}),
    "X has shape": (wave, {"X": 1.0}),
    r"y has shape \(3,\)": (wave, {"y": np.zeros(3)}),
    "y, or what": (wave, {"y": np.full(200, np.nan)}),
    r"weight\[0\] is -1.0": (wave, {"weight": -np.ones(200)}),
    "block is 0": (wave, {"block": 0}),
    "tol is -1": (wave, {"tol": -1}),
    "max_iter is 0": (wave, {"max_iter": 0}),
}


@pytest.mark.parametrize("m0", [1.0, np.inf])
@pytest.mark.parametrize("message", BAD_CALLS)
def test_a_refused_call_changes_nothing(message, m0):
    X, y, _ = wave_rows()
    k = fastopt.KalmanSGD(W0, m0=m0)
    k.fit_model(wave, X, y)
    before = bits(k.state_dict())
    fun, options = BAD_CALLS[message]
    with pytest.raises((FastoptError, TypeError), match=message):
        k.fit_model(fun, **{"X": X, "y": y, **options})
    assert bits(k.state_dict()) == before


@pytest.mark.parametrize(
    "options",
    [
        {"forgetting": 0.9},
        {"gamma": (1.0, 2.0), "glm_update": "explicit"},
        {"m0": "scale"},
        {"covariance": "diag"},
    ],
    ids=str,
)
def test_options_that_fit_model_does_not_allow(options):
    X, y, _ = wave_rows()
    with pytest.raises(FastoptError, match=next(iter(options))):
        fastopt.KalmanSGD(W0, **options).fit_model(wave, X, y)


def test_the_last_step_allowed_may_converge():
    X, y, _ = wave_rows()
    needed = fastopt.KalmanSGD(W0).fit_model(wave, X, y, tol=1e-5).nit
    for max_iter, success in ((needed, True), (needed - 1, False)):
        result = fastopt.KalmanSGD(W0).fit_model(wave, X, y, tol=1e-5, max_iter=max_iter)
        assert (result.success, result.nit) == (success, max_iter)


@pytest.mark.parametrize("m0", [1.0, np.inf])
def test_a_fit_without_success_changes_nothing(m0):
    X, y, _ = wave_rows()
    k = fastopt.KalmanSGD(W0, m0=m0)
    before = bits(k.state_dict())
    result = k.fit_model(wave, X, y, max_iter=7)
    assert (result.status, result.success, result.nit) == (2, False, 7)
    assert "max_iter" in result.message
    assert (result.x != W0).any()
    assert bits(k.state_dict()) == before

    def only_there(w, rows):
        mean, jac = wave(w, rows)
        return (mean if (w == W0).all() else mean * np.nan), jac

    result = k.fit_model(only_there, X, y)
    assert (result.status, result.success) == (1, False)
    assert (result.x == W0).all()
    assert bits(k.state_dict()) == before


def test_an_exception_in_fun_changes_nothing():
    X, y, _ = wave_rows()
    k = fastopt.KalmanSGD(W0, m0=np.inf)
    k.fit_model(wave, X, y)
    before = bits(k.state_dict())
    calls = []

    def interrupted(w, rows):
        calls.append(w.copy())
        if len(calls) == 5:
            raise KeyboardInterrupt
        mean, jac = wave(w, rows)
        w[:] = np.nan  # fun gets a copy
        return mean, jac

    with pytest.raises(KeyboardInterrupt):
        k.fit_model(interrupted, X, y + X[:, 0])
    assert np.isfinite(calls).all()
    assert bits(k.state_dict()) == before


def test_fun_may_reuse_its_arrays():
    X, y, _ = wave_rows()
    mean, jac = np.empty(200), np.empty((200, 3))

    def fun(w, rows):
        mean[:], jac[:] = wave(w, rows)
        return mean, jac

    fresh, reused = fastopt.KalmanSGD(W0), fastopt.KalmanSGD(W0)
    fresh.fit_model(wave, X, y)
    reused.fit_model(fun, X, y)
    assert bits(fresh.state_dict()) == bits(reused.state_dict())


def test_undetermined_coefficients():
    X, y, _ = wave_rows()

    def only_the_sum(w, rows):
        mean, jac = wave([w[0] + w[3], w[1], w[2]], rows)
        return mean, np.column_stack([jac, jac[:, 0]])

    w0 = [*W0, 0.5]
    known = fastopt.KalmanSGD(w0, m0=1e6)
    k = fastopt.KalmanSGD(w0, m0=np.inf)
    exact = fastopt.KalmanSGD(W0, m0=np.inf).fit_model(wave, X, y, tol=0).x
    result_of_k = k.copy().fit_model(only_the_sum, X, y)
    for each in (k, known):
        result = each.fit_model(only_the_sum, X, y)
        assert (result.success, result.status) == ((True, 0) if each is known else (False, 3))
        assert result.x[0] + result.x[3] == pytest.approx(exact[0], rel=1e-5)
    assert known.coef[0] - known.coef[3] == pytest.approx(0.5, rel=1e-3)
    assert "do not determine coefficient 3" in result_of_k.message
    assert k.n_obs == 0


@pytest.mark.parametrize("truth", [[2.0, 0.5, 2.0], [0.0, 0.4, 2.1]])
def test_a_perfect_fit(truth):
    X, _, _ = wave_rows()
    k = fastopt.KalmanSGD(W0, m0=np.inf)
    result = k.fit_model(wave, X, wave(truth, X)[0])
    assert result.success
    assert result.x[0] == pytest.approx(truth[0], abs=1e-12)
    assert result.fun < 1e-20
    assert result.nit < 50


def test_rows_of_weight_0_have_no_effect():
    X, y, _ = wave_rows()
    weight = (np.arange(200) % 3 > 0).astype(float)
    some, kept = fastopt.KalmanSGD(W0), fastopt.KalmanSGD(W0)
    some.fit_model(wave, X, y, weight=weight)
    kept.fit_model(wave, X[weight > 0], y[weight > 0])
    assert some.coef == pytest.approx(kept.coef, rel=1e-10)


def test_least_squares_starts_from_the_given_coefficients(tmp_path):
    X, y, _ = wave_rows()
    k = fastopt.KalmanSGD(W0, mode="qr")
    k.save(tmp_path / "k.npz")
    calls = []

    def fun(w, rows):
        calls.append(w)
        return wave(w, rows)

    for each in (k.copy(), fastopt.KalmanSGD.load(tmp_path / "k.npz"), k):
        calls.clear()
        each.fit_model(fun, X, y)
        assert (calls[0] == W0).all()
    reached = k.coef
    k.restart()
    assert k.n_obs == 0
    calls.clear()
    k.fit_model(fun, X, y)
    assert (calls[0] == reached).all()


@pytest.mark.parametrize("m0", [1.0, np.inf])
def test_stop_condition_and_merging_after_fit_model(m0):
    X, y, _ = wave_rows()
    k = fastopt.KalmanSGD(W0, m0=m0)
    k.fit_model(wave, X, y)
    jac = wave(k.coef, X)[1]
    known = {
        "trace": k.dispersion * k.trace,
        "se": (k.stderr * np.sqrt(np.mean(jac**2, axis=0))).max(),
    }
    for kind, value in known.items():
        for factor in (0.999, 1.001):
            judged = fastopt.KalmanSGD(W0, m0=m0, stop=(kind, factor * value))
            judged.fit_model(wave, X, y)
            assert judged.converged_at == (200 if factor > 1 else None)
    with pytest.raises(FastoptError, match="merging is exact"):
        k.merge(fastopt.KalmanSGD(W0, m0=m0))


def test_a_coefficient_that_the_rows_leave_open_is_no_success():
    def one_direction(w, x):
        return w[0] * x + w[1] * x, np.column_stack([x, x])

    x = np.arange(1.0, 9.0)
    k = fastopt.KalmanSGD([1.0, 0.0], m0=np.inf)
    before = bits(k.state_dict())
    result = k.fit_model(one_direction, x, 3 * x + np.cos(x))
    assert (result.success, result.status) == (False, 3)
    assert "do not determine coefficient 1" in result.message
    assert bits(k.state_dict()) == before
