"""The steps of epochs against a reference, scikit-learn's SGD, and each other."""

import pickle

import numpy as np
import pytest
import reference
from scipy import sparse
from sklearn.linear_model import SGDClassifier, SGDRegressor

import fastopt
from fastopt import FastoptError
from fastopt.estimators._epochs import Table
from fastopt.estimators.epochs.steps import SOLVERS, EpochOptions, Epochs, Scaling, scaling_of
from fastopt.estimators.scoring.model import model_of
from fastopt.estimators.sources.block import Block

N = 23
# The rule of each solver in reference.py, with its options, and those of the class.
RULES = {
    "sgd": (reference.sgd, {}, {}),
    "momentum": (reference.sgd, {"momentum": 0.8, "dampening": 0.1}, None),
    "nesterov": (reference.sgd, {"momentum": 0.8, "nesterov": True}, None),
    "adagrad": (reference.adagrad, {"eps": 1e-3, "initial_accumulator_value": 0.2}, None),
    "adadelta": (reference.adadelta, {"rho": 0.8, "eps": 1e-3}, None),
    "rmsprop": (reference.rmsprop, {"alpha": 0.8, "eps": 1e-3}, None),
    "adam": (reference.adam, {"betas": (0.8, 0.95), "eps": 1e-3}, None),
    "adamax": (reference.adamax, {"betas": (0.8, 0.95), "eps": 1e-3}, None),
    "nadam": (reference.nadam, {"betas": (0.8, 0.95), "momentum_decay": 0.1}, None),
    "ftrl": (reference.ftrl, {"beta": 0.7, "initial_accumulator_value": 0.2}, None),
}
ETA0, POWER = 0.07, 0.3


def data(p, family="binomial", density=1.0, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(N, p)) * (rng.random((N, p)) < density)
    y = {
        "binomial": rng.integers(0, 2, N),
        "poisson": rng.poisson(2.0, N),
        "gaussian": rng.normal(size=N),
    }[family]
    return x, y.astype(float), rng.uniform(0.2, 2.0, N), rng.normal(size=N) * 0.1


def steps_of(solver, x, y, *, family="binomial", weight=None, offset=None, scaling=None,
             intercept=True, order=None, n_epochs=2, **options):  # fmt: skip
    """Return the `Epochs` after epochs over the rows."""
    rule = RULES[solver]
    given = dict(eta0=ETA0, learning_rate="invscaling", power_t=POWER, rule_options=rule[1])
    options = EpochOptions(solver, **{**given, **options})
    model = model_of(family, fit_intercept=intercept)
    found = Epochs(model, x.shape[1], options, sparse.issparse(x), scaling)
    table = found.table(Block(x, y, weight, offset))
    for _ in range(n_epochs):
        found.take(table, len(y), order)
    return found


def path_of(solver, x, y, *, batch_size=1, order=None, n_epochs=2, alpha=0.0, l1_ratio=0.0,
            **options):  # fmt: skip
    """Return the reference's coefficients after each step."""
    order = np.arange(N) if order is None else order
    rows = [order[i : i + batch_size] for i in range(0, N, batch_size)] * n_epochs
    lrs = [ETA0 / t**POWER for t in range(1, len(rows) + 1)]
    rule, own, _ = RULES[solver]
    l1, l2 = alpha * l1_ratio, alpha * (1.0 - l1_ratio)
    options.setdefault("family", "binomial")
    return reference.epochs(rule, x, y, lrs, rows, l1=l1, l2=l2, **options, **own)


def agree(found, expected, tol=1e-10):
    assert np.abs(expected[:-1]).max() > 1e-3
    np.testing.assert_allclose(found, expected, rtol=tol, atol=tol)


