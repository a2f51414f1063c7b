"""KalmanSGD with a diagonal or block covariance, and for classes, against masked NumPy matrices."""

import copy
import itertools
import pickle
from contextlib import nullcontext

import numpy as np
import pytest
from kalman_cases import close, everything
from kalman_reference import MODEL as MODELS
from kalman_reference import bisect, logistic
from support import bits, printed

import fastopt
from fastopt._errors import FastoptError

P = 9
BLOCKS = [np.array([7, 0, 3, 5]), [4], np.array([8, 1], dtype=np.uint8), range(2, 7, 4)]
SINGLE = [[i] for i in range(P)]
ALL = [[*range(P)]]
KINDS = {"blocks": BLOCKS, "single": SINGLE, "all": ALL, "diag": "diag"}
EACH = pytest.mark.parametrize("kind", KINDS)
MODEL = {
    family: MODELS[family, link]
    for family, link in (("gaussian", "identity"), ("binomial", "logit"), ("poisson", "log"))
}


def mask(kind):
    """Return a matrix with 1 where the covariance is stored, else 0."""
    kept = np.zeros((P, P))
    for block in SINGLE if kind == "diag" else KINDS[kind]:
        kept[np.ix_(list(block), list(block))] = 1.0
    return kept


def data(family, n=120, seed=0):
    rng = np.random.default_rng(seed)
    X, w = rng.normal(size=(n, P)) / 3, rng.normal(size=P)
    z = X @ w
    y = {"gaussian": z + rng.normal(size=n), "binomial": rng.random(n) < logistic(z),
         "poisson": rng.poisson(np.exp(z))}[family]  # fmt: skip
    return X, y.astype(float), w


def absorbed(kind, M, J, S, R):
    """Return the covariance after rows J with innovation covariance S and variance R."""
    if kind == "diag":
        return np.diag(1 / (1 / np.diag(M) + np.diag(J.T @ np.linalg.solve(R, J))))
    return (M - M @ J.T @ np.linalg.solve(S, J @ M)) * mask(kind)


def single_rows(kind, w, M, X, y, model, explicit, weight, keep, cap=np.inf):
    mean, slope, variance = model
    for x, target, prior in zip(X, y, weight, strict=True):
        M = M / keep if np.trace(M) < cap else M
        eta, g = x @ w, x @ M @ x

        def excess(z, eta=eta, g=g, target=target, prior=prior):
            return z - eta - g * prior * (target - mean(z)) * slope(z) / variance(mean(z))

        z = eta if explicit else bisect(excess, -30.0, 30.0)
        r = variance(mean(z)) / prior
        J = slope(z) * x[None]
        S = r + J @ M @ J.T
        step = (target - mean(z)) / S[0, 0] * J[0] if explicit else (z - eta) / g * x
        w, M = w + M @ step, absorbed(kind, M, J, S, np.array([[r]]))
    return w, M


# Rows


@EACH
@pytest.mark.parametrize("family", MODEL)
@pytest.mark.parametrize("update", ["explicit", "implicit"])
@pytest.mark.parametrize("keep", [1.0, 0.97])
def test_rows_match_a_masked_matrix(kind, family, update, keep):
    X, y, w = data(family)
    m0 = np.linspace(0.05, 0.4, P)
    weight = np.random.default_rng(1).uniform(0.2, 3.0, size=len(y))
    k = fastopt.KalmanSGD(
        w, m0=m0, covariance=KINDS[kind], glm_update=update, forgetting=keep
    ).partial_fit(X, y, family, weight=weight)
    explicit = update == "explicit"
    u, M = single_rows(kind, w, np.diag(m0), X, y, MODEL[family], explicit, weight, keep)
    close(k.coef, u, 1e-12 if explicit else 1e-8)
    close(k.covariance(False), M, 1e-12 if explicit else 1e-8)
    assert bits(k.covariance(False)) == bits(k.covariance(False).T)
    assert k.trace == pytest.approx(np.trace(k.covariance(False)), rel=1e-14)
    close(k.stderr, np.sqrt(k.dispersion * np.diag(M)), 1e-8)
    assert k.n_obs == len(y)


