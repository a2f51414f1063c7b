"""One pass over files, memory maps, tables and chunks: each row once, in an order without trend."""

import warnings

import numpy as np
import pytest

from fastopt import FastoptError
from fastopt.estimators import GLMRegressor, KalmanClassifier, KalmanRegressor
from fastopt.estimators.sources.interleaved import interleaved
from fastopt.estimators.sources.memory_map import MemoryMap
from fastopt.estimators.sources.roles import Roles

N, P = 20_000, 4


def data(family="poisson", n=N):
    """Return X, y, weights and offsets of rows that are sorted by y."""
    rng = np.random.default_rng(0)
    mean = np.array([0.0, 1e3, 0.0, 0.0])
    X = mean + rng.normal(size=(n, P))
    offset = rng.normal(size=n) / 4
    z = (X - mean) @ [0.5, -0.3, 0.2, 0.1] + offset
    y = rng.poisson(np.exp(z)) if family == "poisson" else z + rng.normal(size=n)
    order = np.argsort(y, kind="stable")
    return X[order], y[order].astype(float), rng.uniform(0.5, 2.0, n), offset[order]


def as_map(X, _per_row, path):
    np.save(path / "x.npy", X)
    return np.load(path / "x.npy", mmap_mode="r")


def as_pandas(X, per_row, path):
    pandas = pytest.importorskip("pandas")
    return pandas.DataFrame(X, columns=list("abcd")).assign(**per_row)


def as_parquet(X, per_row, path):
    pytest.importorskip("pyarrow")
    as_pandas(X, per_row, path).to_parquet(path / "rows.parquet", row_group_size=500)
    return path / "rows.parquet"


def as_chunks(X, per_row, path):
    def chunks():
        for i in range(0, len(X), 999):
            rows = {name: values[i : i + 999] for name, values in per_row.items()}
            yield {"X": X[i : i + 999], **rows}

    return chunks


def fitted(model, kind, path, family="poisson"):
    """Return the model after a fit of the rows in some kind of data."""
    X, y, weight, offset = data(family)
    per_row = dict(y=y, sample_weight=weight, offset=offset)
    given = kind(X, per_row, path)
    if kind is as_map:
        return model.fit(given, **per_row)
    if kind is as_chunks:
        return model.fit(given)
    return model.fit(given, **{name: name for name in per_row})


@pytest.mark.parametrize("kind", [as_map, as_pandas, as_parquet, as_chunks])
def test_least_squares_of_any_kind_of_data(kind, tmp_path):
    X, y, weight, offset = data("gaussian")
    k = fitted(KalmanRegressor(), kind, tmp_path, "gaussian")
    other = GLMRegressor().fit(X, y, weight, offset=offset)
    assert k.n_obs_ == N
    np.testing.assert_allclose(k.coef_, other.coef_, rtol=1e-9)
    np.testing.assert_allclose(k.stderr_, other.stderr_, rtol=1e-9)
    assert hasattr(k, "feature_names_in_") == (kind in (as_pandas, as_parquet))
    rows = as_pandas(X[:5], {}, tmp_path) if hasattr(k, "feature_names_in_") else X[:5]
    names = k.feature_names_in_ if hasattr(k, "feature_names_in_") else ["x1", "x2", "x3", "x4"]
    assert k.fitted_.names == ("const", *names)
    assert f"\n{names[0]} " in str(k.summary())
    np.testing.assert_allclose(k.predict(rows, offset[:5]), other.predict(X[:5], offset[:5]))


@pytest.mark.parametrize("epochs", [1, 2])
@pytest.mark.parametrize("kind", [as_map, as_pandas, as_parquet])
def test_sorted_data_are_read_from_many_places(kind, epochs, tmp_path, monkeypatch):
    monkeypatch.setattr("fastopt.estimators.sources.memory_map.NUMBERS", 10_000)
    monkeypatch.setattr("fastopt.estimators.sources.opening.KEPT_NUMBERS", 0)
    X, y, weight, offset = data()
    glm = GLMRegressor("poisson").fit(X, y, weight, offset=offset)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        k = fitted(KalmanRegressor("poisson", epochs=epochs, random_state=0), kind, tmp_path)
    assert np.abs((k.coef_ - glm.coef_) / glm.stderr_).max() < 1.0
    np.testing.assert_allclose(k.stderr_, glm.stderr_, rtol=0.05)
    assert (k.n_obs_, k.n_iter_) == (epochs * N, epochs)


@pytest.mark.parametrize(
    ("kind", "options"),
    [(as_chunks, {}), (as_map, {"shuffle": False}), (as_map, {"interleave": 1})],
    ids=["chunks", "in order", "one place"],
)
def test_sorted_data_in_their_order_warn(kind, options, tmp_path, monkeypatch):
    monkeypatch.setattr("fastopt.estimators.sources.memory_map.NUMBERS", 1000)
    with pytest.warns(UserWarning, match="of Fisher's"):
        fitted(KalmanRegressor("poisson", **options), kind, tmp_path)


@pytest.mark.parametrize("number", [1, 3, 64, 10**6])
def test_every_row_is_read_once(number, tmp_path):
    x = as_map(np.arange(1000.0)[:, None], None, tmp_path)
    source = MemoryMap(x, Roles({"y": np.arange(1000.0), "sample_weight": np.arange(1000.0) + 1}))
    blocks = list(interleaved(source, number, np.random.RandomState(0)))
    rows = np.concatenate([block.x[:, 0] for block in blocks])
    assert sorted(rows) == list(range(1000))
    assert (rows == np.concatenate([block.y for block in blocks])).all()
    assert (rows + 1 == np.concatenate([block.total_weight() for block in blocks])).all()


@pytest.mark.parametrize("labels", [["no", "yes"], ["a", "b", "c"]])
def test_labels_in_a_column(labels, tmp_path):
    X, y, *_ = data()
    index = np.minimum(y.astype(int), len(labels) - 1)
    names = np.array(labels)[index]
    table = as_pandas(X, {"label": names}, tmp_path)
    k = KalmanClassifier(random_state=0).fit(table, "label")
    assert list(k.classes_) == labels
    assert list(k.feature_names_in_) == list("abcd")
    other = KalmanClassifier(random_state=0).fit(X, names)
    assert np.abs((k.coef_ - other.coef_) / other.stderr_).max() < 1.0
    assert np.mean(k.predict(table) == other.predict(X)) > 0.99


def test_the_data_can_be_read_only_once(tmp_path):
    X, y, *_ = data(n=100)
    with pytest.raises(TypeError, match="partial_fit"):
        KalmanRegressor().fit(iter([(X, y)]))


def test_data_without_rows_is_an_error():
    empty = [(np.empty((0, 2)), np.empty(0))]
    with pytest.raises(FastoptError, match="no row has a positive weight"):
        KalmanRegressor().fit(empty)
