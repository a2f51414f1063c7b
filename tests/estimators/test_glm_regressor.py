"""GLMRegressor: the maximum against other ways to find it, weights, penalties, warnings."""

import numpy as np
import pytest
from scipy.optimize import minimize
from sklearn import set_config
from sklearn.exceptions import ConvergenceWarning, UndefinedMetricWarning
from sklearn.linear_model import (
    ElasticNet,
    GammaRegressor,
    LinearRegression,
    PoissonRegressor,
    TweedieRegressor,
)
from sklearn.model_selection import cross_validate

from fastopt import FastoptError
from fastopt.estimators import Block, GLMRegressor, moments
from fastopt.estimators._glm import descend
from fastopt.estimators.scoring import problem

RNG = np.random.default_rng(0)
X = RNG.normal(size=(200, 4)) * [1.0, 0.1, 10.0, 1.0] + [0.0, 3.0, 1.0, 0.0]
Z = 0.5 + X @ [0.4, -0.3, 0.02, 0.0]
WEIGHT = RNG.uniform(0.2, 3.0, 200)
COUNTS = RNG.poisson(np.exp(Z)).astype(float)
SIZES = RNG.gamma(3.0, np.exp(Z) / 3)
AMOUNTS = RNG.poisson(np.exp(Z)) * RNG.gamma(2.0, size=200)
NORMAL = Z + RNG.normal(size=200)


@pytest.mark.parametrize("alpha", [0.0, 0.05])
@pytest.mark.parametrize(
    ("own", "peer", "y"),
    [
        (GLMRegressor("poisson"), PoissonRegressor(), COUNTS),
        (GLMRegressor("gamma"), GammaRegressor(), SIZES),
        (GLMRegressor("tweedie", power=1.3), TweedieRegressor(power=1.3, link="log"), AMOUNTS),
        (GLMRegressor(), TweedieRegressor(power=0), NORMAL),
    ],
)
def test_the_objective_and_the_score_are_those_of_scikit_learn(own, peer, y, alpha):
    own.set_params(alpha=alpha, tol=1e-12).fit(X, y, WEIGHT)
    peer.set_params(alpha=alpha, tol=1e-10, max_iter=1000)
    if hasattr(peer, "solver"):
        peer.set_params(solver="newton-cholesky")
    peer.fit(X, y, WEIGHT)
    np.testing.assert_allclose(own.coef_, peer.coef_, rtol=1e-6, atol=1e-9)
    assert own.intercept_ == pytest.approx(peer.intercept_, rel=1e-6)
    assert own.score(X, y, WEIGHT) == pytest.approx(peer.score(X, y, WEIGHT), rel=1e-6)


@pytest.mark.parametrize("l1_ratio", [0.3, 1.0])
def test_the_elastic_net(l1_ratio):
    own = GLMRegressor(alpha=0.1, l1_ratio=l1_ratio, tol=1e-12).fit(X, NORMAL, WEIGHT)
    peer = ElasticNet(alpha=0.1, l1_ratio=l1_ratio, tol=1e-12, max_iter=100_000)
    peer.fit(X, NORMAL, WEIGHT)
    np.testing.assert_allclose(own.coef_, peer.coef_, rtol=1e-6, atol=1e-10)
    assert ((own.coef_ == 0) == (peer.coef_ == 0)).all()
    assert (own.coef_ == 0).any()


def test_coordinate_descent_does_not_depend_on_the_scales_of_columns():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(20, 5)) + rng.normal(size=(20, 1))
    gradient = x.T @ rng.normal(size=20)
    found = []
    for scale in (np.ones(5), 2.0 ** np.array([-30, 0, 20, -7, 3])):
        w, rest = np.zeros(5), scale * gradient
        descend((x * scale).T @ (x * scale), 0.3 * scale, w, rest, 0.0)
        found.append(w * scale)
    np.testing.assert_array_equal(found[0], found[1])


@pytest.mark.parametrize(("floor", "least", "most"), [(0.0, 1e-12, 1e-8), (1e-3, 1e-5, 1e-1)])
def test_coordinate_descent_ends_at_small_moves(floor, least, most):
    matrix, minimum = np.array([[1.0, 0.9], [0.9, 1.0]]), np.array([1.0, -2.0])
    w = np.zeros(2)
    descend(matrix, np.zeros(2), w, matrix @ minimum, floor)
    assert least < np.abs(w - minimum).max() < most


def test_coordinate_descent_leaves_a_column_without_curvature():
    w, rest = np.array([3.0, 0.0]), np.array([0.0, 1.0])
    descend(np.diag([0.0, 0.5]), np.full(2, 0.5), w, rest, 0.0)
    assert w.tolist() == [3.0, 1.0]


