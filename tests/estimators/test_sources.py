"""Data that is no array in memory gives the rows, and so the fits, of an array in memory."""

import os

import numpy as np
import pytest
from sklearn.exceptions import NotFittedError

from fastopt import FastoptError
from fastopt.estimators import (
    GLMClassifier,
    GLMRegressor,
    KalmanClassifier,
    KalmanRegressor,
)
from fastopt.estimators.extras import library
from fastopt.estimators.sources.opening import open_rows
from fastopt.estimators.sources.pages import give_back, mapping_of

N, P = 700, 3
RNG = np.random.default_rng(5)
X = RNG.normal(size=(N, P))
Y = RNG.poisson(np.exp(0.4 + X @ [0.3, -0.2, 0.1])).astype(float)
W = RNG.random(N)
LABELS = np.array(["none", "one", "many"])[np.minimum(Y, 2).astype(int)]
CUTS = [slice(i, i + 150) for i in range(0, N, 150)]
TUPLES = [(X[own], Y[own], W[own]) for own in CUTS]


def mapped(path, x=X, order="C"):
    np.save(path, np.asarray(x, order=order))
    return np.load(path, mmap_mode="r")


def dicts():
    for x, y, w in TUPLES:
        yield {"X": x, "y": y, "sample_weight": w}


def read(rows):
    """Return the arrays of all blocks."""
    blocks = list(rows.blocks())
    names = ("x", "y", "weight", "offset", "frequency", "groups")
    return {
        name: np.concatenate([getattr(block, name) for block in blocks])
        for name in names
        if getattr(blocks[0], name) is not None
    }


@pytest.mark.parametrize("order", "CF")
@pytest.mark.parametrize("dtype", ["<f8", "<f4", ">f8", "i2", "?"])
def test_a_memory_map_gives_its_rows(tmp_path, dtype, order, monkeypatch):
    monkeypatch.setattr("fastopt.estimators.sources.memory_map.NUMBERS", 100)
    x = (10 * X).astype(dtype)
    given = dict(y=Y, sample_weight=mapped(tmp_path / "w.npy", W), offset=X[:, 0], exposure=1.0 + W,
                 groups=LABELS)  # fmt: skip
    rows = open_rows(mapped(tmp_path / "x.npy", x, order), given).rows
    for _ in range(2):  # pages that were given back are read again
        found = read(rows)
        np.testing.assert_array_equal(found["x"], x)
        assert found["x"].dtype == (np.float32 if dtype == "<f4" else np.float64)
        np.testing.assert_array_equal(found["y"], Y)
        np.testing.assert_array_equal(found["weight"], W)
        np.testing.assert_array_equal(found["offset"], X[:, 0] + np.log(1.0 + W))
        _, codes = np.unique(found["groups"], return_inverse=True)
        assert len({*zip(codes, LABELS, strict=True)}) == 3