@EACH
def test_max_trace_is_exact(kind):
    X, y, w = data("gaussian", n=600)
    X[100:, 4:] = 0.0
    k = fastopt.KalmanSGD(w, m0=1.0, covariance=KINDS[kind], forgetting=0.95, max_trace=30.0)
    k.partial_fit(X, y)
    u, M = single_rows(kind, w, np.eye(P), X, y, MODEL["gaussian"], True, np.ones(600), 0.95, 30.0)
    close(k.coef, u, 1e-11)
    close(k.covariance(False), M, 1e-11)
    assert 28.0 < k.trace < 31.6


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 17, 65])
def test_one_block_equals_the_full_form(size):
    rng = np.random.default_rng(size)
    X, y = rng.normal(size=(200, size)), rng.normal(size=200)
    k = fastopt.KalmanSGD(size, m0=1.0, covariance=[rng.permutation(size)]).partial_fit(X, y)
    full = fastopt.KalmanSGD(size, m0=1.0).partial_fit(X, y)
    for C in (1, 2, 10):
        J, r = rng.normal(size=(C, size)), rng.normal(size=C)
        k.update(r, np.zeros(C), J)
        full.update(r, np.zeros(C), J)
    close(k.coef, full.coef, 1e-12)
    close(k.covariance(), full.covariance(), 1e-12)
    assert k.dispersion == pytest.approx(full.dispersion, rel=1e-12)


@EACH
def test_gamma_bounds_the_variance(kind):
    X, y, w = data("poisson")
    options = {"m0": 0.1, "covariance": KINDS[kind], "glm_update": "explicit"}
    k = fastopt.KalmanSGD(w, gamma=(0.9, 1.5), **options).partial_fit(X, y, "poisson")
    clipped = (np.exp, np.exp, lambda m: min(1.5, max(0.9, m)))
    u, M = single_rows(kind, w, 0.1 * np.eye(P), X, y, clipped, True, np.ones(120), 1.0)
    close(k.coef, u, 1e-12)
    close(k.covariance(False), M, 1e-12)
    assert 0 < k.n_clipped < 120


def test_variances_of_a_diagonal_stay_positive():
    """With these scales 1 - m x^2 / s rounds to 0 or less."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(500, P)) * np.logspace(0, 9, P)
    k = fastopt.KalmanSGD(P, m0=1e12, covariance="diag").partial_fit(X, rng.normal(size=500))
    k.update(np.zeros(3), np.ones(3), X[:3])
    information = np.sum(X**2, 0) + np.sum(X[:3] ** 2, 0)
    assert np.diag(k.covariance(False)) == pytest.approx(1 / (1e-12 + information), rel=1e-12)


ROWS = """
import numpy as np, fastopt, hashlib
rng = np.random.default_rng(0)
X, y = rng.normal(size=(50, 600)), rng.poisson(1.0, size=50)
for kept in ("diag", [range(0, 599), [599]]):
    k = fastopt.KalmanSGD(600, m0=0.1, covariance=kept).partial_fit(X, y, "poisson")
    print(hashlib.sha256(k.coef.tobytes() + k.stderr.tobytes()).hexdigest())