@pytest.mark.parametrize("l1_ratio", [0.0, 0.5, 1.0])
def test_the_last_loss_is_the_least_value_of_the_objective(l1_ratio):
    alpha = 0.02
    own = GLMRegressor("poisson", alpha=alpha, l1_ratio=l1_ratio, tol=1e-12).fit(X, COUNTS)

    def objective(both):
        """Split coefficients into positive and negative parts, so that it is smooth."""
        coef = both[:4] - both[4:8]
        at = moments(Block(X, COUNTS), np.append(both[8], coef), family="poisson")
        penalty = l1_ratio * both[:8].sum() + (1 - l1_ratio) / 2 * coef @ coef
        return at.deviance / (2 * len(X)) + alpha * penalty

    start = np.concatenate([np.maximum(own.coef_, 0), np.maximum(-own.coef_, 0), [own.intercept_]])
    assert own.loss_curve_[-1] == pytest.approx(objective(start), rel=1e-12)
    least = minimize(objective, start, bounds=[(0, None)] * 8 + [(None, None)], tol=1e-14)
    assert own.loss_curve_[-1] <= least.fun + 1e-12


@pytest.mark.parametrize("family", ["gaussian", "poisson", "gamma"])
def test_frequencies_are_repeated_rows(family):
    y = {"gaussian": NORMAL, "poisson": COUNTS, "gamma": SIZES}[family]
    frequency = RNG.integers(0, 4, len(y))
    own = GLMRegressor(family).fit(X, y, WEIGHT, freq_weight=frequency)
    rows = np.repeat(np.arange(len(y)), frequency)
    repeated = GLMRegressor(family).fit(X[rows], y[rows], WEIGHT[rows])
    np.testing.assert_allclose(own.coef_, repeated.coef_, rtol=1e-10)
    for name in ("dispersion_", "deviance_", "null_deviance_"):
        assert getattr(own, name) == pytest.approx(getattr(repeated, name), rel=1e-10), name


def test_precision_weights_count_rows_once():
    """Multiplying all of them by 4 multiplies the dispersion by 4."""
    own = [GLMRegressor("gamma").fit(X, SIZES, factor * WEIGHT) for factor in (1, 4)]
    np.testing.assert_allclose(own[1].coef_, own[0].coef_, rtol=1e-8)
    assert own[1].dispersion_ == pytest.approx(4 * own[0].dispersion_, rel=1e-9)


def test_exposure_is_an_offset():
    exposure = RNG.uniform(1, 5, len(X))
    own = GLMRegressor("poisson").fit(X, COUNTS, exposure=exposure)
    same = GLMRegressor("poisson").fit(X, COUNTS, offset=np.log(exposure))
    np.testing.assert_array_equal(own.coef_, same.coef_)
    rate = own.predict(X)
    np.testing.assert_allclose(own.predict(X, exposure=exposure), rate * exposure, rtol=1e-12)
    weighted = GLMRegressor("poisson").fit(X, COUNTS / exposure, exposure)
    np.testing.assert_allclose(own.coef_, weighted.coef_, rtol=1e-6)
    d2 = own.score(X, COUNTS, exposure=exposure)
    assert d2 == pytest.approx(1 - own.deviance_ / own.null_deviance_, rel=1e-10)
    assert d2 != pytest.approx(own.score(X, COUNTS), rel=1e-3)


@pytest.mark.parametrize("link", ["inverse", "log"])
def test_a_constant_column_takes_the_place_of_the_intercept(link):
    with_constant = np.column_stack([X[:, :1], np.full(len(X), 2.0), X[:, 1:]])
    with_constant[:, 2] += 1e6
    own = GLMRegressor("gamma", link, fit_intercept=False).fit(with_constant, SIZES)
    other = GLMRegressor("gamma", link).fit(with_constant[:, [0, 2, 3, 4]], SIZES)
    np.testing.assert_allclose(own.coef_[[0, 2, 3, 4]], other.coef_, rtol=1e-9)
    assert 2 * own.coef_[1] == pytest.approx(other.intercept_, rel=1e-9)


def test_columns_that_depend_on_others():
    """Minimum norm as LinearRegression; the same predictions as without them."""
    more = np.column_stack([X[:, 0] + X[:, 1], X, np.ones(len(X))])
    own = GLMRegressor().fit(more, NORMAL)
    np.testing.assert_allclose(own.coef_, LinearRegression().fit(more, NORMAL).coef_, rtol=1e-8)
    assert own.dependent_ == ("x3", "x6")
    counts = GLMRegressor("poisson").fit(more, COUNTS)
    np.testing.assert_allclose(
        counts.predict(more), GLMRegressor("poisson").fit(X, COUNTS).predict(X), rtol=1e-8
    )
    with pytest.raises(ValueError, match="combinations of those before them: x3, x6;"):
        GLMRegressor("poisson", rank_deficient="error").fit(more, COUNTS)
    assert GLMRegressor("poisson", alpha=1e-3).fit(more, COUNTS).dependent_ == ()


