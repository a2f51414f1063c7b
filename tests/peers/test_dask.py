"""Fits of rows that Dask holds are those of the same rows in one process, and of statsmodels."""

import doctest
import importlib
import os
import pickle
import signal
import sys
from pathlib import Path

import dask
import dask.array as da
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from dask import delayed
from distributed import Client, LocalCluster
from sklearn.base import clone
from threadpoolctl import threadpool_info, threadpool_limits

from fastopt import FastoptError
from fastopt.estimators import GLMClassifier as LocalClassifier
from fastopt.estimators import GLMRegressor as LocalRegressor
from fastopt.estimators.dask import GLMClassifier, GLMRegressor
from fastopt.estimators.dask.rows import DaskRows

N, P = 2000, 5
RNG = np.random.default_rng(3)
X = RNG.normal(size=(N, P)) @ RNG.normal(size=(P, P)) + 10.0
MEAN = np.exp((X - 10.0) @ np.full(P, 0.1))
COUNTS = RNG.poisson(MEAN).astype(float)
IS_HIGH = RNG.random(N) < MEAN / (1.0 + MEAN)
REAL = MEAN + RNG.normal(size=N)
W = RNG.random(N) + 0.5
CITY = np.array(["Bern", "Oslo", "Rome"])[np.minimum(3 * np.arange(N) // N, 2)]  # sorted
FRAME = pd.DataFrame(X, columns=list("edcba")).assign(y=COUNTS, w=W, city=CITY)
NUMBERS = FRAME.drop(columns="city")
CHUNKS = 300


def arrays(*values):
    return [da.from_array(value, chunks=CHUNKS) for value in values]


def frame(table=FRAME, npartitions=6):
    return dd.from_pandas(table, npartitions=npartitions, sort=False)


def blocks(*values):
    return [
        delayed(tuple)([value[i : i + CHUNKS] for value in values]) for i in range(0, N, CHUNKS)
    ]


def assert_same(model, other):
    for name in ("coef_", "intercept_", "stderr_", "llf_", "null_deviance_"):
        np.testing.assert_allclose(
            getattr(model, name), getattr(other, name), rtol=1e-10, err_msg=name
        )


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    directory = str(tmp_path_factory.mktemp("workers"))
    options = dict(n_workers=2, threads_per_worker=1, dashboard_address=None)
    with LocalCluster(**options, local_directory=directory) as found:
        yield found


@pytest.fixture
def client(cluster):
    with Client(cluster, set_as_default=False) as found, found.as_current():
        yield found


@pytest.mark.parametrize(
    ("family", "y"), [("gaussian", REAL), ("poisson", COUNTS), ("binomial", IS_HIGH.astype(float))]
)
def test_two_worker_processes(client, family, y):
    model = GLMRegressor(family).fit(*arrays(X, y, W))
    if family == "gaussian":
        one = LocalRegressor(family).fit(X, y, W)
        coef, stderr, tol = (
            np.append(one.intercept_, one.coef_),
            np.sqrt(np.diag(one.covariance_)),
            1e-10,
        )
    else:
        kind = {"poisson": sm.families.Poisson(), "binomial": sm.families.Binomial()}[family]
        peer = sm.GLM(y, sm.add_constant(X), kind, var_weights=W).fit(tol=1e-14)
        coef, stderr, tol = peer.params, peer.bse, 1e-9
    np.testing.assert_allclose(np.append(model.intercept_, model.coef_), coef, rtol=0, atol=tol)
    np.testing.assert_allclose(np.sqrt(np.diag(model.covariance_)), stderr, rtol=0, atol=tol)
    assert len(client.scheduler_info()["workers"]) == 2


def test_a_worker_killed_in_mid_fit_changes_nothing(client, tmp_path, monkeypatch):
    whole = GLMRegressor("poisson").fit(*arrays(X, COUNTS))
    computed, flag, rounds = DaskRows.reduced, str(tmp_path / "killed"), []

    def reduced(self, function, combine):
        rounds.append(len(rounds))
        if len(rounds) != 3:
            return computed(self, function, combine)

        def killing(block):
            try:
                os.close(os.open(flag, os.O_CREAT | os.O_EXCL))
            except FileExistsError:
                return function(block)
            return os.kill(os.getpid(), signal.SIGKILL)

        return computed(self, killing, combine)

    monkeypatch.setattr(DaskRows, "reduced", reduced)
    model = GLMRegressor("poisson").fit(*arrays(X, COUNTS))
    assert Path(flag).exists()
    assert len(rounds) > 3
    np.testing.assert_allclose(model.coef_, whole.coef_, rtol=0, atol=1e-12)
    np.testing.assert_allclose(model.stderr_, whole.stderr_, rtol=0, atol=1e-12)


def test_futures_and_predictions_of_workers(client):
    futures = [
        client.submit(lambda i: (X[i : i + 500], COUNTS[i : i + 500]), i)
        for i in (0, 500, 1000, 1500)
    ]
    model = GLMRegressor("poisson").fit(futures)
    assert_same(model, LocalRegressor("poisson").fit(X, COUNTS))
    x = da.from_array(X, chunks=700)
    np.testing.assert_array_equal(model.predict(x).compute(), model.predict(X))


MASK = X[:, 0] > 10.0
FORMS = {
    "arrays": lambda: arrays(X, COUNTS, W),
    "chunks of columns": lambda: [da.from_array(X, chunks=(300, 2)), *arrays(COUNTS, W)],
    "other chunks of y": lambda: [da.from_array(X, chunks=700), *arrays(COUNTS, W)],
    "column vector": lambda: [*arrays(X), da.from_array(COUNTS[:, None], chunks=900), *arrays(W)],
    "arrays of NumPy": lambda: [*arrays(X), COUNTS, W],
    "delayed tuples": lambda: [blocks(X, COUNTS, W)],
    "lists of delayed": lambda: [
        [b[0] for b in blocks(X, COUNTS, W)],
        [b[1] for b in blocks(X, COUNTS, W)],
        [b[2] for b in blocks(X, COUNTS, W)],
    ],
    "delayed tables": lambda: [[delayed(NUMBERS)[:800], delayed(NUMBERS)[800:]], "y", "w"],
    "delayed and local": lambda: [[(X[:300], COUNTS[:300], W[:300]), *blocks(X, COUNTS, W)[1:]]],
    "one block": lambda: [delayed((X, COUNTS, W))],
    "names of columns": lambda: [frame(NUMBERS), "y", "w"],
    "series": lambda: [frame()[list("edcba")], frame()["y"], frame()["w"]],
    "arrays of a frame": lambda: [
        frame()[list("edcba")].to_dask_array(),
        frame()["y"].to_dask_array(),
        frame()["w"].to_dask_array(),
    ],
    "empty blocks": lambda: [
        da.concatenate([da.zeros((0, P)), *arrays(X)]),
        da.concatenate([da.zeros(0), *arrays(COUNTS)]),
        W,
    ],
    "empty partitions": lambda: [
        dd.concat([frame(NUMBERS)[lambda t: t["e"] > 1e9], frame(NUMBERS)]),
        "y",
        "w",
    ],
}


@pytest.mark.parametrize("form", FORMS)
def test_collections_give_the_fit_of_arrays(form):
    model = GLMRegressor("poisson").fit(*FORMS[form]())
    local = LocalRegressor("poisson").fit(X, COUNTS, W)
    assert_same(model, local)
    x, *rest = FORMS[form]()
    assert model.score(x, *rest) == pytest.approx(local.score(X, COUNTS, W), rel=1e-10)
    predicted = model.predict(x)
    assert isinstance(predicted, da.Array)
    np.testing.assert_allclose(predicted.compute(), local.predict(X), rtol=1e-12)


def test_unknown_chunk_sizes_float32_and_sparse():
    x, y = arrays(X.astype(np.float32), COUNTS)
    model = GLMRegressor("poisson").fit(x[x[:, 0] > 10], y[x[:, 0] > 10])
    own = np.float32(X)[:, 0] > 10
    assert_same(model, LocalRegressor("poisson").fit(np.float32(X)[own], COUNTS[own]))
    from scipy.sparse import csr_array

    rows = np.where(X > 11, X, 0.0)
    sparse = arrays(rows)[0].map_blocks(csr_array)
    assert_same(GLMRegressor("poisson").fit(sparse, y), LocalRegressor("poisson").fit(rows, COUNTS))


@pytest.mark.parametrize("as_category", [False, True, "unknown"])
def test_formula(as_category):
    text = "y ~ a + C(city) + np.log(w)"
    table = frame()
    if as_category:
        table = table.assign(city=table["city"].astype("category"))
        table = table if as_category == "unknown" else table.categorize("city")
    table = dd.concat([table[table["w"] > 9], table])  # with empty partitions
    model = GLMRegressor("poisson", formula=text).fit(table)
    local = LocalRegressor("poisson", formula=text).fit(FRAME)
    assert_same(model, local)
    assert model.fitted_.names == local.fitted_.names
    np.testing.assert_allclose(model.predict(table).compute(), local.predict(FRAME), rtol=1e-12)
    named = frame().assign(mean=model.predict(frame())).compute()
    np.testing.assert_allclose(named["mean"], local.predict(FRAME), rtol=1e-12)


@pytest.mark.parametrize("kind", ["HC0", "HC1", "HC2", "HC3", "cluster"])
def test_robust_covariances(kind):
    groups = (
        {"groups": np.char.add("g", (np.arange(N) % 37).astype(str))} if kind == "cluster" else {}
    )
    model = GLMRegressor("gamma", cov_type=kind).fit(*arrays(X, COUNTS + 1.0), **groups)
    local = LocalRegressor("gamma", cov_type=kind).fit(X, COUNTS + 1.0, **groups)
    assert_same(model, local)


@pytest.mark.parametrize(
    "options", [dict(family="tweedie"), dict(alpha=0.1), dict(alpha=0.1, l1_ratio=0.9)], ids=str
)
def test_offset_exposure_and_options(options):
    options = {"family": "poisson", **options}
    own = dict(offset=W - 1.0, exposure=W)
    model = GLMRegressor(**options).fit(*arrays(X, COUNTS), **own)
    local = LocalRegressor(**options).fit(X, COUNTS, **own)
    np.testing.assert_allclose(model.coef_, local.coef_, rtol=1e-9, atol=1e-12)
    assert model.llf_ == pytest.approx(local.llf_, rel=1e-9)
    shift = dict(zip(own, arrays(*own.values()), strict=True))
    predicted = model.predict(*arrays(X), **shift).compute()
    np.testing.assert_array_equal(predicted, model.predict(X, **own))


@pytest.mark.parametrize("labels", [IS_HIGH, CITY, np.where(IS_HIGH, "+", "-").astype(object)])
def test_classifier(labels):
    x, y = arrays(X, labels)
    model, local = GLMClassifier().fit(x, y), LocalClassifier().fit(X, labels)
    np.testing.assert_allclose(model.coef_, local.coef_, rtol=1e-9, atol=1e-10)
    np.testing.assert_array_equal(model.classes_, local.classes_)
    assert model.score(x, y) == local.score(X, labels)
    for name in ("predict", "predict_proba", "predict_log_proba", "decision_function"):
        found, whole = getattr(model, name)(x), getattr(model, name)(X)
        assert isinstance(found, da.Array)
        assert (found.shape, found.dtype) == (whole.shape, whole.dtype)
        assert np.array_equal(found.compute(), whole) or name != "predict"
        if name != "predict":
            np.testing.assert_allclose(found.compute(), whole, rtol=1e-12)


def test_classifier_of_a_frame():
    table = frame(FRAME.drop(columns="y"))
    model = GLMClassifier().fit(table, y="city", sample_weight="w")
    whole = FRAME.drop(columns="y")
    local = LocalClassifier().fit(whole, y="city", sample_weight="w")
    np.testing.assert_allclose(model.coef_, local.coef_, rtol=1e-9, atol=1e-10)
    assert model.predict(table).compute().tolist() == local.predict(whole).tolist()


def test_intervals():
    x, y = arrays(X, COUNTS)
    model = GLMRegressor("poisson").fit(x, y)
    for found, whole in zip(
        model.predict(x, interval=0.9), model.predict(X, interval=0.9), strict=True
    ):
        np.testing.assert_allclose(found.compute(), whole, rtol=1e-12)


def test_blocks_are_converted_once_or_in_each_round():
    calls = []

    def part(i):
        calls.append(i)
        return X[i : i + CHUNKS], COUNTS[i : i + CHUNKS]

    parts = [delayed(part)(i) for i in range(0, N, CHUNKS)]
    GLMRegressor("poisson").fit(parts)
    once = len(calls)
    assert once == len(parts) + 1  # the first tells the number of columns
    with dask.config.set({"fastopt.persist": False}):
        GLMRegressor("poisson").fit(parts)
    assert len(calls) > 4 * len(parts)


def test_blas_has_one_thread_in_each_thread_of_dask():
    threads = []

    def part():
        threads.extend(
            pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"
        )
        return X, COUNTS

    with dask.config.set({"fastopt.persist": False}), threadpool_limits(2, "blas"):
        GLMRegressor("poisson").fit([delayed(part)()])
    assert threads[-1] == 1


def test_a_fit_keeps_no_rows_and_is_a_scikit_learn_estimator():
    model = GLMRegressor("poisson").fit(*arrays(X, COUNTS))
    assert len(pickle.dumps(model)) < 8000
    assert clone(model).family == "poisson"
    assert_same(GLMRegressor("poisson").fit(X, COUNTS), model)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(model)).coef_, model.coef_)
    assert model.fitted_.y_name == "y"