"""


def test_rows_have_equal_bits_for_any_number_of_threads():
    one, two = (printed(ROWS, OPENBLAS_NUM_THREADS=n) for n in ("1", "2"))
    assert one == two


def test_permuted_blocks_equal_permuted_columns():
    """Permuted blocks give the same bits as permuted columns."""
    X, y, w = data("binomial")
    order = np.concatenate([np.array(block) for block in BLOCKS])
    ends = np.cumsum([0, *map(len, BLOCKS)])
    contiguous = [np.arange(a, b) for a, b in itertools.pairwise(ends)]
    k = fastopt.KalmanSGD(w, covariance=BLOCKS)
    other = fastopt.KalmanSGD(w[order], covariance=contiguous)
    for y_i, row in zip(y, X, strict=True):
        k.partial_fit(row[None], [y_i], "binomial").update([0.0, 1.0], [0.1, 0.2], [row, -row])
        other.partial_fit(row[None, order], [y_i], "binomial")
        other.update([0.0, 1.0], [0.1, 0.2], [row[order], -row[order]])
    assert bits(k.coef[order]) == bits(other.coef)
    assert bits(k.covariance(False)[np.ix_(order, order)]) == bits(other.covariance(False))


# Outputs


@EACH
@pytest.mark.parametrize("outputs", [1, 3, 20])
@pytest.mark.parametrize("keep", [1.0, 0.95])
@pytest.mark.parametrize("variance", ["number", "vector", "matrix"])
def test_outputs_of_all_blocks_share_the_innovation(kind, outputs, keep, variance):
    rng = np.random.default_rng(0)
    k = fastopt.KalmanSGD(P, m0=2.0, covariance=KINDS[kind], forgetting=keep)
    w, M = np.zeros(P), 2.0 * np.eye(P)
    for _ in range(30):
        J, r = rng.normal(size=(outputs, P)), rng.normal(size=outputs)
        A = rng.normal(size=(outputs, outputs))
        R = {"number": 0.5, "vector": rng.uniform(0.5, 2, outputs),
             "matrix": A @ A.T + np.eye(outputs)}[variance]  # fmt: skip
        R_full = R if variance == "matrix" else np.diag(np.broadcast_to(R, outputs))
        mean = J @ k.coef
        k.update(mean + r, mean, J, R)
        M = M / keep
        S = R_full + J @ M @ J.T
        w, M = w + M @ J.T @ np.linalg.solve(S, r), absorbed(kind, M, J, S, R_full)
    close(k.coef, w, 1e-11)
    close(k.covariance(False), M, 1e-11)
    assert k.n_obs == 30 * outputs


def test_forgetting_keeps_blocks_symmetric():
    """An asymmetry of one bit would grow to order 1 in 600 updates."""
    rng = np.random.default_rng(0)
    k = fastopt.KalmanSGD(P, m0=1.0, covariance=BLOCKS, forgetting=0.94, max_trace=20.0)
    for _ in range(1000):
        k.update(rng.normal(size=3), np.zeros(3), rng.normal(size=(3, P)))
    squares, first = k.state_dict()["blocks"], 0
    for size in map(len, BLOCKS):
        square = squares[first : first + size**2].reshape(size, size)
        first += size**2
        assert bits(square) == bits(square.T)
        assert np.linalg.eigvalsh(square).min() > 0
    assert first == squares.size


@pytest.mark.parametrize("kind", [*KINDS, "full"])
def test_a_batch_is_absorbed_jointly(kind):
    rng = np.random.default_rng(0)
    kept = KINDS.get(kind, kind)
    J, y, mean = rng.normal(size=(4, 3, P)), rng.normal(size=(4, 3)), rng.normal(size=(4, 3))
    R = rng.uniform(0.5, 2.0, size=(4, 3))
    for variance, flat in ((R, R.ravel()), (0.3, 0.3), (np.diag(R.ravel()),) * 2):
        k = fastopt.KalmanSGD(P, covariance=kept).update(y, mean, J, variance)
        other = fastopt.KalmanSGD(P, covariance=kept)
        other.update(y.ravel(), mean.ravel(), J.reshape(12, P), flat)
        assert everything(k) == everything(other)


# Classes


def classes(C, n, seed=0):
    """Return one-hot labels, softmax means, Jacobians of logits, coefficients, a covariance."""
    rng = np.random.default_rng(seed)
    m = np.exp(2 * rng.normal(size=(n, C)))
    y, J = np.eye(C)[rng.integers(0, C, n)], rng.normal(size=(n, C, P))
    A = rng.normal(size=(P, P))
    M = A @ A.T / P + np.eye(P)
    return y, m / m.sum(1, keepdims=True), J, rng.normal(size=P), (M + M.T) / 2


@pytest.mark.parametrize("C", [2, 3, 10, 57])
@pytest.mark.parametrize("n", [1, 5])
def test_softmax_matches_the_information_form(C, n):
    y, m, J, w, M = classes(C, n)
    y[0] = (y[0] + m[0]) / 2  # probabilities
    k = fastopt.KalmanSGD(w, m0=M)
    if n == 1:
        k.update(y[0], m[0], J[0], "multinomial")
    else:
        k.update(y, m, J, "multinomial")
    V = [np.diag(a) - np.outer(a, a) for a in m]
    after = np.linalg.inv(np.linalg.inv(M) + sum(j.T @ v @ j for j, v in zip(J, V, strict=True)))
    expected = w + after @ np.einsum("ncp,nc->p", J, y - m)
    close(k.coef, expected, 1e-12)
    close(k.covariance(False), after, 1e-12)
    assert (k.n_obs, k.n_passes, k.dispersion) == (n * (C - 1), 1, 1.0)


@pytest.mark.parametrize("C", [2, 3, 10])
def test_softmax_equals_the_form_without_its_last_class(C):
    """The means of all classes but one have the Jacobian V J and a regular variance."""
    y, m, J, w, M = classes(C, 1)
    y, m, J = y[0], m[0], J[0]
    V = np.diag(m) - np.outer(m, m)
    k = fastopt.KalmanSGD(w, m0=M).update(y, m, J, "multinomial")
    other = fastopt.KalmanSGD(w, m0=M).update(y[:-1], m[:-1], (V @ J)[:-1], V[:-1, :-1])
    close(k.coef, other.coef, 1e-12)
    close(k.covariance(False), other.covariance(False), 1e-12)
    assert k.n_obs == other.n_obs


@EACH
def test_softmax_with_blocks(kind):
    y, m, J, w, _ = classes(4, 3)
    k = fastopt.KalmanSGD(w, m0=2.0, covariance=KINDS[kind]).update(y, m, J, "multinomial")
    H, M, r = J[:, :-1].reshape(9, P), 2.0 * np.eye(P), (y - m)[:, :-1].ravel()
    V = np.zeros((9, 9))
    for i, a in enumerate(m[:, :-1]):
        V[3 * i : 3 * i + 3, 3 * i : 3 * i + 3] = np.diag(a) - np.outer(a, a)
    H = H - np.repeat(J[:, -1], 3, axis=0)  # gradients of logits minus that of the last class
    S = np.linalg.inv(V) + H @ M @ H.T
    close(k.coef, w + M @ H.T @ np.linalg.solve(S, np.linalg.solve(V, r)), 1e-12)
    close(k.covariance(False), absorbed(kind, M, H, S, np.linalg.inv(V)), 1e-12)


@pytest.mark.parametrize("covariance", ["full", BLOCKS, "diag"], ids=["full", "blocks", "diag"])
@pytest.mark.parametrize("tiny", [0.0, 1e-320, 1e-200, 1e-30])
def test_saturated_softmax_moves_along_the_gradient(covariance, tiny):
    """A label of probability 0 has no information, but the gradient J'(y - m)."""
    _, _, J, w, _ = classes(3, 1)
    m, y = np.array([tiny, 1.0, 0.0]), np.array([1.0, 0.0, 0.0])
    k = fastopt.KalmanSGD(w, m0=2.0, covariance=covariance).update(y, m, J[0], "multinomial")
    close(k.coef, w + 2.0 * J[0].T @ (y - m), 1e-12)
    close(k.covariance(False), 2.0 * np.eye(P), 1e-15)
    calm = fastopt.KalmanSGD(w, covariance=covariance).update(m, m, J[0], "multinomial")
    assert bits(calm.coef) == bits(w)