@pytest.mark.parametrize("p", [1, 3, 4, 7, 8, 9, 12, 31, 32, 33, 40, 70])
@pytest.mark.parametrize("solver", RULES)
def test_dense_steps_are_those_of_the_reference(solver, p):
    x, y, weight, offset = data(p)
    options = dict(weight=weight, offset=offset, alpha=0.05)
    agree(steps_of(solver, x, y, **options).w, path_of(solver, x, y, **options)[-1])


@pytest.mark.parametrize("l1_ratio", [0.0, 0.4, 1.0])
@pytest.mark.parametrize("batch_size", [1, 4])
@pytest.mark.parametrize("solver", RULES)
def test_penalties_and_batches(solver, batch_size, l1_ratio):
    x, y, weight, _ = data(9)
    options = dict(weight=weight, alpha=0.1, l1_ratio=l1_ratio, batch_size=batch_size)
    order = np.random.default_rng(1).permutation(N)
    found = steps_of(solver, x, y, order=order, **options)
    expected = path_of(solver, x, y, order=order, **options)[-1]
    agree(found.w, expected)
    np.testing.assert_array_equal(found.w == 0, expected == 0)


@pytest.mark.parametrize("family", ["gaussian", "poisson"])
@pytest.mark.parametrize("intercept", [True, False])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("batch_size", [1, 5])
@pytest.mark.parametrize(  # the larger alpha needs SGD's proximal operator
    ("alpha", "l1_ratio"), [(0.02, 0.0), (0.02, 0.3), (20.0, 0.0), (20.0, 1e-3)]
)
@pytest.mark.parametrize("solver", ["sgd", "adagrad", "adam"])
def test_standardised_columns(solver, l1_ratio, alpha, batch_size, dtype, intercept, family):
    x, y, weight, _ = data(13, family)
    x = (x * np.linspace(0.1, 3.0, 13) + 2.0).astype(dtype)
    x[:, 3] = 1.5
    scaling = scaling_of(lambda: [Block(x, y, weight)], intercept)
    options = dict(
        family=family, intercept=intercept, alpha=alpha, l1_ratio=l1_ratio, batch_size=batch_size
    )
    found = steps_of(solver, x, y, scaling=scaling, **options)
    mean, factor = scaling
    double = x.astype(float)
    expected = path_of(solver, double, y, mean=mean, factor=factor, **options)[-1]
    agree(found.w, expected)
    # The coefficients of X itself have the same predictors.
    coef = found.coefficients()
    z = double @ coef[:-1] + coef[-1]
    np.testing.assert_allclose(z, (double - mean) * factor @ expected[:-1] + expected[-1])


def test_the_scaling_is_that_of_the_weighted_columns():
    x, y, weight, _ = data(5)
    x[:, 2] = 4.0
    mean, factor = scaling_of(lambda: [Block(x, y, weight)], True)
    own = np.average(x, axis=0, weights=weight)
    np.testing.assert_allclose(mean, own)
    deviation = np.sqrt(np.average((x - own) ** 2, axis=0, weights=weight))
    deviation[2] = 1.0
    np.testing.assert_allclose(factor, 1 / deviation)
    no_mean, factor = scaling_of(lambda: [Block(x, y)], False)
    assert not no_mean.any()
    np.testing.assert_allclose(factor, 1 / np.sqrt((x**2).mean(axis=0)))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("is_weighted", [False, True])
def test_the_scaling_of_columns_far_from_0(is_weighted, order, dtype):
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(5003, 3)) * [1.0, 1e-2, 0.0]
    x = np.array(noise + np.array([1e5, -1e2, 0.1]), dtype, order=order)
    x[:2000, 0] += 50
    weight = rng.random(5003) * (rng.random(5003) < 0.5) if is_weighted else None
    blocks = [Block(x[:700], x[:700, 0]), Block(x[700:], x[700:, 0])]
    if is_weighted:
        blocks = [
            Block(x[:700], x[:700, 0], weight[:700]),
            Block(x[700:], x[700:, 0], weight[700:]),
        ]
    mean, factor = scaling_of(lambda: blocks, True)
    exact = x.astype(np.longdouble)
    own = np.average(exact, axis=0, weights=weight)
    deviation = np.sqrt(np.average((exact - own) ** 2, axis=0, weights=weight))
    deviation[2] = 1.0
    np.testing.assert_allclose(mean, own.astype(float), rtol=1e-15)
    np.testing.assert_allclose(factor, (1 / deviation).astype(float), rtol=1e-12)
    assert mean[2] == x[0, 2]


