"""Fits by epochs: GLMRegressor and GLMClassifier with the solvers of `epochs.SOLVERS`."""

import signal

import numpy as np
import pytest
from scipy import sparse
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import SGDClassifier
from sklearn.utils import check_random_state

from fastopt import FastoptError
from fastopt.estimators import GLMClassifier, GLMRegressor
from fastopt.estimators.epochs import fitting as epoch_fit
from fastopt.estimators.epochs.steps import SOLVERS, EpochOptions, Epochs, scaling_of
from fastopt.estimators.scoring.model import model_of
from fastopt.estimators.sources.block import Block

RNG = np.random.default_rng(0)
X = RNG.normal(size=(600, 4)) * [1.0, 1e-3, 1e3, 1.0] + [0.0, 1.0, -1e3, 5.0]
Z = 0.3 + (X - X.mean(axis=0)) @ [0.5, 400.0, -4e-4, 0.0]
COUNTS = RNG.poisson(np.exp(Z)).astype(float)
LABELS = np.where(RNG.random(600) < 1 / (1 + np.exp(-Z)), "yes", "no")
WEIGHT = RNG.uniform(0.2, 3.0, 600)
STEADY = dict(learning_rate="invscaling", power_t=0.5, max_iter=200, tol=1e-6, random_state=0)
ETA0 = {"sgd": 0.2, "momentum": 0.02, "nesterov": 0.02, "adadelta": 10.0, "adagrad": 0.5}


@pytest.mark.parametrize("solver", [solver for solver in SOLVERS if solver != "ftrl"])
def test_epochs_end_near_the_maximum(solver):
    """Also where columns have different means and scales, with a penalty that some feel."""
    options = dict(alpha=1e-4, l1_ratio=0.3)
    best = GLMRegressor("poisson", **options).fit(X, COUNTS, WEIGHT)
    model = GLMRegressor(
        "poisson", solver=solver, eta0=ETA0.get(solver, 0.1), average=600, **options, **STEADY
    ).fit(X, COUNTS, WEIGHT)
    assert model.converged_
    assert abs(best.score(X, COUNTS, WEIGHT) - model.score(X, COUNTS, WEIGHT)) < 5e-3


@pytest.mark.parametrize("is_sparse", [False, True])
def test_ftrl_leaves_columns_without_effect_at_0(is_sparse):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2000, 20)) * (rng.random((2000, 20)) < 0.3)
    y = rng.random(2000) < 1 / (1 + np.exp(-2.0 * x[:, 0] + x[:, 1]))
    options = dict(alpha=0.02, l1_ratio=1.0)
    best = GLMClassifier(**options).fit(x, y)
    x = sparse.csr_matrix(x) if is_sparse else x
    model = GLMClassifier(solver="ftrl", max_iter=30, eta0=0.5, random_state=0, **options).fit(x, y)
    np.testing.assert_array_equal(model.coef_ == 0, best.coef_ == 0)
    np.testing.assert_allclose(model.coef_, best.coef_, atol=0.05)


@pytest.mark.parametrize("early_stopping", [False, True])
@pytest.mark.parametrize("shuffle", [False, True, "blocks"])
def test_a_fit_takes_the_steps_of_its_epochs(shuffle, early_stopping):
    model = GLMRegressor(
        "poisson", solver="adam", shuffle=shuffle, early_stopping=early_stopping, alpha=0.1,
        validation_fraction=0.2, max_iter=3, tol=1e-15, random_state=4,
    )  # fmt: skip
    with pytest.warns(ConvergenceWarning, match="max_iter=3"):
        model.fit(X, COUNTS, WEIGHT)
    random, kind = check_random_state(4), model_of("poisson")
    block = held = Block(X, COUNTS, WEIGHT)
    if early_stopping:
        chosen = np.zeros(600, dtype=bool)
        held = check_random_state(random.randint(2**31 - 1)).permutation(600)[:120]
        chosen[held] = True
        block, held = block.part(~chosen), block.part(chosen)
    weight = block.weight * (block.n / block.weight.sum())
    epochs = Epochs(
        kind, 4, EpochOptions("adam", alpha=0.1), scaling=scaling_of(lambda: [block], True)
    )  # fmt: skip
    losses, scores, coefs = [], [], []
    for _ in range(3):
        order = epoch_fit.shuffled(block.n, shuffle, random)
        z = epochs.take(epochs.table(block, weight), block.n, order)
        order = np.arange(block.n) if order is None else order
        coef = epochs.coefficients()
        half = 0.5 * kind.observe(block.y[order], z).deviance
        penalty = 0.05 * float(coef[:-1] @ coef[:-1])
        losses.append(np.average(half, weights=weight[order]) + penalty)
        half = 0.5 * kind.observe(held.y, held.x @ coef[:-1] + coef[-1]).deviance
        scores.append(np.average(half, weights=held.weight))
        coefs.append(coef)
    best = int(np.argmin(scores)) if early_stopping else 2
    np.testing.assert_array_equal(np.append(model.coef_, model.intercept_), coefs[best])
    np.testing.assert_allclose(model.loss_curve_, losses)
    assert (model.n_iter_, model.t_) == (3, 3 * block.n)
    assert not model.converged_