def test_bad_classes_change_nothing():
    y, m, J, w, _ = classes(3, 2)
    k = fastopt.KalmanSGD(w).update(y, m, J, "multinomial")
    before = everything(k)
    for args in [(2 * y, m, J), (y, m + 0.1, J), (y - m, m, J), (y, -m, J), (y[0], m, J),
                 (y[:, :1], np.ones((2, 1)), J[:, :1]), (y, m, J[..., 1:]), (1.0, 1.0, J[0, 0]),
                 (y, m, np.where(J < 0, np.nan, J))]:  # fmt: skip
        with pytest.raises(FastoptError):
            k.update(*args, "multinomial")
    with pytest.raises(FastoptError, match="multinomial"):
        k.update(y, m, J, "softmax")
    bounded = fastopt.KalmanSGD(w, glm_update="explicit", gamma=(0.1, None))
    with pytest.raises(FastoptError, match="gamma"):
        bounded.update(y, m, J, "multinomial")
    assert everything(k) == before


# Calls that change nothing


@EACH
def test_a_zero_row_changes_no_bit(kind):
    X, y, w = data("poisson")
    k = fastopt.KalmanSGD(w, m0=0.1, covariance=KINDS[kind]).partial_fit(X, y, "poisson")
    before = bits([k.coef, k.covariance(False)])
    k.partial_fit(np.zeros((3, P)), y[:3], "poisson").update(1.0, 0.0, np.zeros(P))
    k.update(np.ones(2), np.zeros(2), np.zeros((2, P)))
    assert bits([k.coef, k.covariance(False)]) == before