@pytest.mark.parametrize("first", [1, 256, 300])
def test_rows_of_weight_0_do_not_change_the_scaling(first):
    x = np.random.default_rng(0).normal(size=(400, 3))
    x[:first] = 1e12
    weight = np.repeat([0.0, 1e-3], [first, 400 - first])
    found = scaling_of(lambda: [Block(x, x[:, 0], weight)], True)
    other = scaling_of(lambda: [Block(x[first:], x[first:, 0])], True)
    np.testing.assert_allclose(found, other, rtol=1e-12)


@pytest.mark.parametrize("batch_size", [1, 6])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    ("solver", "alpha", "l1_ratio"),
    [("sgd", 0.1, 0.0), ("sgd", 0.1, 0.5), ("sgd", 0.2, 1.0), ("sgd", 20.0, 0.0),
     ("ftrl", 0.1, 0.0), ("ftrl", 0.05, 0.5), ("adagrad", 0.0, 0.0)],
)  # fmt: skip
def test_sparse_steps_that_equal_dense_ones(solver, alpha, l1_ratio, dtype, batch_size):
    """Also where a coefficient of SGD becomes too small for its scale, or changes its sign."""
    x, y, weight, offset = data(11, density=0.3)
    x = x.astype(dtype).astype(float)
    options = dict(weight=weight, offset=offset, alpha=alpha, l1_ratio=l1_ratio)
    found = steps_of(
        solver, sparse.csr_matrix(x.astype(dtype)), y, batch_size=batch_size, **options
    )
    agree(found.w, path_of(solver, x, y, batch_size=batch_size, **options)[-1])


class Column:
    """A rule of the reference for one column, with steps only where the column is present."""

    def __init__(self, solver):
        rule, options, _ = RULES[solver]
        self.feed = []
        self.steps = rule.__wrapped__((self.feed.pop() for _ in iter(int, 1)), **options)

    def __call__(self, t, lr, g):
        self.feed.append((t, lr, np.array([g])))
        return next(self.steps)[0][0]


@pytest.mark.parametrize(  # with the largest alpha, no step is made up for
    ("alpha", "l1_ratio"), [(0.0, 0.0), (0.1, 0.0), (0.1, 0.5), (2.0, 0.0)]
)
@pytest.mark.parametrize(
    "solver", ["momentum", "nesterov", "adagrad", "adadelta", "rmsprop", "adam", "adamax"]
)
def test_other_rules_update_the_columns_that_are_present(solver, alpha, l1_ratio):
    x, y, _, _ = data(11, density=0.3)
    found = steps_of(
        solver, sparse.csr_matrix(x), y, alpha=alpha, l1_ratio=l1_ratio, intercept=False
    )
    w, last, rules = np.zeros(11), np.zeros(11), [Column(solver) for _ in range(11)]
    l1, l2 = alpha * l1_ratio, alpha * (1.0 - l1_ratio)
    for t in range(1, 2 * N + 1):
        row, lr = x[(t - 1) % N], ETA0 / t**POWER
        a = 1.0 / (1.0 + np.exp(-row @ w)) - y[(t - 1) % N]
        for j in np.flatnonzero(row):
            steps = t - last[j]
            if l2:
                steps = min(steps, max(1.0, 0.1 / (lr * l2)))
            g = a * row[j] + steps * l2 * w[j]
            bound = steps * l1
            g += -np.clip(g, -bound, bound) if w[j] == 0 else bound * np.sign(w[j])
            new = w[j] - rules[j](t, lr, g)
            w[j], last[j] = (0.0 if l1 and w[j] * new < 0 else new), t
    agree(found.w, np.append(w, 0.0))


