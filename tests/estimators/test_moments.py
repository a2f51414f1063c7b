"""The sums over rows against their definitions, for every layout of the rows."""

import pickle
from dataclasses import fields, replace
from importlib import import_module

import numpy as np
import pytest
from scipy.sparse import csr_array, issparse

from fastopt import FastoptError
from fastopt.estimators import Block, moments
from fastopt.estimators.scoring.columns import columns_of
from fastopt.estimators.scoring.model import Model
from fastopt.estimators.scoring.moments import sums
from fastopt.estimators.sources.array import ArraySource

RNG = np.random.default_rng(3)
N = 157
COEF = np.array([0.4, 0.3, -0.2, 0.1, 0.05, 0.15])
WHOLE = Block(
    RNG.normal(size=(N, 5)),
    RNG.poisson(1.5, N) * 1.0,
    weight=RNG.uniform(0.5, 2, N),
    offset=RNG.normal(size=N) / 5,
    frequency=RNG.integers(1, 4, N) * 1.0,
)
SHAPE = (N, 5)
LAYOUTS = {
    "C": WHOLE.x,
    "F": np.asfortranarray(WHOLE.x),
    "float32": WHOLE.x.astype(np.float32),
    "rows in a wider array": np.hstack([WHOLE.x, WHOLE.x])[:, :5],
    "every second row": np.repeat(WHOLE.x, 2, axis=0)[::2],
    "CSR": csr_array(WHOLE.x),
    "reversed columns": WHOLE.x[:, ::-1].copy()[:, ::-1],
}


def as_array(x):
    return np.asarray(x.toarray() if issparse(x) else x, float)


def by_definition(block, coef, mean, fit_intercept=True):
    """Return the sums of a Poisson model with the log link."""
    x = as_array(block.x) - mean
    if fit_intercept:
        x = np.column_stack([np.ones(block.n), x])
    z = x @ coef + block.offset
    m, w, y = np.exp(z), block.weight * block.frequency, block.y
    deviance = 2 * (y * np.log(np.where(y > 0, y / m, 1)) - (y - m))
    return {
        "information": x.T @ (x * (w * m)[:, None]),
        "score": x.T @ (w * (y - m)),
        "deviance": w @ deviance,
        "pearson_chi2": w @ ((y - m) ** 2 / m),
        "weight": w.sum(),
        "frequency": block.frequency.sum(),
        "n": block.n,
    }


def require_close(at, expected, rtol=1e-12):
    for name, value in expected.items():
        if value is None:
            continue
        np.testing.assert_allclose(
            getattr(at, name), value, rtol=rtol, atol=10 * rtol, err_msg=name
        )


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("mean", [np.zeros(5), np.linspace(-1, 1, 5)], ids=["0", "mean"])
def test_sums_are_those_of_the_definition(layout, fit_intercept, mean):
    block = replace(WHOLE, x=LAYOUTS[layout])
    coef = COEF if fit_intercept else COEF[1:]
    at = moments(block, coef, family="poisson", fit_intercept=fit_intercept, mean=mean)
    require_close(at, by_definition(block, coef, mean, fit_intercept))


def test_sums_of_blocks_add_up_and_can_be_pickled():
    parts = [WHOLE.part(slice(a, b)) for a, b in [(0, 1), (1, 90), (90, N)]]
    first, *others = (moments(part, COEF, family="poisson") for part in parts)
    total = sum(map(pickle.loads, map(pickle.dumps, others)), start=first)
    require_close(total, by_definition(WHOLE, COEF, 0.0))
    with pytest.raises(TypeError):
        total + 1


def unaligned(value):
    """Return a value that came in a message, with its arrays at odd addresses."""
    buffers = []
    data = pickle.dumps(value, protocol=5, buffer_callback=buffers.append)
    moved = [memoryview(bytearray(b"-" + bytes(buffer)))[1:] for buffer in buffers]
    return pickle.loads(data, buffers=moved)