@EACH
def test_failures_change_nothing(kind):
    X, y, w = data("gaussian", n=12)
    k = fastopt.KalmanSGD(w, covariance=KINDS[kind]).partial_fit(X, y)
    before = everything(k)
    for jac in ([1e200] * P, [[1e200] * P] * 2, [np.nan] * P, [np.inf] * P, [1.0] * (P - 1)):
        with pytest.raises(FastoptError):
            k.update(np.zeros(len(jac)) if np.ndim(jac) > 1 else 0.0,
                     np.ones(len(jac)) if np.ndim(jac) > 1 else 1.0, jac)  # fmt: skip
        assert everything(k) == before
    bad = X.copy()
    bad[5] = 1e200
    with pytest.raises(FastoptError, match="17 rows have been absorbed"):
        k.partial_fit(bad, y)
    expected = fastopt.KalmanSGD(w, covariance=KINDS[kind])
    assert everything(k) == everything(expected.partial_fit(X, y).partial_fit(X[:5], y[:5]))


def test_an_overflow_from_forgetting_raises():
    k = fastopt.KalmanSGD(P, covariance="diag", forgetting=1e-3)
    with pytest.raises(FastoptError, match="left the range"):
        k.partial_fit(np.zeros((200, P)), np.zeros(200))
    assert np.isfinite(k.state_dict()["variances"]).all()


@pytest.mark.parametrize("outputs", [1, 2])
def test_an_indefinite_block_raises(outputs):
    k = fastopt.KalmanSGD(4, covariance=[[0, 2], [1, 3]])
    state = k.state_dict()
    state["blocks"] = np.array([1.0, 2.0, 2.0, 1.0, 9.0, 0.0, 0.0, 9.0])
    k.load_state_dict(state)
    before = everything(k)
    row = [1.0, 1.0, -1.0, 0.0]  # x'Mx is negative in the first block, but positive in total
    with pytest.raises(FastoptError, match="positive definite"):
        k.update(np.zeros(outputs), np.ones(outputs), [row] * outputs)
    with pytest.raises(FastoptError, match="positive definite"):
        k.partial_fit([row], [1.0])
    assert everything(k) == before


@pytest.mark.parametrize(("n_eps", "raises"), [(2, False), (12, True)])
@pytest.mark.parametrize("forgetting", [1.0, 0.1])
@pytest.mark.parametrize("outputs", [1, 2])
def test_tolerance_for_negative_quadratic_forms(n_eps, raises, forgetting, outputs):
    """x'Mx < -4 eps x'x trace(M) raises, for the M of a block after the inflation."""
    off = 1 + n_eps * np.finfo(float).eps
    k = fastopt.KalmanSGD(3, covariance=[[0, 1], [2]], forgetting=forgetting)
    k.load_state_dict({**k.state_dict(), "blocks": np.array([1.0, off, off, 1.0, 1.0])})
    rows = [[1.0, -1.0, 1.0]] * outputs
    with pytest.raises(FastoptError, match="positive definite") if raises else nullcontext():
        k.update(np.ones(outputs), np.zeros(outputs), rows)