@pytest.mark.parametrize("solver", RULES)
def test_sparse_steps_are_the_row_sparse_steps_of_the_optimizers(solver):
    x, y, _, _ = data(11, density=0.3)
    found = steps_of(solver, sparse.csr_matrix(x), y, intercept=False, learning_rate="constant")
    cls, own = SOLVERS[solver]
    w = np.zeros((11, 1))
    opt = cls(w, **{**own, "lr": ETA0, **RULES[solver][1]})
    for i in [*range(N)] * 2:
        a = 1.0 / (1.0 + np.exp(-x[i] @ w[:, 0])) - y[i]
        columns = np.flatnonzero(x[i])
        opt.step(fastopt.RowSparse(columns, a * x[i, columns, None]))
    agree(found.w, np.append(w, 0.0))


@pytest.mark.parametrize("first", [True, 7])
@pytest.mark.parametrize("batch_size", [1, 4])
@pytest.mark.parametrize("solver", RULES)
def test_the_average_is_the_mean_of_the_coefficients(solver, batch_size, first):
    x, y, weight, _ = data(9, density=0.5)
    options = dict(weight=weight, batch_size=batch_size, alpha=0.1 * (solver == "sgd"))
    expected = np.mean(path_of(solver, x, y, **options)[int(first) :], axis=0)
    agree(steps_of(solver, x, y, average=first, **options).coefficients(), expected)
    if solver in ("sgd", "adagrad"):
        found = steps_of(solver, sparse.csr_matrix(x), y, average=first, **options)
        agree(found.coefficients(), expected)


@pytest.mark.parametrize("average", [False, True, 20])
@pytest.mark.parametrize(
    ("learning_rate", "alpha"), [("constant", 0.01), ("invscaling", 0.01), ("optimal", 0.3)]
)
@pytest.mark.parametrize("is_sparse", [False, True])
@pytest.mark.parametrize("loss", ["log_loss", "squared_error"])
def test_sgd_is_that_of_scikit_learn(loss, is_sparse, learning_rate, alpha, average):
    family = "binomial" if loss == "log_loss" else "gaussian"
    x, y, weight, _ = data(9, family, density=0.5)
    x = sparse.csr_matrix(0.3 * x) if is_sparse else 0.3 * x
    cls = SGDClassifier if loss == "log_loss" else SGDRegressor
    peer = cls(
        loss=loss, alpha=alpha, learning_rate=learning_rate, eta0=0.05, power_t=0.4, max_iter=3,
        tol=None, shuffle=False, average=average, fit_intercept=not is_sparse,
    ).fit(x, y, sample_weight=weight)  # fmt: skip
    found = steps_of(
        "sgd", x, y, family=family, weight=weight, alpha=alpha, learning_rate=learning_rate,
        eta0=0.05, power_t=0.4, average=average, intercept=not is_sparse, n_epochs=3,
    ).coefficients()  # fmt: skip
    agree(found, np.append(peer.coef_, peer.intercept_))


@pytest.mark.parametrize("is_sparse", [False, True])
@pytest.mark.parametrize("solver", RULES)
def test_a_pickled_state_continues(solver, is_sparse):
    x, y, _, _ = data(9, density=0.5)
    x = sparse.csr_matrix(x) if is_sparse else x
    one = steps_of(solver, x, y, n_epochs=1, alpha=0.1)
    for two in (pickle.loads(pickle.dumps(one)), one.copy(), one):
        two.take(two.table(Block(x, y)), N)
        np.testing.assert_array_equal(two.w, steps_of(solver, x, y, alpha=0.1).w)