NAN = np.where(np.arange(N)[:, None] == 650, np.nan, X)
ERRORS = {
    "a name of y": (lambda: [frame(NUMBERS), "z"], "y is 'z'; X has the columns 'e', 'd'"),
    "a category": (lambda: [frame(), "y"], "column 'city' has dtype .*formula="),
    "another length": (lambda: [*arrays(X), COUNTS[1:]], "y has 1999 rows and X has 2000"),
    "numbers of blocks": (
        lambda: [frame(NUMBERS)[["a"]], frame(npartitions=4)["y"]],
        "y has 4 blocks and X has 6",
    ),
    "lengths of blocks": (
        lambda: [frame()[["a"]], frame()["y"][frame()["a"] > 10]],
        r"in block \d of X.*y has .* rows and X has",
    ),
    "an array for a frame": (lambda: [frame()[["a"]], COUNTS], "y is a ndarray, and the number of"),
    "a frame for y": (lambda: [frame()[["a"]], frame()[["y"]]], "y is a DataFrame; a Series"),
    "no y": (lambda: [frame(NUMBERS)], "y is None; y='column'"),
    "NaN": (lambda: arrays(NAN, COUNTS), r"in block 2 of X.*X\[50, 0\] is nan"),
    "a negative count": (lambda: arrays(X, REAL), r"in block \d of X.*the poisson family allows"),
    "one dimension": (lambda: arrays(COUNTS, COUNTS), r"X has shape \(2000,\)"),
}