@pytest.mark.parametrize("n", [1999, 40_000])
def test_the_fit_of_a_sample_is_only_a_start(n, monkeypatch):
    """The coefficients do not depend on it, even if the sample is not typical."""
    rng = np.random.default_rng(1)
    x = rng.normal(size=(n, 3))
    y = rng.poisson(np.exp(1 + x @ [0.5, 0.2, 0.0])).astype(float)
    y[::16] = rng.poisson(40, size=len(y[::16]))
    own = GLMRegressor("poisson").fit(x, y)
    monkeypatch.setattr(problem, "ROWS_FOR_A_SAMPLE", 10**9)
    other = GLMRegressor("poisson").fit(x, y)
    np.testing.assert_allclose(own.coef_, other.coef_, rtol=1e-9)


def test_a_fit_that_does_not_converge_says_so():
    with pytest.warns(ConvergenceWarning, match="max_iter=1"):
        model = GLMRegressor("poisson", max_iter=1).fit(X, COUNTS)
    assert not model.converged_
    assert model.n_iter_ == 1


def test_outcomes_of_0_only_have_no_maximum():
    with pytest.warns(ConvergenceWarning, match="no maximum"):
        model = GLMRegressor("poisson").fit(X, np.zeros(len(X)))
    assert not model.converged_
    assert model.predict(X).max() < 1e-6


def test_verbose_prints_a_line_for_each_round(capsys):
    model = GLMRegressor("poisson", verbose=1).fit(X, COUNTS)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("200 rows, 5 coefficients, poisson")
    assert [line.split(":")[0] for line in lines[1:]] == [
        f"round {i}" for i in range(1, model.n_iter_ + 1)
    ]


def test_an_interrupted_fit_keeps_the_last_round(monkeypatch):
    class Interrupting(problem.Scoring):
        def _line_search(self, step):
            if self.n_rounds == 2:
                raise KeyboardInterrupt
            return super()._line_search(step)

    monkeypatch.setattr(problem, "Scoring", Interrupting)
    with pytest.warns(ConvergenceWarning, match="interrupted in round 2"):
        model = GLMRegressor("poisson").fit(X, COUNTS)
    monkeypatch.undo()
    assert not model.converged_
    assert model.score(X, COUNTS) > 0


@pytest.fixture
def _routing():
    set_config(enable_metadata_routing=True)
    yield
    set_config(enable_metadata_routing=False)


@pytest.mark.usefixtures("_routing")
def test_metadata_routing_passes_weights_and_offset():
    offset = RNG.normal(size=len(X))
    model = GLMRegressor("poisson")
    model.set_fit_request(sample_weight=True, offset=True)
    model.set_score_request(sample_weight=True, offset=True)
    found = cross_validate(
        model, X, COUNTS, cv=2, params={"sample_weight": WEIGHT, "offset": offset}
    )
    half = len(X) // 2
    own = GLMRegressor("poisson").fit(X[half:], COUNTS[half:], WEIGHT[half:], offset=offset[half:])
    expected = own.score(X[:half], COUNTS[:half], WEIGHT[:half], offset[:half])
    assert found["test_score"][0] == expected


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"family": "cauchy"}, "family is 'cauchy'"),
        ({"link": "log"}, "link is 'log' for the gaussian family"),
        ({"alpha": -1.0}, "alpha is -1.0"),
        ({"l1_ratio": 2.0}, "l1_ratio is 2.0"),
        ({"family": "tweedie", "power": 1.0}, "power is 1.0; allowed: 1 < power < 2"),
        ({"family": "tweedie", "power": 2}, "power is 2; allowed: 1 < power < 2"),
        ({"family": "negative_binomial", "overdispersion": -1.0}, "overdispersion is -1.0"),
        ({"power": 1.3}, "power is 1.3 and family is 'gaussian'; only the family 'tweedie' has"),
        (
            {"family": "poisson", "overdispersion": 0.5},
            "only the family 'negative_binomial' has ov",
        ),
        ({"solver": "lbfgs"}, "solver is 'lbfgs'"),
        ({"tol": 0.0}, "tol is 0.0"),
        ({"max_iter": 0}, "max_iter is 0"),
        ({"rank_deficient": "drop"}, "rank_deficient is 'drop'"),
        ({"family": "gamma"}, r"y\[\d+\] is -.*gamma"),
        ({"family": "binomial"}, r"allows 0 <= y <= 1; for counts of successes, y is count / "),
    ],
)
def test_refused_options(options, message):
    with pytest.raises(ValueError, match=message):
        GLMRegressor(**options).fit(X, NORMAL)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"sample_weight": -WEIGHT}, "sample_weight: Negative values"),
        ({"sample_weight": 0 * WEIGHT}, "sample_weight|no row has a positive weight"),
        ({"freq_weight": WEIGHT[1:]}, "freq_weight"),
        ({"offset": WEIGHT[1:]}, r"offset or exposure has shape \(199,\)"),
        ({"exposure": 0 * WEIGHT}, "exposure has 0.0"),
    ],
)
def test_refused_weights(given, message):
    with pytest.raises(ValueError, match=message):
        GLMRegressor("poisson").fit(X, COUNTS, **given)


