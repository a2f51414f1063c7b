"""GLMClassifier: probabilities, penalties as LogisticRegression, separation."""

from statistics import NormalDist

import numpy as np
import pytest
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression

from fastopt.estimators import GLMClassifier, SeparationWarning

X, SPECIES = load_iris(return_X_y=True)
X = X[:, 1:3]
TWO = X[50:], np.array(["versicolor", "virginica"])[SPECIES[50:] - 1]


@pytest.mark.parametrize("alpha", [1e-3, 0.1])
@pytest.mark.parametrize("n_classes", [2, 3])
def test_penalties_are_those_of_logistic_regression(n_classes, alpha):
    x, y = (X, SPECIES) if n_classes == 3 else TWO
    own = GLMClassifier(alpha=alpha, tol=1e-12).fit(x, y)
    peer = LogisticRegression(C=1 / (alpha * len(y)), solver="newton-cg", tol=1e-12, max_iter=1000)
    peer.fit(x, y)
    np.testing.assert_allclose(own.coef_, peer.coef_, rtol=1e-6)
    np.testing.assert_allclose(own.predict_proba(x), peer.predict_proba(x), rtol=1e-6)
    assert (own.predict(x) == peer.predict(x)).all()


@pytest.mark.parametrize("link", ["logit", "probit", "cloglog"])
def test_probabilities(link):
    model = GLMClassifier(link).fit(*TWO)
    proba, decision = model.predict_proba(TWO[0]), model.decision_function(TWO[0])
    z = TWO[0] @ model.coef_[0] + model.intercept_
    expected = {
        "logit": lambda z: 1 / (1 + np.exp(-z)),
        "probit": lambda z: np.array([NormalDist().cdf(value) for value in z]),
        "cloglog": lambda z: -np.expm1(-np.exp(z)),
    }[link](z)
    np.testing.assert_allclose(proba[:, 1], expected, rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(np.exp(model.predict_log_proba(TWO[0])), proba, rtol=1e-12)
    assert ((proba[:, 1] > 0.5) == (decision > 0)).all()
    assert (model.predict(TWO[0]) == model.classes_[(decision > 0).astype(int)]).all()


def test_an_offset_is_added_to_the_predictor():
    offset = np.random.default_rng(0).normal(size=len(TWO[1]))
    model = GLMClassifier().fit(*TWO, offset=offset)
    with_offset = model.decision_function(TWO[0], offset)
    np.testing.assert_allclose(with_offset, model.decision_function(TWO[0]) + offset, rtol=1e-12)
    as_column = np.column_stack([TWO[0], offset])
    assert not np.allclose(model.coef_[0], GLMClassifier().fit(as_column, TWO[1]).coef_[0, :2])


@pytest.mark.parametrize("n_classes", [2, 3])
def test_separation_is_a_warning(n_classes):
    """Setosa is separated from the others, so that the likelihood has no maximum."""
    y = SPECIES if n_classes == 3 else SPECIES > 0
    with pytest.warns(SeparationWarning, match="'x[12].*grows"):
        model = GLMClassifier().fit(X, y)
    assert not model.converged_
    assert np.isfinite(model.coef_).all()
    penalized = GLMClassifier(alpha=1e-3).fit(X, y)  # a warning is an error here
    assert penalized.converged_


def test_separation_by_a_rare_column_is_a_warning():
    """No row of a small group has the outcome: quasi-complete separation."""
    rng = np.random.default_rng(0)
    group = np.arange(2000) < 5
    y = (rng.random(2000) < 0.3) & ~group
    with pytest.warns(SeparationWarning, match="'x2' grows"):
        model = GLMClassifier().fit(np.column_stack([rng.normal(size=2000), group]), y)
    assert not model.converged_


def test_coefficients_relative_to_the_first_class_have_a_first_row_of_0():
    model = GLMClassifier().fit(X[50:], [0, 1, 2, 1] * 25)
    assert (model.coef_[0] == 0).all()
    assert (GLMClassifier().fit(*TWO).fitted_.family, model.fitted_.family) == (
        "binomial",
        "multinomial",
    )
    assert model.coef_.shape == model.stderr_.shape == model.pvalues_.shape == (3, 2)
    assert model.intercept_.shape == model.intercept_stderr_.shape == (3,)
    assert np.isnan(model.stderr_[0]).all()
    assert np.isfinite(model.stderr_[1:]).all()
    names = model.fitted_.names
    assert names == ("const[1]", "x1[1]", "x2[1]", "const[2]", "x1[2]", "x2[2]")


@pytest.mark.parametrize(
    ("y", "options", "message"),
    [
        ([1, 1, 1], {}, "1 class"),
        ([0, 1, 2], {"offset": np.zeros(3)}, "offset needs two classes"),
        ([0.5, 1.5, 2.2], {}, "Unknown label type"),
    ],
)
def test_refusals(y, options, message):
    with pytest.raises(ValueError, match=message):
        GLMClassifier().fit(np.eye(3), y, **options)


def test_a_link_for_two_classes_only():
    with pytest.raises(ValueError, match=r"Only binary.*'probit'.*3 classes"):
        GLMClassifier("probit").fit(np.eye(3), [0, 1, 2])


@pytest.mark.parametrize("l1_ratio", [0.5, 1.0])
def test_an_l1_penalty_on_several_classes_keeps_its_zeros(l1_ratio):
    rng = np.random.default_rng(3)
    x = rng.normal(size=(300, 4))
    y = (x[:, 0] > 0.3) * 1 + (x[:, 1] > rng.normal(size=300))
    own = GLMClassifier(alpha=0.02, l1_ratio=l1_ratio, tol=1e-12).fit(x, y)

    def objective(coef):
        z = x @ coef.T + own.intercept_
        loss = np.log(np.exp(z).sum(axis=1)) - z[np.arange(300), y]
        size = l1_ratio * np.abs(coef).sum() + (1.0 - l1_ratio) * np.sum(coef**2) / 2
        return loss.mean() + 0.02 * size

    assert objective(own.coef_) == pytest.approx(own.loss_curve_[-1], rel=1e-12)
    assert (own.coef_ == 0.0).sum() >= 4
    assert own.intercept_.sum() == pytest.approx(0.0, abs=1e-12)