def test_a_schedule_is_called_with_the_number_of_the_step():
    x, y, _, _ = data(5)
    schedule = fastopt.schedules.inverse_time(0.1, 1.0)
    rates = np.array([schedule(t) for t in range(1, 2 * N + 1)])
    found = steps_of("sgd", x, y, learning_rate=schedule)
    rows = [np.array([i]) for i in range(N)] * 2
    expected = reference.epochs(reference.sgd, x, y, rates, rows, family="binomial")
    agree(found.w, expected[-1])


@pytest.mark.parametrize("schedule", [lambda t: 0.1 * t, lambda t: 0.6 / t], ids=["grows", "falls"])
def test_the_penalty_needs_the_proximal_operator_in_some_steps(schedule):
    x, y, _, _ = data(5)
    scaling = scaling_of(lambda: [Block(x, y)], True)
    found = steps_of("sgd", x, y, scaling=scaling, alpha=1.0, learning_rate=schedule)
    rates = [schedule(t) for t in range(1, 2 * N + 1)]
    rows = [np.array([i]) for i in range(N)] * 2
    mean, factor = scaling
    expected = reference.epochs(
        reference.sgd, x, y, rates, rows, family="binomial", l2=1.0, mean=mean, factor=factor
    )
    agree(found.w, expected[-1])


@pytest.mark.parametrize(
    ("indptr", "indices"),
    [([0, 2, 4], [0, 1, 2, 3]), ([0, 2, 4], [0, 1, -1, 2]), ([0, 3, 2], [0, 1, 2, 0]),
     ([0, 2, 5], [0, 1, 2, 0]), ([-1, 2, 4], [0, 1, 2, 0])],
)  # fmt: skip
def test_a_csr_matrix_that_is_not_valid_is_refused(indptr, indices):
    y, values = np.zeros(2), np.ones(len(indices))
    start, column = np.array(indptr, dtype=np.int64), np.array(indices, dtype=np.int32)
    with pytest.raises(FastoptError, match="no valid sparse matrix"):
        Table(values, start, column, 3, y, None, None)


@pytest.mark.parametrize("is_sparse", [False, True])
@pytest.mark.parametrize("order", [[0, -1], [0, 23]])
def test_an_order_outside_the_table_is_refused(order, is_sparse):
    x, y, _, _ = data(3)
    x = sparse.csr_matrix(x) if is_sparse else x
    found = Epochs(model_of("gaussian"), 3, EpochOptions(), is_sparse)
    with pytest.raises(FastoptError, match="out of range"):
        found.take(found.table(Block(x, y)), 2, np.array(order))


def test_columns_that_a_row_has_twice_are_added_up():
    x = sparse.csr_matrix((np.ones(N + 1), np.zeros(N + 1), [0, *range(2, N + 2)]), shape=(N, 2))
    y = data(1)[1]
    np.testing.assert_array_equal(
        steps_of("adam", x, y).w, steps_of("adam", sparse.csr_matrix(x.toarray()), y).w
    )


@pytest.mark.parametrize("is_sparse", [False, True])
@pytest.mark.parametrize("solver", ["sgd", "momentum", "nesterov"])
def test_steps_that_diverge_raise_an_error(solver, is_sparse):
    x, y, _, _ = data(3, "poisson")
    x = sparse.csr_matrix(x) if is_sparse else x
    with pytest.raises(FastoptError, match=r"not finite after step .* smaller eta0"):
        steps_of(solver, x, y, family="poisson", eta0=1e200, n_epochs=40)


@pytest.mark.parametrize("is_sparse", [False, True])
def test_ftrl_keeps_its_start_and_state_until_a_gradient_is_not_0(is_sparse):
    x, y, _, _ = data(3)
    x = sparse.csr_matrix(x) if is_sparse else x
    start = np.array([1.0, 2.0, 3.0, 0.5])
    options = EpochOptions("ftrl", alpha=0.1, l1_ratio=0.5)
    found = Epochs(model_of("binomial"), 3, options, is_sparse, start=start)
    before = [found.w.copy(), *(state.copy() for state in found.states)]
    found.take(found.table(Block(x, y, np.zeros(N))), N)
    for now, then in zip([found.w, *found.states], before, strict=True):
        np.testing.assert_array_equal(now, then)