@pytest.mark.parametrize("n", [1, 63, 64, 65, 200])
def test_shuffled_blocks_keep_their_rows(n):
    order = epoch_fit.shuffled(n, "blocks", check_random_state(0))
    np.testing.assert_array_equal(np.sort(order), np.arange(n))
    starts = np.flatnonzero(np.diff(order, prepend=-2) != 1)
    assert (order[starts] % 64 == 0).all()
    assert epoch_fit.shuffled(n, False, None) is None


@pytest.mark.parametrize("is_sparse", [False, True])
@pytest.mark.parametrize("solver", SOLVERS)
def test_partial_fit_continues(solver, is_sparse):
    x = sparse.csr_matrix(X / X.std(axis=0)) if is_sparse else X / X.std(axis=0)
    y = COUNTS > 1
    options = dict(solver=solver, alpha=0.01, batch_size=5)
    whole = GLMClassifier(**options).partial_fit(x, y, [False, True], WEIGHT)
    parts = GLMClassifier(**options)
    for own in (slice(0, 300), slice(300, 600)):
        parts.partial_fit(x[own], y[own], [False, True], WEIGHT[own])
    np.testing.assert_allclose(parts.coef_, whole.coef_, rtol=1e-12)
    np.testing.assert_allclose(parts.intercept_, whole.intercept_, rtol=1e-12)
    assert parts.t_ == whole.t_ == 120
    assert len(parts.loss_curve_) == 2


def test_partial_fit_continues_a_fit_with_its_scaling():
    options = dict(solver="adam", shuffle=False, max_iter=1)
    with pytest.warns(ConvergenceWarning):
        model = GLMRegressor("poisson", **options).fit(X, COUNTS)
    with pytest.warns(ConvergenceWarning):
        two = GLMRegressor("poisson", **{**options, "max_iter": 2}).fit(X, COUNTS)
    model.partial_fit(X, COUNTS)
    np.testing.assert_array_equal(model.coef_, two.coef_)


@pytest.mark.parametrize(
    ("change", "arguments", "message"),
    [({}, (X * 1e300, COUNTS), "not finite"), ({}, (X, -COUNTS), "allows"),
     ({"alpha": 0.5}, (X, COUNTS), "alpha changed"),
     ({"family": "gamma"}, (X, COUNTS + 1), "model"),
     ({}, (sparse.csr_matrix(X), COUNTS), "sparse"), ({}, (X[:, :2], COUNTS), "features"),
     ({}, (X, "visits"), "y is 'visits'; partial_fit needs an array")],
)  # fmt: skip
def test_a_failed_partial_fit_changes_nothing(change, arguments, message):
    model = GLMRegressor("poisson", solver="sgd", eta0=1e-9).partial_fit(X, COUNTS)
    other = GLMRegressor("poisson", solver="sgd", eta0=1e-9).partial_fit(X, COUNTS)
    before = {name: getattr(model, name) for name in ("t_", "n_features_in_", "intercept_")}
    with pytest.raises(ValueError, match=message):
        model.set_params(**change).partial_fit(*arguments)
    model.set_params(alpha=0.0, family="poisson")
    np.testing.assert_array_equal(model.coef_, other.coef_)
    assert before == {name: getattr(model, name) for name in before}
    for each in (model, other):
        each.partial_fit(X, COUNTS)
    np.testing.assert_array_equal(model.coef_, other.coef_)