def test_unaligned_arrays_of_a_message():
    mean = np.linspace(-1, 1, 5)
    assert not unaligned(mean).flags.aligned
    at = moments(unaligned(WHOLE), unaligned(COEF), family="poisson", mean=unaligned(mean))
    require_close(at, vars(moments(WHOLE, COEF, family="poisson", mean=mean)), 0.0)
    rows = unaligned(replace(WHOLE, x=LAYOUTS["CSR"]))
    assert not rows.x.data.flags.aligned
    at = moments(rows, COEF, family="poisson", mean=mean)
    require_close(at, vars(moments(WHOLE, COEF, family="poisson", mean=mean)), 0.0)
    found = columns_of(ArraySource(unaligned(WHOLE)), Model("poisson", "log"))
    whole = columns_of(ArraySource(WHOLE), Model("poisson", "log"))
    np.testing.assert_array_equal(found.mean, whole.mean)


def test_sums_of_100_columns_take_80_kb_and_can_be_added_in_any_order():
    x = np.random.default_rng(5).normal(size=(N, 100))
    coef = np.append(0.5, np.full(100, 0.01))
    block = replace(WHOLE, x=x)
    a, b, c = (moments(block.part(slice(i, None, 3)), coef, family="poisson") for i in range(3))
    assert len(pickle.dumps(a)) < 8 * (101**2 + 101) + 1000
    for total in ((a + b) + c, a + (b + c), (c + a) + b):
        require_close(total, by_definition(block, coef, 0.0))


def test_the_null_model_and_the_triangle():
    model = Model("poisson", "log")
    null = np.array([0.2])
    at = sums(WHOLE, COEF, model, null=null, by_qr=True)
    other = moments(WHOLE, np.append(null, np.zeros(5)), family="poisson")
    assert at.null_deviance == pytest.approx(other.deviance, rel=1e-13)
    assert at.null_pearson_chi2 == pytest.approx(other.pearson_chi2, rel=1e-13)
    np.testing.assert_allclose(at.root.T @ at.root, at.information, rtol=1e-11)
    halves = [sums(WHOLE.part(own), COEF, model, by_qr=True) for own in (slice(70), slice(70, N))]
    root = (halves[0] + halves[1]).root
    np.testing.assert_allclose(root.T @ root, at.information, rtol=1e-11)


def test_without_information_all_other_sums_have_equal_bits():
    model = Model("poisson", "log")
    whole, less = (sums(WHOLE, COEF, model, with_information=own) for own in (True, False))
    assert less.information is None
    for field in fields(whole):
        if field.name not in ("information", "root"):
            assert np.all(getattr(less, field.name) == getattr(whole, field.name))


@pytest.mark.parametrize("rows_at_a_time", [64, 100])
def test_chunks_of_any_size(rows_at_a_time, monkeypatch):
    module = import_module("fastopt.estimators.scoring.moments")  # not the function
    monkeypatch.setattr(module, "rows_at_a_time", lambda q: rows_at_a_time)
    require_close(moments(WHOLE, COEF, family="poisson"), by_definition(WHOLE, COEF, 0.0))


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, N])
def test_ranges_of_columns(layout, n):
    block = replace(WHOLE, x=LAYOUTS[layout]).part(slice(n))
    found = columns_of(ArraySource(block), Model("poisson", "log"))
    x, w = as_array(block.x), block.weight * block.frequency
    mean = (w @ x) / w.sum()
    np.testing.assert_allclose(found.mean, mean, rtol=1e-13, atol=1e-15)
    np.testing.assert_allclose(found.reach, np.abs(x - mean).max(axis=0), rtol=1e-12, atol=1e-14)
    assert found.n == n
    assert found.sample.n == -(-n // 16)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_value_that_is_not_finite_is_named(bad):
    x = WHOLE.x.copy()
    x[130, 2] = bad
    with pytest.raises(ValueError, match=rf"X\[130, 2\] is {bad}"):
        columns_of(ArraySource(replace(WHOLE, x=x)), Model("poisson", "log"))


def test_arrays_of_different_lengths_are_an_error():
    with pytest.raises(FastoptError, match="3 elements"):
        moments(Block(WHOLE.x, WHOLE.y[:3]), COEF)
    with pytest.raises(FastoptError, match=r"coef has shape \(5,\); \(6,\) is needed"):
        moments(WHOLE, COEF[1:])
    with pytest.raises(FastoptError, match=r"mean has shape \(\); \(5,\) is needed"):
        moments(WHOLE, COEF, mean=np.float64(0.0))
    x = csr_array(WHOLE.x)
    x.indices[3] = 10**8
    with pytest.raises(FastoptError, match="X is no valid sparse matrix"):
        moments(Block(x, WHOLE.y), COEF)