@pytest.mark.parametrize("case", ERRORS)
def test_errors(case):
    make, message = ERRORS[case]
    with pytest.raises((FastoptError, TypeError), match=message):
        GLMRegressor("poisson").fit(*make())


@pytest.mark.parametrize("form", ["arrays", "delayed tuples", "one block", "series"])
def test_other_estimators_name_those_for_dask(form):
    with pytest.raises(TypeError, match=r"of fastopt\.estimators\.dask take it"):
        LocalRegressor("poisson").fit(*FORMS[form]())


def test_columns_without_names():
    table = frame(pd.DataFrame(X))
    assert_same(
        GLMRegressor("poisson").fit(table, frame()["y"]), LocalRegressor("poisson").fit(X, COUNTS)
    )
    model = GLMRegressor("poisson").fit(table, frame()["y"])
    assert model.fitted_.names[:2] == ("const", "x1")
    assert not hasattr(model, "feature_names_in_")


def test_errors_of_options_and_predictions():
    with pytest.raises(FastoptError, match=r"solver is 'sgd'.*'scoring' is needed for Dask"):
        GLMRegressor(solver="sgd").fit(*arrays(X, COUNTS))
    with pytest.raises(FastoptError, match="uses 'aa', which is no column"):
        GLMRegressor(formula="y ~ aa").fit(frame())
    model = GLMRegressor("poisson").fit(frame(NUMBERS), "y", "w")
    with pytest.raises(ValueError, match="feature names"):
        model.predict(frame(NUMBERS).rename(columns={"a": "A"}))
    with pytest.raises(ValueError, match="5 features"):
        GLMRegressor("poisson").fit(*arrays(X, COUNTS)).predict(arrays(X[:, 1:])[0])
    with pytest.raises(FastoptError, match=r"level is 2\.0"):
        GLMRegressor("poisson").fit(*arrays(X, COUNTS)).predict(*arrays(X), interval=2.0)
    with pytest.raises(FastoptError, match="no standard error"):
        GLMRegressor(alpha=1.0).fit(*arrays(X, COUNTS)).predict(*arrays(X), interval=0.9)
    with pytest.raises(FastoptError, match="interval needs two classes; there are 3"):
        GLMClassifier().fit(*arrays(X, CITY)).predict_proba(*arrays(X), interval=0.9)
    missing = frame(FRAME.assign(city=np.where(np.arange(N) == 1900, None, CITY)))
    with pytest.raises(
        FastoptError, match=r"in block 5 of X.*column 'city' is missing in row 2\d\d"
    ):
        GLMRegressor(formula="y ~ C(city)").fit(missing)
    with pytest.raises(FastoptError, match="y is missing in row 3"):
        GLMClassifier().fit(*arrays(X, np.where(np.arange(N) == 3, None, CITY)))


def test_the_error_without_dask_names_the_extra(monkeypatch):
    monkeypatch.delitem(sys.modules, "fastopt.estimators.dask")
    monkeypatch.setitem(sys.modules, "dask", None)
    with pytest.raises(ImportError, match=r"pip install '[.]\[dask\]'"):
        importlib.import_module("fastopt.estimators.dask")


@pytest.mark.parametrize("name", ["glm", "rows"])
def test_docstring_examples(name):
    module = importlib.import_module(f"fastopt.estimators.dask.{name}")
    found = doctest.testmod(module)
    assert found.failed == 0
    assert found.attempted > 0