def test_keyboard_interrupt_keeps_what_there_is(monkeypatch):
    """The signal arrives while C takes steps; the fit has the coefficients up to then."""
    x = np.tile(X / X.std(axis=0), (200, 1))
    y = np.tile(COUNTS, 200)
    take, count = Epochs.take, [0]

    def interrupted(self, *arguments):
        count[0] += 1
        if count[0] == 3:
            signal.raise_signal(signal.SIGINT)
        return take(self, *arguments)

    monkeypatch.setattr(Epochs, "take", interrupted)
    model = GLMRegressor("poisson", solver="sgd", shuffle=False, eta0=1e-3)
    with pytest.warns(ConvergenceWarning, match="interrupted in epoch 3"):
        model.fit(x, y)
    assert model.n_iter_ == len(model.loss_curve_) == 2
    assert not model.converged_


def test_a_signal_is_delivered_between_blocks_of_rows():
    x = np.zeros((3_000_000, 2))
    epochs = Epochs(model_of("poisson"), 2, EpochOptions("adam"))
    table = epochs.table(Block(x, np.ones(len(x))))
    signal.setitimer(signal.ITIMER_REAL, 0.02)
    previous = signal.signal(signal.SIGALRM, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            epochs.take(table, len(x))
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, previous)
    assert 0 < epochs.t < len(x)


@pytest.mark.parametrize(
    ("model", "message"),
    [(GLMClassifier(solver="adam", cov_type="HC0"), "cov_type"),
     (GLMClassifier(solver="adam", shuffle="rows"), "shuffle"),
     (GLMClassifier(solver="adam", validation_fraction=1.0, early_stopping=True), "validation"),
     (GLMClassifier(solver="adam", n_iter_no_change=0), "n_iter_no_change"),
     (GLMClassifier(solver="adam", learning_rate="adaptive"), "learning_rate"),
     (GLMClassifier(solver="sgdd"), "solver")],
)  # fmt: skip
def test_options_that_are_refused(model, message):
    with pytest.raises(FastoptError, match=message):
        model.fit(X, LABELS)


def test_what_a_classifier_refuses():
    model = GLMClassifier(solver="adam")
    with pytest.raises(FastoptError, match="Only binary classification"):
        model.fit(X, np.arange(600) % 3)
    with pytest.raises(FastoptError, match="first call of partial_fit needs"):
        model.partial_fit(X, LABELS)
    model.partial_fit(X[:9], LABELS[:9], ["yes", "no"])
    assert list(model.classes_) == ["no", "yes"]
    with pytest.raises(FastoptError, match="maybe"):
        model.partial_fit(X[:2], ["yes", "maybe"])
    with pytest.raises(FastoptError, match="those of the first call"):
        model.partial_fit(X[:9], LABELS[:9], ["yes", "maybe"])
    with pytest.raises(AttributeError) as found:
        GLMClassifier().partial_fit  # noqa: B018
    assert "solver is 'auto'" in str(found.value.__cause__)
    with pytest.raises(FastoptError, match="no standard errors"):
        _ = model.stderr_


def test_the_columns_of_a_sparse_matrix():
    x = sparse.random(200, 50, 0.2, random_state=0, format="csr")
    y = np.random.default_rng(0).integers(0, 2, 200)
    model = GLMClassifier(solver="adagrad", max_iter=40, tol=1e-15, random_state=0)
    with pytest.warns(ConvergenceWarning):
        model.fit(x, y)
    for other in (x.tocsc(), x.tocoo(), x.astype(np.float32)):
        with pytest.warns(ConvergenceWarning):
            again = GLMClassifier(**model.get_params()).fit(other, y)
        np.testing.assert_allclose(again.coef_, model.coef_, rtol=1e-4)
    np.testing.assert_allclose(model.predict_proba(x), model.predict_proba(x.toarray()))


def test_a_whole_number_as_eta0():
    fits = [
        GLMClassifier(solver="adagrad", eta0=eta0, random_state=0).fit(X, LABELS)
        for eta0 in (1, 1.0)
    ]
    np.testing.assert_array_equal(fits[0].coef_, fits[1].coef_)