def resident():
    """Return the number of resident bytes of this process."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="needs Linux's /proc")
@pytest.mark.parametrize("order", "CF")
def test_a_memory_map_is_not_resident_after_it_was_read(tmp_path, order):
    size = 2**26
    for name, shape in (("x", (size // 80, 10)), ("y", (size // 80,))):
        array = np.lib.format.open_memmap(
            tmp_path / f"{name}.npy", "w+", shape=shape, fortran_order=order == "F"
        )
        array[:] = 1.0
        array.flush()
        del array
    x, y = (np.load(tmp_path / f"{name}.npy", mmap_mode="r") for name in "xy")
    rows = open_rows(x, {"y": y}).rows
    before, most, total = resident(), 0, 0.0
    for block in rows.blocks():
        total += block.x.sum() + block.y.sum()
        most = max(most, resident() - before)
    assert total == x.size + y.size
    assert most < size // 3
    before, most = resident(), 0
    assert sum(len(part) for part in rows.observations()) == len(y)
    assert resident() - before < size // 20
    x.sum()
    assert resident() - before > size // 2  # the measure can tell


def test_pages_with_changes_are_kept(tmp_path):
    """In mode "c" the changes are in memory only."""
    np.save(tmp_path / "x.npy", np.zeros((4096, 4)))
    x = np.load(tmp_path / "x.npy", mmap_mode="c")
    x[:] = 1.0
    assert mapping_of(x) is None
    give_back(mapping_of(x), x)
    assert (x == 1.0).all()


@pytest.mark.parametrize(
    "chunks",
    [TUPLES, tuple(TUPLES), lambda: TUPLES, lambda: iter(TUPLES), dicts,
     lambda: ((x.astype(">f8").tolist(), y.tolist(), w) for x, y, w in TUPLES)],
    ids=["list", "tuple", "returns a list", "generator", "dicts", "lists"],
)  # fmt: skip
def test_chunks_give_their_rows(chunks):
    rows = open_rows(chunks, {}).rows
    for _ in range(2):
        found = read(rows)
        assert [*found] == ["x", "y", "weight"]
        np.testing.assert_array_equal(found["x"], X)
        np.testing.assert_array_equal(found["y"], Y)
        np.testing.assert_array_equal(found["weight"], W)
    assert rows.n_features == P
    assert rows.n_rows == N


class Opened:
    """A function that returns a generator of chunks, and counts those that are not closed."""

    def __init__(self, chunks):
        self.chunks, self.now, self.most = chunks, 0, 0

    def __call__(self):
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            yield from self.chunks
        finally:
            self.now -= 1


LATER = [(X[:300], LABELS[:300]), (X[300:], LABELS[300:])]
FITS = {
    "GLMRegressor": (GLMRegressor("poisson"), TUPLES, np.full(150, -1.0)),
    "epochs": (GLMRegressor("poisson", solver="sgd", eta0=1e-3, max_iter=2), TUPLES, -np.ones(150)),
    "GLMClassifier": (GLMClassifier(), LATER, np.array(["one"] * 149 + [None], dtype=object)),
    "KalmanRegressor": (KalmanRegressor("poisson"), TUPLES, np.full(150, -1.0)),
    "KalmanClassifier": (KalmanClassifier(), LATER, np.array(["one"] * 149 + [None], dtype=object)),
}


@pytest.mark.parametrize(("model", "chunks", "bad"), FITS.values(), ids=FITS)
@pytest.mark.filterwarnings("ignore")
def test_one_generator_is_open_at_a_time(model, chunks, bad):
    """Also after a partial read, and while a traceback refers to the generator."""
    good = Opened(chunks)
    model.fit(good).predict(good)
    assert (good.most, good.now) == (1, 0)
    failing = Opened([*chunks, (X[:150], bad, W[:150])[: len(chunks[0])], *chunks])
    with pytest.raises((FastoptError, TypeError)) as error:
        model.fit(failing)
    assert error.tb is not None
    assert (failing.most, failing.now) == (1, 0)


@pytest.fixture(params=["map", "chunks"])
def data(request, tmp_path):
    """Return X and the other arguments of `fit`, in another form than arrays in memory."""
    if request.param == "map":
        return mapped(tmp_path / "x.npy"), dict(y=Y, sample_weight=W)
    return TUPLES, {}


def test_a_regression_equals_that_of_arrays(data):
    given, per_row = data
    own = GLMRegressor("poisson").fit(given, **per_row)
    array = GLMRegressor("poisson").fit(X, Y, W)
    np.testing.assert_allclose(own.coef_, array.coef_, rtol=1e-13)
    np.testing.assert_allclose(own.stderr_, array.stderr_, rtol=1e-13)
    np.testing.assert_allclose(own.predict(given), array.predict(X), rtol=1e-13)
    np.testing.assert_allclose(
        own.predict(given, interval=0.9), array.predict(X, interval=0.9), rtol=1e-12
    )
    assert own.score(given, **per_row) == pytest.approx(array.score(X, Y, W), rel=1e-13)
    assert own.n_features_in_ == P


def test_a_classification_equals_that_of_arrays(data):
    given, per_row = data
    if per_row:
        per_row["y"] = LABELS
    else:
        given = [(x, LABELS[own], w) for own, (x, _, w) in zip(CUTS, given, strict=True)]
    own = GLMClassifier().fit(given, **per_row)
    array = GLMClassifier().fit(X, LABELS, W)
    np.testing.assert_array_equal(own.classes_, array.classes_)
    np.testing.assert_allclose(own.coef_, array.coef_, rtol=1e-12, atol=1e-15)
    np.testing.assert_array_equal(own.predict(given), array.predict(X))
    assert own.score(given, **per_row) == pytest.approx(array.score(X, LABELS, W), rel=1e-13)


def test_rows_of_weight_0_are_left_out():
    labels = np.where(np.arange(N) == 3, "unused", LABELS)
    weight = np.where(np.arange(N) == 3, 0.0, 1.0)
    chunks = [(X[own], labels[own], weight[own]) for own in CUTS]
    own = GLMClassifier().fit(chunks)
    assert own.classes_.tolist() == ["many", "none", "one"]
    array = GLMClassifier().fit(X, labels, weight)
    np.testing.assert_allclose(own.coef_, array.coef_, rtol=1e-12, atol=1e-15)
    assert own.score(chunks) == pytest.approx(array.score(X, labels, weight), rel=1e-13)


def test_a_label_that_is_no_class():
    """It is an error in a fit, and a wrong prediction in a score."""
    model = GLMClassifier().fit([(X, LABELS)])
    other = np.where(np.arange(N) % 2, "other", LABELS)
    assert model.score([(X, other)]) == model.score(X, other)
    rounds = iter([LABELS, LABELS, other])
    with pytest.raises(FastoptError, match="y is 'other' in row 1"):
        GLMClassifier().fit(lambda: [(X, next(rounds))])


SAME = iter(TUPLES)
BAD = [
    (iter(TUPLES), {}, TypeError, "list_iterator, which can be read only once.*lambda"),
    (lambda: SAME, {}, FastoptError, "the same list_iterator twice"),
    (list, {}, FastoptError, "gave no chunks"),
    (TUPLES, {"y": Y}, TypeError, "y is an array, and X consists of chunks"),
    ([(X,)], {}, FastoptError, "a chunk has no y"),
    ([(X, Y, W, W)], {}, FastoptError, "a tuple of 4"),
    ([{"X": X, "z": Y}], {}, FastoptError, "the key 'z'"),
    ([(X, Y), (X[:, :2], Y)], {}, FastoptError, r"with row 700 has shape \(700, 2\)"),
    ([(X, Y[1:])], {}, FastoptError, "y has 699 rows and X has 700"),
    ([(X.astype(complex), Y)], {}, TypeError, "complex"),
    ([(np.ma.masked_less(X, 0), Y)], {}, TypeError, "X is a masked array"),
    ([(X, np.ma.masked_less(Y, 1))], {}, TypeError, "y is a masked array"),
    ([(X, np.where(Y == 3, np.nan, Y))], {}, FastoptError,
     f"y is nan in row {np.argmax(Y == 3)}, counted from 0"),
    ([(X[:5], Y[:5], W[:5]), (X, np.where(np.arange(N) == 10, np.inf, Y), np.arange(N) % 3)], {},
     FastoptError, "y is inf in row 15"),
    ([(X[:5], Y[:5], W[:5]), (X, Y, -W)], {}, FastoptError, "sample_weight is -.* in row 5"),
    ([(X[:5], Y[:5]), (X, Y, W)], {}, FastoptError, "with row 5 has sample_weight, y, and the fir"),
    ([(X, Y, W), (X, Y)], {}, FastoptError, "row 700 has y, and the first chunk has sample_w"),
    ([(X, Y), (X * np.inf, Y)], {}, FastoptError, r"X\[700, 0\] is (-?inf|nan)"),
    (X, {"y": "target"}, FastoptError, "y is 'target', the name of a column"),
    (X, {"y": Y, "sample_weight": "w"}, FastoptError, "sample_weight is 'w', the name"),
]  # fmt: skip


@pytest.mark.parametrize(("given", "per_row", "kind", "message"), BAD)
def test_errors_name_the_argument_or_row(given, per_row, kind, message):
    model = GLMRegressor("poisson")
    with pytest.raises(kind, match=message):
        model.fit(given, **per_row)
    with pytest.raises(NotFittedError):
        model.predict(X)


def test_a_function_must_return_the_same_rows_each_time():
    sizes = iter([TUPLES, TUPLES, TUPLES[1:]])
    rows = open_rows(lambda: next(sizes), {}).rows
    read(rows)
    with pytest.raises(FastoptError, match="550 rows in this round and 700 before"):
        read(rows)


def test_a_memory_map_needs_y_and_two_dimensions(tmp_path):
    x = mapped(tmp_path / "x.npy")
    with pytest.raises(FastoptError, match="y is None"):
        GLMRegressor().fit(x)
    with pytest.raises(FastoptError, match="y has 699 rows and X has 700"):
        GLMRegressor().fit(x, Y[1:])
    with pytest.raises(FastoptError, match=r"X has shape \(700,\)"):
        GLMRegressor().fit(x[:, 0], Y)


@pytest.mark.parametrize(
    ("y", "exposure", "match"),
    [
        (Y, 0.0 * W, "exposure is 0.0 in row 0, counted from 0; finite numbers > 0 are needed"),
        (np.stack([Y, Y], axis=1), W, r"y has shape .*; for successes and failures, y is"),
    ],
)
def test_errors_say_what_is_needed(y, exposure, match, tmp_path):
    x = mapped(tmp_path / "x.npy", X)
    with pytest.raises(FastoptError, match=match):
        GLMRegressor("poisson").fit(x, y, exposure=exposure)


def test_an_exposure_needs_the_log_link():
    chunks = [{"X": X, "y": Y, "exposure": 1.0 + W}]
    assert GLMRegressor("poisson").fit(chunks).converged_
    with pytest.raises(FastoptError, match="exposure needs the log link"):
        GLMRegressor().fit(chunks)


def test_a_missing_library_is_named_with_its_extra():
    with pytest.raises(ImportError, match=r"reading needs no_such_library.*'\.\[estimators\]'"):
        library("no_such_library.part", "reading")