@pytest.mark.parametrize(
    ("family", "y", "size"),
    [("gamma", SIZES, 1e-200), ("gamma", SIZES, 1e200)]
    + [("gaussian", NORMAL, size) for size in (1e-140, 1e-9, 1e9, 1e140)],
)
def test_observations_of_any_size(family, y, size):
    own, plain = (GLMRegressor(family).fit(X, each) for each in (size * y, y))
    assert own.converged_
    scale = size if family == "gaussian" else 1.0
    np.testing.assert_allclose(own.coef_, scale * plain.coef_, rtol=1e-7)
    np.testing.assert_allclose(own.stderr_, scale * plain.stderr_, rtol=1e-7)


@pytest.mark.parametrize("family", ["gaussian", "gamma", "poisson", "inverse_gaussian"])
def test_a_perfect_fit_converges(family):
    y = Z if family == "gaussian" else np.exp(Z)
    own = GLMRegressor(family).fit(X, y)
    assert own.converged_
    np.testing.assert_allclose(own.coef_, [0.4, -0.3, 0.02, 0.0], atol=1e-9)
    few = GLMRegressor(family).fit(X[:5], SIZES[:5])  # as many coefficients as rows
    assert few.converged_
    np.testing.assert_allclose(few.predict(X[:5]), SIZES[:5], rtol=1e-6)


def test_columns_that_nearly_depend_on_others():
    """The difference of the columns is 1e-9 of their size; QR keeps its digits."""
    rest = RNG.normal(size=len(X))
    y = RNG.poisson(np.exp(0.3 * X[:, 0] + 0.2 * rest)).astype(float)
    own = GLMRegressor("poisson").fit(np.column_stack([X[:, 0], X[:, 0] + 2.0**-30 * rest]), y)
    apart = GLMRegressor("poisson").fit(np.column_stack([X[:, 0], rest]), y)
    assert own.converged_
    assert own.dependent_ == ()
    np.testing.assert_allclose(own.coef_[1] * 2.0**-30, apart.coef_[1], rtol=1e-5)
    np.testing.assert_allclose(own.coef_.sum(), apart.coef_[0], rtol=1e-5)


def test_small_weights_and_small_means():
    """The unit of the stopping rule follows the size of the weights."""
    plain = GLMRegressor("poisson").fit(X, COUNTS)
    for own in (
        GLMRegressor("poisson").fit(X, COUNTS, np.full(len(X), 1e-12)),
        GLMRegressor("poisson").fit(X, COUNTS * 1e-30),
    ):
        assert own.converged_
        np.testing.assert_allclose(own.coef_, plain.coef_, rtol=1e-6)
        assert own.score(X, COUNTS * own.predict(X).mean() / plain.predict(X).mean()) > 0


@pytest.mark.parametrize(
    ("family", "size"),
    [("inverse_gaussian", 50.0), ("inverse_gaussian", 500.0), ("binomial", 1e6)],
)
def test_a_fit_whose_information_vanishes_has_not_converged(family, size):
    # An offset that is no logarithm puts the linear predictors where no row tells anything.
    y = np.where(np.arange(200) % 3, 1.0, 0.5)
    model = GLMRegressor(family)
    with pytest.warns(ConvergenceWarning, match="has not converged"):
        model.fit(X, y, offset=size * np.linspace(-0.2, 1.0, 200))
    assert not model.converged_


def test_values_outside_the_range_of_float64_are_named():
    with pytest.raises(FastoptError, match=r"too large for float64.*divide"):
        GLMRegressor().fit(X * 1e200, NORMAL)


@pytest.mark.parametrize("family", ["gaussian", "poisson", "gamma"])
def test_the_score_of_equal_observations_is_that_of_r2(family):
    x, y = X[:50], np.exp(0.2 * X[:50, 0])
    model = GLMRegressor(family).fit(x, y)
    assert model.score(x, np.full(50, 3.0)) == 0.0
    assert GLMRegressor(family).fit(x, np.ones(50)).score(x, np.ones(50)) == 1.0
    with pytest.warns(UndefinedMetricWarning, match="one row"):
        assert np.isnan(model.score(x[:1], y[:1]))
