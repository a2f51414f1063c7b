"""KalmanClassifier: scikit-learn's contract, two and more classes, labels, merging."""

import pickle
import warnings

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.utils.estimator_checks import estimator_checks_generator
from support import bits

from fastopt import FastoptError
from fastopt.estimators import GLMRegressor, KalmanClassifier, KalmanRegressor, SeparationWarning
from fastopt.estimators.kalman.online import OnlineFilter
from fastopt.kalman._kalman import marks_of

N, P = 2500, 3
LABELS = {
    "str": np.array(["no", "yes", "perhaps"]),
    "int": np.array([-3, 7, 8]),
    "bool": np.array([False, True, True]),
    "float": np.array([0.0, 2.0, 3.0]),
    "object": np.array(["a", "b", "c"], dtype=object),
}
CONTRACT = [KalmanClassifier(), KalmanClassifier("cloglog", mode="ud")]


def data(n_classes=2, n=N):
    """Return X and the index of each row's class."""
    rng = np.random.default_rng(0)
    mean = np.array([0.0, 1e4, 0.0])
    X = mean + rng.normal(size=(n, P))
    z = (X - mean) @ [1.0, -0.7, 0.3] + rng.logistic(size=n)
    return X, np.digitize(z, np.linspace(-1, 1, n_classes - 1) if n_classes > 2 else [0.3])


def everything(k):
    return [bits(each.filter.state_dict()) for each in k._filters]


def in_parts(k, X, y, of, classes):
    for i in range(0, len(y), of):
        k.partial_fit(X[i : i + of], y[i : i + of], classes)
    return k


@pytest.mark.filterwarnings("ignore:.*complete separation")
@pytest.mark.parametrize("estimator", CONTRACT, ids=str)
def test_the_contract_of_scikit_learn(estimator):
    for checked, check in estimator_checks_generator(estimator):
        check(checked)


@pytest.mark.parametrize("link", ["logit", "probit", "cloglog"])
def test_two_classes_are_a_regression_of_0_and_1(link):
    X, index = data()
    weight = np.random.default_rng(1).uniform(0.5, 2.0, N)
    offset = np.random.default_rng(2).normal(size=N) / 4
    k = KalmanClassifier(link, random_state=0).fit(X, index, weight, offset=offset)
    other = KalmanRegressor("binomial", link, random_state=0)
    other.fit(X, index, weight, offset=offset)
    assert everything(k) == everything(other)
    assert (k.coef_[0] == other.coef_).all()
    assert (k.stderr_[0] == other.stderr_).all()
    assert (k.pvalues_[0] == other.pvalues_).all()
    assert (k.covariance_ == other.covariance_).all()
    assert (k.conf_int() == other.conf_int()).all()
    assert (k.intercept_, k.intercept_stderr_) == (other.intercept_, other.intercept_stderr_)
    assert (k.predict_proba(X, offset)[:, 1] == other.predict(X, offset)).all()
    restriction = [0.0, 1.0, 1.0, 0.0]
    assert k.wald_test(restriction) == other.wald_test(restriction)
    glm = GLMRegressor("binomial", link).fit(X, index, weight, offset=offset)
    assert np.abs((k.coef_[0] - glm.coef_) / glm.stderr_).max() < 0.1


@pytest.mark.parametrize("link", ["logit", "cloglog"])
@pytest.mark.parametrize("n_classes", [2, 4])
def test_predictions_belong_together(n_classes, link):
    X, index = data(n_classes)
    k = KalmanClassifier(link).fit(X, index)
    share = k.predict_proba(X)
    np.testing.assert_allclose(share.sum(axis=1), 1.0, rtol=1e-14)
    assert (k.predict(X) == share.argmax(axis=1)).all()
    decision = k.decision_function(X)
    chosen = decision > 0 if n_classes == 2 else decision.argmax(axis=1)
    assert (k.predict(X) == chosen).all()
    np.testing.assert_allclose(np.exp(k.predict_log_proba(X)), share, rtol=1e-13)
    assert k.score(X, index) == np.mean(k.predict(X) == index)


def test_more_classes_are_filters_of_each_against_the_others():
    X, index = data(4)
    k = KalmanClassifier().partial_fit(X, index, range(4))
    assert k.coef_.shape == k.stderr_.shape == k.pvalues_.shape == (4, P)
    assert k.intercept_.shape == k.intercept_stderr_.shape == (4,)
    assert k.covariance_.shape == (4, P + 1, P + 1)
    assert k.conf_int().shape == (4, P + 1, 2)
    for j in range(4):
        other = KalmanClassifier().partial_fit(X, index == j, [False, True])
        assert (k.coef_[j] == other.coef_[0]).all()
        assert (k.covariance_[j] == other.covariance_).all()
        assert f"y = {j}" in str(k.summary())
    assert "binomial" in str(k.summary())
    with pytest.raises(FastoptError, match="two classes only"):
        k.wald_test([0.0, 1.0, 0.0, 0.0])
    with pytest.raises(FastoptError, match="offset is given for 4 classes"):
        k.partial_fit(X, index, offset=np.zeros(N))