def test_a_quadratic_form_that_is_negative_by_rounding_has_no_effect():
    off = 1 + 2 * np.finfo(float).eps
    k = fastopt.KalmanSGD(3, covariance=[[0, 1], [2]])
    k.load_state_dict({**k.state_dict(), "blocks": np.array([1.0, off, off, 1.0, 1.0])})
    before = bits([k.coef, k.covariance(False)])
    k.partial_fit([[1.0, -1.0, 0.0]], [100.0])
    assert bits([k.coef, k.covariance(False)]) == before


@pytest.mark.parametrize("covariance", [BLOCKS, "diag"], ids=["blocks", "diag"])
@pytest.mark.parametrize("m0", [None, np.linspace(1.0, 2.0, P), "scale"], ids=str)
def test_copies_continue_with_equal_bits(covariance, m0, tmp_path):
    X, y, w = data("gaussian", n=600)
    k = fastopt.KalmanSGD(w, m0=m0, covariance=covariance, forgetting=0.99)
    k.partial_fit(X[:300], y[:300])
    jac = np.random.default_rng(0).normal(size=(3, P))
    k.update(np.ones(3), np.zeros(3), jac)
    k.save(tmp_path / "k.npz")
    loaded = fastopt.KalmanSGD(P, m0=m0, covariance=covariance, forgetting=0.99)
    loaded.load_state_dict(k.state_dict())
    others = [loaded, k.copy(), copy.deepcopy(k), pickle.loads(pickle.dumps(k)),
              fastopt.KalmanSGD.load(tmp_path / "k.npz")]  # fmt: skip
    for each in (k, *others):
        each.update(np.ones(3), np.zeros(3), jac).partial_fit(X[300:], y[300:])
        assert everything(each) == everything(k)
        assert repr(each) == repr(k)
    k.restart()
    assert (k.n_obs, bits(k.coef)) == (0, bits(loaded.coef))


def test_m0_scale_is_100_over_the_mean_square():
    X, y, w = data("gaussian", n=300)
    scale = fastopt.KalmanSGD(w, m0="scale", covariance=BLOCKS).partial_fit(X, y)
    m0 = 100 / np.mean(X**2, 0) * np.mean(y**2) / np.var(y)
    given = fastopt.KalmanSGD(w, m0=m0, covariance=BLOCKS).partial_fit(X, y)
    close(scale.coef, given.coef, 1e-12)


def test_damaged_states_change_nothing():
    k = fastopt.KalmanSGD(3, covariance=[[2, 0], [1]])
    before = everything(k)
    for blocks in (np.arange(5.0), np.ones(4), [np.nan] * 5):
        with pytest.raises(FastoptError, match="blocks"):
            k.load_state_dict({**k.state_dict(), "blocks": blocks})
    assert everything(k) == before
    diagonal = fastopt.KalmanSGD(3, covariance="diag")
    with pytest.raises(FastoptError, match="variances"):
        diagonal.load_state_dict({**diagonal.state_dict(), "variances": [1.0, -1.0, 1.0]})


# Options


@pytest.mark.parametrize(
    ("covariance", "message"),
    [("blocks", "allowed"), ([[0, 1]], "coefficient 2 in 0"), ([], "coefficient 0 in 0"),
     ([[0, 1], [1, 2]], "coefficient 1 in 2"), ([[0, 1, 2, 1]], "coefficient 1 in 2"),
     ([[0, 1, 3], [2]], "has 3"), ([[0, 1], [-1]], "has -1"), ([[0, 1, 2], []], r"\[1\]"),
     ([[0.0, 1.0, 2.0]], "float64"), ([[True, False, True]], "bool"),
     ([[[0, 1, 2]]], r"\(1, 3\)"), ([0, 1, 2], r"covariance\[0\]")],
    ids=str,
)  # fmt: skip
def test_bad_blocks(covariance, message):
    with pytest.raises(FastoptError, match=message):
        fastopt.KalmanSGD(3, covariance=covariance)


