"""Tables of pandas, polars and Arrow, parquet files and formulas give the fits of arrays."""

import os
import pickle

import formulaic
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from sklearn.model_selection import cross_val_score

from fastopt import FastoptError
from fastopt.estimators import GLMClassifier, GLMRegressor
from fastopt.estimators.sources import parquet
from fastopt.estimators.sources.opening import open_rows

N = 900
RNG = np.random.default_rng(7)
X = RNG.normal(size=(N, 3))
Y = RNG.poisson(np.exp(0.4 + X @ [0.3, -0.2, 0.1])).astype(float)
W = RNG.random(N)
CITY = np.array(["Bern", "Rome", "Oslo"])[np.minimum(3 * np.arange(N) // N, 2)]  # sorted
FRAME = pd.DataFrame({"a": X[:, 0], "y": Y, "b": X[:, 1], "w": W, "c": X[:, 2]})
ALL = FRAME.assign(city=CITY, many=CITY, level=np.arange(N) % 5, labels=np.where(Y > 1, "+", "-"))
ROLES = dict(y="y", sample_weight="w")


def written(path, frame=FRAME, **options):
    pq.write_table(pa.Table.from_pandas(frame), path, row_group_size=250, **options)
    return str(path)


def directory(path):
    for i, part in enumerate((FRAME[:400], FRAME[400:])):
        (path / f"part={i}").mkdir(parents=True)
        written(path / f"part={i}" / "rows.parquet", part)
    return path


FORMS = {
    "pandas": lambda _: FRAME,
    "pandas extension types": lambda _: FRAME.convert_dtypes().astype({"y": "Int64"}),
    "polars": lambda _: pl.from_pandas(FRAME),
    "arrow": lambda _: pa.Table.from_pandas(FRAME),
    "batch": lambda _: pa.Table.from_pandas(FRAME).to_batches()[0],
    "path": lambda path: written(path / "x.parquet"),
    "ParquetFile": lambda path: pq.ParquetFile(written(path / "x.parquet")),
    "dataset": lambda path: ds.dataset(directory(path / "parts")),
    "function": lambda _: lambda: (FRAME[i : i + 100] for i in range(0, N, 100)),
    "list": lambda _: [FRAME[:300], FRAME[300:]],
    "arrow batches": lambda _: pa.Table.from_pandas(FRAME).to_batches(200),
}


@pytest.mark.parametrize("form", FORMS)
def test_named_columns_give_the_fit_of_arrays(form, tmp_path):
    data = FORMS[form](tmp_path)
    own = GLMRegressor("poisson").fit(data, **ROLES)
    array = GLMRegressor("poisson").fit(X, Y, W)
    np.testing.assert_allclose(own.coef_, array.coef_, rtol=1e-12)
    assert own.feature_names_in_.tolist() == ["a", "b", "c"]
    assert own.fitted_.names == ("const", "a", "b", "c")
    assert own.fitted_.y_name == "y"
    np.testing.assert_allclose(own.predict(data), array.predict(X), rtol=1e-12)
    np.testing.assert_allclose(own.predict(FRAME[["a", "b", "c"]]), array.predict(X), rtol=1e-12)
    assert own.score(data, **ROLES) == pytest.approx(array.score(X, Y, W), rel=1e-12)
    with pytest.raises(ValueError, match="feature names should match"):
        own.predict(FRAME[["b", "a", "c"]])


@pytest.mark.parametrize("form", ["path", "arrow", "batches"])
def test_the_index_of_pandas_is_no_feature(form, tmp_path):
    frame = FRAME[FRAME["a"] > 0]
    table = pa.Table.from_pandas(frame)
    assert "__index_level_0__" in table.column_names
    forms = {
        "path": lambda: written(tmp_path / "x.parquet", frame),
        "arrow": lambda: table,
        "batches": lambda: table.to_batches(100),
    }
    own = GLMRegressor("poisson").fit(forms[form](), **ROLES)
    assert own.feature_names_in_.tolist() == ["a", "b", "c"]
    np.testing.assert_allclose(own.predict(table), own.predict(frame), rtol=1e-12)


def test_names_that_are_numbers():
    own = GLMRegressor("poisson").fit(pd.DataFrame(X), Y)
    assert own.fitted_.names == ("const", "x1", "x2", "x3")
    assert not hasattr(own, "feature_names_in_")
    np.testing.assert_allclose(own.predict(pd.DataFrame(X)), own.predict(X), rtol=1e-13)


def test_the_columns_of_a_partitioned_directory(tmp_path):
    path = directory(tmp_path / "parts")
    own = GLMRegressor("poisson").fit(path, **ROLES)
    part = np.where(np.arange(N) < 400, 0.0, 1.0)
    array = GLMRegressor("poisson").fit(np.column_stack([X, part]), Y, W)
    assert own.feature_names_in_.tolist() == ["a", "b", "c", "part"]
    np.testing.assert_allclose(own.coef_, array.coef_, rtol=1e-12)


@pytest.mark.parametrize("form", ["pandas", "polars", "path"])
@pytest.mark.parametrize("right", ["a + b + city", "a * C(level)", "bs(a, df=4) + city", "b - 1"])
def test_a_formula_gives_the_matrix_of_formulaic(form, right, tmp_path):
    """That of all rows, although a chunk of the file has one city."""
    data = {
        "pandas": lambda: ALL,
        "polars": lambda: pl.from_pandas(ALL),
        "path": lambda: written(tmp_path / "x.parquet", ALL),
    }[form]()
    own = GLMRegressor("poisson", formula=f"y ~ {right}").fit(data, sample_weight="w")
    design = formulaic.model_matrix(right, ALL)
    names = [name for name in design.columns if name != "Intercept"]
    has_intercept = "Intercept" in design.columns
    array = GLMRegressor("poisson", fit_intercept=has_intercept).fit(
        design[names].to_numpy(float), Y, W
    )
    assert own.fitted_.names == (*["Intercept"][: int(has_intercept)], *names)
    np.testing.assert_allclose(own.coef_, array.coef_, rtol=1e-10, atol=1e-12)
    again = pickle.loads(pickle.dumps(own))
    some = ALL.loc[600:].drop(columns="y")
    np.testing.assert_array_equal(again.predict(some), own.predict(some))
    np.testing.assert_allclose(own.predict(some), own.predict(data)[600:], rtol=1e-12)


@pytest.fixture
def small_blocks(monkeypatch):
    """A first chunk of 100 rows, in which there is one city."""
    for kind in ("features.NumericColumns", "formula.Formula"):
        monkeypatch.setattr(f"fastopt.estimators.sources.{kind}.most_rows", 100)
    monkeypatch.setattr("fastopt.estimators.sources.opening.FIRST_ROWS", 100)


def test_levels_come_from_all_rows_of_a_file(tmp_path, small_blocks):
    frame = ALL.assign(ordered=pd.Categorical(CITY, categories=["Rome", "Bern", "Oslo"]))
    path = written(tmp_path / "x.parquet", frame)
    own = GLMRegressor("poisson", formula="y ~ city + C(level) + ordered:a").fit(path)
    frames = GLMRegressor("poisson", formula="y ~ city + C(level) + ordered:a").fit(frame)
    assert own.fitted_.names == frames.fitted_.names
    assert own.fitted_.names[1:3] == ("city[T.Oslo]", "city[T.Rome]")
    np.testing.assert_allclose(own.coef_, frames.coef_, rtol=1e-11)


@pytest.mark.parametrize("kind", ["text", "category", "category of each chunk"])
def test_levels_of_chunks_come_from_all_chunks(kind):
    frame = ALL if kind == "text" else ALL.assign(city=pd.Categorical(CITY))
    chunks = [frame[i : i + 100] for i in range(0, N, 100)]
    if kind == "category of each chunk":  # as pandas.read_csv makes them
        chunks = [part.assign(city=part["city"].cat.remove_unused_categories()) for part in chunks]
    own = GLMRegressor("poisson", formula="y ~ city").fit(lambda: iter(chunks))
    whole = GLMRegressor("poisson", formula="y ~ city").fit(frame)
    assert own.fitted_.names == ("Intercept", *whole.fitted_.names[1:])
    assert {*own.fitted_.names[1:]} == {"city[T.Oslo]", "city[T.Rome]"}
    np.testing.assert_allclose(own.predict(frame), whole.predict(frame), rtol=1e-12)


def test_transforms_take_their_state_from_all_rows_of_a_table(small_blocks):
    frame = ALL.sort_values("a")
    own = GLMRegressor("poisson", formula="y ~ bs(a, df=4) + center(b)").fit(frame)
    design = formulaic.model_matrix("bs(a, df=4) + center(b)", frame)
    array = GLMRegressor("poisson").fit(design.to_numpy()[:, 1:], frame["y"])
    np.testing.assert_allclose(own.coef_, array.coef_, rtol=1e-10)


def test_a_new_level_in_predict_is_an_error():
    own = GLMRegressor("poisson", formula="y ~ city").fit(ALL)
    with pytest.raises(FastoptError, match=r"the level 'Paris' in row 1.*'Bern', 'Oslo'"):
        own.predict(pd.DataFrame({"city": ["Bern", "Paris"]}))


def test_a_missing_category_in_predict_is_an_error():
    own = GLMRegressor("poisson", formula="y ~ city").fit(ALL)
    with pytest.raises(FastoptError, match="'city' is missing in row 1"):
        own.predict(pd.DataFrame({"city": ["Bern", None]}))


@pytest.mark.parametrize(("most", "is_kept"), [(3 * N, True), (3 * N - 1, False)])
def test_a_small_table_is_converted_once(most, is_kept, monkeypatch):
    monkeypatch.setattr("fastopt.estimators.sources.opening.KEPT_NUMBERS", most)
    rows = open_rows(FRAME, ROLES).rows
    first, second = ([block.x for block in rows.blocks()] for _ in range(2))
    assert (first[0] is second[0]) == is_kept


def test_classes_are_labels_of_a_column(tmp_path):
    path = written(tmp_path / "x.parquet", ALL)
    own = GLMClassifier(formula="labels ~ a + b + c").fit(path, sample_weight="w")
    array = GLMClassifier().fit(X, ALL["labels"].to_numpy(), W)
    assert own.classes_.tolist() == ["+", "-"]
    np.testing.assert_allclose(own.coef_, array.coef_, rtol=1e-11)
    assert own.score(path, sample_weight="w") == pytest.approx(
        array.score(X, ALL["labels"], W), rel=1e-12
    )


def test_formulas_in_cross_validation():
    own = cross_val_score(GLMRegressor("poisson", formula="y ~ a + b + c"), FRAME, cv=3)
    array = cross_val_score(GLMRegressor("poisson"), X, Y, cv=3)
    np.testing.assert_allclose(own, array, rtol=1e-10)


def test_a_response_can_be_an_expression():
    own = GLMRegressor(formula="log(y + 1) ~ a").fit(ALL)
    array = GLMRegressor().fit(X[:, :1], np.log(Y + 1))
    np.testing.assert_allclose(own.coef_, array.coef_, rtol=1e-12)


def test_partitions_as_those_of_dask():
    class Frame:
        npartitions = 3

        def __init__(self, frame):
            self.frame = frame

        @property
        def partitions(self):
            return [Frame(self.frame[i : i + 300]) for i in range(0, N, 300)]

        def compute(self):
            return self.frame

    own = GLMRegressor("poisson").fit(Frame(FRAME), **ROLES)
    np.testing.assert_allclose(own.coef_, GLMRegressor("poisson").fit(X, Y, W).coef_, rtol=1e-12)


def missing(name, row):
    frame = ALL.copy()
    frame.loc[row, name] = None
    return frame


BAD = [
    (FRAME, {}, {}, FastoptError, "y is None"),
    (FRAME, {}, dict(y="z"), FastoptError, "y is 'z'; X has the columns 'a', 'y'"),
    (ALL, {}, dict(y="y"), TypeError, "column 'city' has dtype (str|object).*C.city.*one-hot"),
    (FRAME.assign(d=pd.Categorical(CITY)), {}, dict(y="y"), TypeError, "column 'd' has .*category"),
    (FRAME.assign(d=pd.Timestamp(0)), {}, dict(y="y"), TypeError, "column 'd' has .*datetime"),
    (pl.from_pandas(ALL), {}, dict(y="y"), TypeError, "column 'city' has dtype large_string"),
    (missing("b", 17)[["y", "b"]], {}, dict(y="y"), FastoptError, "'b' is missing in row 17"),
    (missing("y", 17)[["y", "b"]], {}, dict(y="y"), FastoptError, "'y' .y. is missing in row 17"),
    (missing("w", 5)[["y", "w", "a"]], {}, ROLES, FastoptError, "'w' .sample_weight. .* row 5"),
    (missing("city", 9), dict(formula="y ~ city"), {}, FastoptError, "'city' is missing in row 9"),
    (FRAME[["y"]], {}, dict(y="y"), FastoptError, "X has no column for a feature"),
    (FRAME, dict(formula="y ~ log(a)"), {}, FastoptError, r"'log\(a\)' is nan in row"),
    (FRAME.replace(X[3, 1], np.inf), {}, dict(y="y"), FastoptError, "'b' is inf in row 3"),
    (FRAME.rename(columns={"b": "a"}), {}, dict(y="y"), FastoptError, "several columns named 'a'"),
    (pl.from_pandas(FRAME).lazy(), {}, dict(y="y"), FastoptError, "LazyFrame.*collect"),
    ("no.parquet", {}, dict(y="y"), FastoptError, "'no.parquet'; there is no such file"),
    (os.path.dirname(__file__), {}, dict(y="y"), FastoptError, "not a parquet file"),
    (__file__, {}, dict(y="y"), FastoptError, "not a parquet file.*read_csv.*chunksize"),
    (ds.dataset(pa.table({"a": [1.0]})), {}, dict(y="a"), TypeError, "InMemoryDataset; allowed"),
    (FRAME, dict(formula="y ~ a + z"), {}, FastoptError, "uses 'z', which is no column"),
    (FRAME, dict(formula="y ~ a +"), {}, FastoptError, "formula is 'y ~ a [+]': Operator"),
    (FRAME, dict(formula="y + a ~ b"), {}, FastoptError, "with 2 responses; one is needed"),
    (FRAME, dict(formula="y ~ a | b"), {}, FastoptError, "has parts, separated by"),
    (FRAME, dict(formula=3), {}, TypeError, "formula is 3; a string"),
    (FRAME, dict(formula="y ~ a"), dict(y="y"), FastoptError, "y is given, and the formula"),
    (FRAME, dict(formula="y ~ a", fit_intercept=False), {}, FastoptError, "has an intercept"),
    (X, dict(formula="y ~ a"), {}, TypeError, "formula= needs a table"),
    ([(X, Y)], dict(formula="a"), {}, TypeError, "formula= needs tables"),
    (ALL, dict(formula="city ~ a"), {}, TypeError, "y has dtype object .row 0 is 'Bern'"),
]  # fmt: skip


@pytest.mark.parametrize(("data", "options", "roles", "kind", "message"), BAD)
def test_errors_name_the_column_or_row(data, options, roles, kind, message):
    with pytest.raises(kind, match=message):
        GLMRegressor("poisson", **options).fit(data, **roles)


def test_rows_of_errors_are_counted_over_all_chunks(tmp_path, small_blocks):
    path = written(tmp_path / "x.parquet", missing("b", 512)[["y", "b"]])
    with pytest.raises(FastoptError, match="'b' is missing in row 512, counted from 0"):
        GLMRegressor("poisson").fit(path, y="y")


def test_a_dataset_with_a_filter_is_refused(tmp_path):
    data = ds.dataset(directory(tmp_path / "parts")).filter(ds.field("a") > 0)
    with pytest.raises(FastoptError, match=r"with a filter.*to_batches"):
        GLMRegressor("poisson").fit(data, **ROLES)
    own = GLMRegressor("poisson").fit(data.to_batches, **ROLES)
    use = X[:, 0] > 0
    array = GLMRegressor("poisson").fit(X[use], Y[use], W[use])
    np.testing.assert_allclose(own.coef_, array.coef_, rtol=1e-12)


@pytest.mark.parametrize(("rows", "places"), [(1024, 16), (2**14, 1)])
def test_a_parquet_file_is_read_from_as_many_places_as_fit_into_memory(
    tmp_path, monkeypatch, rows, places
):
    """More of them where row groups are small, because pages are not larger than those."""
    monkeypatch.setattr(parquet, "MOST_PAGES", 2**22)
    table = pa.table([*np.random.default_rng(0).normal(size=(8, 2**15))], names=[*"abcdefgh"])
    pq.write_table(table, tmp_path / "x.parquet", row_group_size=rows, use_dictionary=False)
    starts = parquet.ParquetReader(tmp_path / "x.parquet").starts(64)
    assert len(starts) in (places, places - 1)
    assert starts[0] == 0