@pytest.mark.parametrize("early_stopping", [False, True])
@pytest.mark.parametrize(
    ("family", "y", "solver", "eta0", "message"),
    [("poisson", COUNTS, "sgd", 30.0, "not finite after epoch 1, .* smaller eta0, now 30"),
     ("gaussian", Z, "sgd", 0.4, "objective is .*, and .* with coefficients of 0, because the s"),
     ("poisson", COUNTS, "adam", 0.5, "objective is .*, and .* with coefficients of 0, because")],
)  # fmt: skip
def test_steps_that_diverge_end_the_fit(family, y, solver, eta0, message, early_stopping):
    model = GLMRegressor(
        family, solver=solver, eta0=eta0, early_stopping=early_stopping, random_state=0
    )
    with pytest.warns(ConvergenceWarning, match=message) as found:
        model.fit(X, y)
    assert len(found) == 1
    assert not model.converged_
    assert model.n_iter_ < 50


def test_a_partial_fit_that_diverges_says_so():
    x = (X - X.mean(axis=0)) / X.std(axis=0)
    with pytest.warns(ConvergenceWarning, match="not finite, because the steps diverge"):
        GLMRegressor(solver="sgd", eta0=2.0).partial_fit(x, Z)


def test_noise_around_the_loss_of_coefficients_of_0_is_no_divergence():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(400, 50)), rng.integers(0, 2, 400)
    assert GLMClassifier(solver="sgd", random_state=0).fit(x, y).converged_


@pytest.mark.filterwarnings("ignore:the fit has not converged")
@pytest.mark.parametrize("p", [4, 70])
@pytest.mark.parametrize("call", ["fit", "partial_fit", "fit of CSR"])
def test_an_epoch_is_that_of_sgd_classifier(call, p):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(500, p))
    x = (x - x.mean(axis=0)) / x.std(axis=0)  # as fit does it
    y = (rng.random(500) < 1 / (1 + np.exp(-x[:, 0]))).astype(float)
    options = dict(alpha=0.01, eta0=0.05, max_iter=1, shuffle=False)
    options["fit_intercept"] = is_dense = call != "fit of CSR"
    x = x if is_dense else sparse.csr_matrix(x)
    model = GLMClassifier(solver="sgd", **options)
    if call == "partial_fit":
        model.partial_fit(x, y, classes=[0.0, 1.0])
    else:
        model.fit(x, y)
    other = SGDClassifier("log_loss", learning_rate="constant", tol=None, **options).fit(x, y)
    np.testing.assert_allclose(model.coef_, other.coef_, rtol=0, atol=1e-12)
    np.testing.assert_allclose(model.intercept_, other.intercept_, rtol=0, atol=1e-12)


@pytest.mark.filterwarnings("ignore:the fit has not converged")
@pytest.mark.parametrize("batch_size", [1, 7])
def test_the_penalty_of_a_column_of_small_values_does_not_let_steps_diverge(batch_size):
    model = GLMRegressor(
        "gaussian", solver="sgd", alpha=1.0, eta0=0.01, batch_size=batch_size, max_iter=50,
        random_state=0,
    ).fit(X * [1.0, 1.0, 1e-3, 1.0], Z)  # fmt: skip
    assert abs(model.coef_).max() < 1.0
    assert abs(model.coef_[1]) < 1e-3  # ridge regression has 4e-4


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("is_sparse", [False, True])
@pytest.mark.parametrize("method", ["fit", "partial_fit"])
@pytest.mark.parametrize("solver", SOLVERS)
def test_a_value_that_is_not_finite_is_an_error(solver, method, is_sparse, value):
    x = X / [1.0, 1e-3, 1e3, 1.0]
    x[-1, 2] = value
    x = sparse.csr_array(x) if is_sparse else x
    model = GLMClassifier(solver=solver, alpha=1e-3, l1_ratio=0.5, shuffle=False, max_iter=1)
    before = dict(vars(model))
    options = dict(classes=["no", "yes"]) if method == "partial_fit" else {}
    with pytest.raises(ValueError, match=r"Input X contains (NaN|infinity)"):
        getattr(model, method)(x, LABELS, **options)
    assert vars(model) == before


def test_rows_with_a_column_twice_are_those_with_the_sum():
    x = sparse.csr_array(X)
    columns, ends = np.repeat(x.indices, 2), 2 * x.indptr
    twice = sparse.csr_array((np.repeat(x.data / 2, 2), columns, ends), x.shape)
    options = dict(solver="adam", random_state=0, max_iter=2, tol=1e-15)
    with pytest.warns(ConvergenceWarning):
        model, other = (GLMClassifier(**options).fit(each, LABELS) for each in (x, twice))
    np.testing.assert_array_equal(model.coef_, other.coef_)
    assert twice.nnz == 2 * x.nnz