@pytest.mark.parametrize("covariance", [None, 3, {0: [0, 1, 2]}, [["a", "b", "c"]]], ids=str)
def test_blocks_of_the_wrong_type(covariance):
    with pytest.raises(TypeError):
        fastopt.KalmanSGD(3, covariance=covariance)


@pytest.mark.parametrize("covariance", ["diag", [[0, 1, 2]]], ids=str)
@pytest.mark.parametrize(
    "options",
    [{"m0": np.eye(3)}, {"m0": np.inf}, {"mode": "qr"}, {"mode": "plain"}, {"block": 8},
     {"m0": -1.0}],
    ids=str,
)  # fmt: skip
def test_options_that_blocks_do_not_allow(covariance, options):
    with pytest.raises(FastoptError):
        fastopt.KalmanSGD(3, covariance=covariance, **options)


def test_merging_blocks_is_refused():
    X, y, w = data("gaussian")
    one, two = (fastopt.KalmanSGD(w, covariance=BLOCKS).partial_fit(X, y) for _ in "ab")
    with pytest.raises(FastoptError, match="'blocks'"):
        one.merge(two)
    with pytest.raises(FastoptError):
        one.merge(fastopt.KalmanSGD(w))


@EACH
def test_stop_condition(kind):
    X, y, w = data("gaussian", n=400)
    reached = fastopt.KalmanSGD(w, covariance=KINDS[kind]).partial_fit(X, y)
    for tolerance, expected in ((0.9, False), (1.1, True)):
        stop = ("trace", tolerance * reached.dispersion * reached.trace)
        k = fastopt.KalmanSGD(w, covariance=KINDS[kind], stop=stop).partial_fit(X, y)
        assert k.converged is expected


def test_memory_errors_name_the_alternatives():
    with pytest.raises(FastoptError, match="covariance='diag' or blocks"):
        fastopt.KalmanSGD(1000, max_bytes=1_000_000)
    with pytest.raises(FastoptError, match="covariance='diag' or blocks"):
        fastopt.KalmanSGD(50_000)
    halves = [np.arange(500), np.arange(500, 1000)]
    with pytest.raises(FastoptError, match=str(8 * (2 * 500**2 + 7000))):
        fastopt.KalmanSGD(1000, covariance=halves, max_bytes=1_000_000)
    k = fastopt.KalmanSGD(100_000, covariance="diag", max_bytes=8 * 800_000)
    k.partial_fit(np.ones((2, 100_000)), np.ones(2))
    assert k.stderr.shape == k.coef.shape == (100_000,)
    with pytest.raises(FastoptError, match="80000000000 bytes"):
        k.covariance()


@pytest.mark.parametrize("n", [1, 3])
@pytest.mark.parametrize("forgetting", [1.0, 0.9])
def test_a_block_with_zero_gradients_is_only_inflated(n, forgetting):
    k = fastopt.KalmanSGD(5, m0=2.0, covariance=[[0, 3], [1, 2, 4]], forgetting=forgetting)
    rng = np.random.default_rng(0)
    k.update(rng.normal(size=n), np.zeros(n), rng.normal(size=(n, 5)))
    before, w = k.covariance(scaled=False), k.coef
    jac = rng.normal(size=(n, 5))
    jac[:, [1, 2, 4]] = 0.0
    k.update(rng.normal(size=n), np.zeros(n), jac)
    after = k.covariance(scaled=False)
    own, idle = np.ix_([0, 3], [0, 3]), np.ix_([1, 2, 4], [1, 2, 4])
    np.testing.assert_allclose(after[idle], before[idle] / forgetting, rtol=1e-15)
    M, J = before[own] / forgetting, jac[:, [0, 3]]
    expected = M - M @ J.T @ np.linalg.solve(np.eye(n) + J @ M @ J.T, J @ M)
    np.testing.assert_allclose(after[own], expected, rtol=1e-12)
    np.testing.assert_array_equal(k.coef[[1, 2, 4]], w[[1, 2, 4]])
    assert (k.coef[[0, 3]] != w[[0, 3]]).all()