@pytest.mark.parametrize("kind", LABELS)
@pytest.mark.parametrize("n_classes", [2, 3])
def test_labels_of_any_kind(kind, n_classes, monkeypatch):
    labels = LABELS[kind][:n_classes]
    X, index = data(len(np.unique(labels)))
    k = KalmanClassifier().partial_fit(X[:2000], labels[index[:2000]], np.unique(labels))
    assert (k.classes_ == np.unique(labels)).all()
    assert set(k.predict(X)) == set(labels)
    other = pickle.loads(pickle.dumps(k))
    other.partial_fit(X[2000:2020].tolist(), labels[index[2000:2020]].tolist())
    if kind not in ("str", "object"):
        monkeypatch.setattr(OnlineFilter, "absorb", None)  # only absorb_few is called
    k.partial_fit(X[2000:2020], labels[index[2000:2020]])
    assert everything(k) == everything(other)


@pytest.mark.parametrize("n_classes", [2, 3])
def test_any_division_of_the_rows_gives_the_same(n_classes):
    X, index = data(n_classes, 1200)
    whole = KalmanClassifier().partial_fit(X, index, range(n_classes))
    for n_rows in (1, 50, 1100):
        k = in_parts(KalmanClassifier(), X, index, n_rows, range(n_classes))
        assert np.abs((k.coef_ - whole.coef_) / whole.stderr_).max() < 1e-9
        np.testing.assert_allclose(k.stderr_, whole.stderr_, rtol=1e-9)


def test_calls_with_one_class_only():
    X, index = data(3)
    k = KalmanClassifier().partial_fit(X[index == 1][:5], index[index == 1][:5], [0, 1, 2])
    assert k.coef_.shape == (3, P)
    assert np.isfinite(k.predict_proba(X)).all()


@pytest.mark.parametrize(
    ("y", "classes", "message"),
    [
        ([0, 3], None, "y is .3. in row 1"),
        ([0.0, 0.5], None, "y"),
        ([0, 1], [0, 2], "not the same as on last call"),
    ],
)
def test_bad_labels_change_nothing(y, classes, message):
    X, index = data()
    k = KalmanClassifier().partial_fit(X, index, [0, 1])
    before = everything(k)
    with pytest.raises(ValueError, match=message):
        k.partial_fit(X[:2], np.array(y), classes)
    assert everything(k) == before


@pytest.mark.parametrize("labels", [[-3, 7], [-1.0, 0.5], [0.0, 1.0], [False, True], ["a", "b"]])
def test_the_marks_of_labels(labels):
    labels = np.array(labels)
    y = labels[[0, 1, 1, 0, 1]]
    marks = marks_of(y, labels)
    if labels.dtype not in (np.int64, np.float64):
        assert marks is None
        return
    assert marks.tolist() == [0.0, 1.0, 1.0, 0.0, 1.0]
    for other in (y + 1, y[::2], y[:, None], y.astype(np.float32), y.tolist(), y * np.nan):
        assert marks_of(other, labels) is None
    assert marks_of(np.append(y, 5).astype(y.dtype), labels) is None
    assert marks_of(y, np.append(labels, 9).astype(y.dtype)) is None


def test_the_classes_must_be_known():
    X, index = data()
    with pytest.raises(ValueError, match="classes must be passed"):
        KalmanClassifier().partial_fit(X, index)
    with pytest.raises(FastoptError, match="two or more classes"):
        KalmanClassifier().partial_fit(X, index, [1])
    with pytest.raises(FastoptError, match="1 class of positive weight"):
        KalmanClassifier().fit(X, index, index.astype(float))
    with pytest.raises(FastoptError, match="link is 'log'"):
        KalmanClassifier("log").fit(X, index)
    k = KalmanClassifier().fit(X, index)
    before = everything(k)
    with pytest.raises(FastoptError, match="1 class"):
        k.fit(X[:, :2], index * 0)
    assert everything(k) == before
    assert k.n_features_in_ == P


def test_separation_warns():
    X, _ = data(n=800)
    index = (X[:, 0] > 0.2).astype(int)
    with pytest.warns(SeparationWarning, match="complete separation"):
        k = KalmanClassifier().fit(X, index)
    assert k.score(X, index) == 1.0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        KalmanClassifier().fit(X[:6], index[:6])  # so few rows are always separated


def test_merging():
    X, index = data(3)
    whole = KalmanClassifier().partial_fit(X, index, range(3))
    k = KalmanClassifier().partial_fit(X[:2000], index[:2000], range(3))
    few = KalmanClassifier().partial_fit(X[2000:], index[2000:], range(3))
    assert np.abs((k.merge(few).coef_ - whole.coef_) / whole.stderr_).max() < 1e-8
    before = everything(k)
    with pytest.raises(FastoptError, match="gaussian family"):
        k.merge(whole)
    with pytest.raises(FastoptError, match="the classes are"):
        k.merge(clone(whole).partial_fit(X, index + 1, range(1, 4)))
    assert everything(k) == before


@pytest.mark.parametrize("as_given", [list, np.asarray])
def test_classes_in_every_call_take_the_fast_path(as_given, monkeypatch):
    X, index = data()
    model = KalmanClassifier().partial_fit(X, index, [0, 1])
    other = KalmanClassifier().partial_fit(X, index, [0, 1])
    other.partial_fit(X[:1], index[:1])
    with pytest.raises(ValueError, match="classes"):
        model.partial_fit(X[:1], index[:1], as_given([0, 2]))
    monkeypatch.setattr(KalmanClassifier, "_checked", None)  # of the slow path
    model.partial_fit(X[:1], index[:1], as_given([0, 1]))
    assert everything(model) == everything(other)