@pytest.mark.parametrize("is_sparse", [False, True])
@pytest.mark.parametrize("solver", RULES)
def test_a_first_step_that_fails_changes_nothing(solver, is_sparse):
    x = sparse.csr_matrix(data(3)[0]) if is_sparse else data(3)[0]
    start = np.array([1.0, 2.0, 3.0, 0.5])
    own = {"keep_start": False} if solver == "ftrl" else {}
    options = EpochOptions(solver, alpha=0.1, rule_options=own)
    found = Epochs(model_of("poisson"), 3, options, is_sparse, start=start)
    table = found.table(Block(x, np.full(N, 1e308), np.full(N, 1e10)))
    with pytest.raises(FastoptError, match="not finite after step 0"):
        found.take(table, N)
    np.testing.assert_array_equal(found.w, start)


@pytest.mark.parametrize(
    ("options", "name"),
    [(dict(solver="newton"), "solver"), (dict(alpha=-1.0), "alpha"), (dict(l1_ratio=2.0), "l1_r"),
     (dict(learning_rate="fast"), "learning_rate"), (dict(eta0=-0.1), "eta0"),
     (dict(batch_size=0), "batch_size"), (dict(average=0), "average"), (dict(power_t="a"), "power"),
     (dict(learning_rate="optimal"), "alpha"),
     (dict(solver="adam", rule_options={"amsgrad": True}), "adam_amsgrad"),
     (dict(solver="adam", rule_options={"betas": (2, 0)}), "betas"),
     (dict(rule_options={"weight_decay": 0.1}), "weight_decay")],
)  # fmt: skip
def test_an_option_outside_its_range_is_named(options, name):
    with pytest.raises((FastoptError, TypeError), match=name):
        Epochs(model_of("gaussian"), 3, EpochOptions(**options))


def test_an_average_that_is_not_lazy_is_refused():
    options = EpochOptions("sgd", alpha=0.1, l1_ratio=0.5, average=True)
    with pytest.raises(FastoptError, match="average"):
        Epochs(model_of("gaussian"), 3, options, is_sparse=True)


def test_scaling_starts_at_the_given_coefficients():
    start = np.array([0.5, -1.0, 2.0])
    scaling = Scaling(np.array([1.0, 2.0]), np.array([0.1, 3.0]))
    found = Epochs(model_of("gaussian"), 2, EpochOptions(), scaling=scaling, start=start)
    np.testing.assert_allclose(found.coefficients(), start)


@pytest.mark.parametrize("n_rows", [1, 63, 64, 65, 130])
def test_the_columns_of_sparse_rows_are_checked(n_rows):
    """Of each row, whatever the rows beside it are, some of which are empty."""
    rng = np.random.default_rng(n_rows)
    lengths = rng.integers(0, 5, n_rows)
    lengths[[0, -1]] = 3
    start = np.append(0, np.cumsum(lengths))
    column = np.concatenate([np.sort(rng.permutation(9)[:n]) for n in lengths]).astype(np.int32)

    def table(column):
        return Table(np.ones(len(column)), start, column, 9, np.zeros(n_rows), None, None)

    assert table(column).increases
    for row in np.flatnonzero(lengths):
        own = slice(start[row], start[row + 1])
        for bad in (-1, 9):
            changed = column.copy()
            changed[own.stop - 1] = bad
            with pytest.raises(FastoptError, match=f"row {row} has indices out of range"):
                table(changed)
        if lengths[row] > 1:
            for others in (column[own][::-1], column[own.start]):
                changed = column.copy()
                changed[own] = others
                assert not table(changed).increases
