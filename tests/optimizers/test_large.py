"""Tensors of more than 2**31 elements: `pytest -m slow`, with up to 14 GB of memory.

Gradients are zero except for a few elements around each power of two at which an index, or an
offset in bytes, could overflow.  The pages of zeros are never written, so they take no memory.
"""

import ml_dtypes
import numpy as np
import pytest
from reference import random16

from fastopt import SGD, Adagrad, RowSparse

pytestmark = pytest.mark.slow

N = 2**31 + 3 * 2**16
WIDTH = 2**16  # of a matrix of N elements
PLACES = np.array(
    [0, 1, *(2**power + i for power in (29, 30, 31) for i in (-1, 0, 1)), N - WIDTH, N - 1]
)
VALUES = np.arange(1.0, len(PLACES) + 1)


def require_memory(gigabytes):
    """Skip the test unless that much memory is free."""
    try:
        with open("/proc/meminfo") as file:
            free = dict(line.split(":") for line in file)["MemAvailable"]
    except OSError:
        pytest.skip("the amount of free memory is unknown")
    if int(free.split()[0]) * 1024 < gigabytes * 10**9:
        pytest.skip(f"needs {gigabytes} GB of free memory")


def untouched(shape, dtype):
    """Return zeros that take memory only after they are written."""
    try:
        return np.zeros(shape, dtype)
    except MemoryError:
        pytest.skip("this system does not overcommit memory")


def marked(dtype):
    """Return a gradient that is zero except for VALUES at PLACES."""
    g = untouched(N, dtype)
    g[PLACES] = VALUES
    return g


def assert_all(array, value):
    """Assert that every element has this value, one block at a time."""
    flat = array.reshape(-1)
    for start in range(0, N, 2**26):
        assert (flat[start : start + 2**26] == value).all(), start


def assert_marks(array, values):
    """Assert that the array is zero except for these values at PLACES, and set those to zero."""
    flat = array.reshape(-1)
    np.testing.assert_array_equal(flat[PLACES], values)
    flat[PLACES] = 0
    assert_all(flat, 0)


def test_dense_float32():
    require_memory(9)
    w, norm = np.zeros(N, np.float32), np.sqrt((VALUES**2).sum())
    opt = SGD(w, lr=0.5, max_grad_norm=1e9)
    opt.step(marked(np.float32))
    assert opt.grad_norm == pytest.approx(norm, rel=1e-12)
    assert_marks(w, -0.5 * VALUES)


def test_every_element_is_used_once():
    """The norm and the step use each element once."""
    require_memory(5)
    w = np.zeros(N, np.float16)
    opt = SGD(w, lr=0.5, max_grad_norm=np.sqrt(N))
    opt.step(np.broadcast_to(np.float16(2), N))
    assert opt.grad_norm == pytest.approx(2 * np.sqrt(N), rel=1e-12)
    assert_all(w, -0.5)


def test_ema():
    require_memory(14)
    w = np.zeros(N, np.float16)
    opt = SGD(w, lr=0.5, ema_decay=0.75)
    opt.step(marked(np.float16))
    assert_marks(opt.ema, -0.125 * VALUES)
    assert_marks(w, -0.5 * VALUES)


@pytest.mark.parametrize(
    "view", [lambda w: w.T, lambda w: w[::-1, ::-1]], ids=["transposed", "reversed"]
)
def test_another_layout(view):
    require_memory(5)
    w = np.zeros((N // WIDTH, WIDTH), np.float16)
    g = marked(np.float16).reshape(w.shape)
    opt = SGD(view(w), lr=0.5, on_nonfinite="raise")
    opt.step(np.ascontiguousarray(view(g)) if view(g).shape[0] == WIDTH else view(g))
    assert_marks(w, -0.5 * VALUES)


def test_state():
    """The momentum is bfloat16 and the gradient is transposed."""
    require_memory(10)
    w = np.zeros((WIDTH, N // WIDTH), ml_dtypes.bfloat16)
    g = marked(np.float16).reshape(w.shape[::-1]).T
    opt = SGD(w, lr=0.5, momentum=0.5, state_dtype="bfloat16")
    opt.step(g)
    opt.step(g)
    rows, columns = np.unravel_index(PLACES, g.T.shape)
    flat = columns * w.shape[1] + rows  # indices in w of the PLACES of g
    for array, factor in ((w, -1.25), (opt.state[0]["momentum_buffer"], 1.5)):
        np.testing.assert_array_equal(array.reshape(-1)[flat].astype(float), factor * VALUES)
        array.reshape(-1)[flat] = 0
        assert_all(array.view(np.uint16), 0)


# Sparse gradients: other rows of a parameter are neither read nor written, and take no memory.


@pytest.mark.parametrize(("dtype", "size"), [("f4", N), ("f2", 2 * N)])
def test_rows(dtype, size):
    w = untouched((size // 100, 100), dtype)
    rows = [len(w) - 1, 0, 2**31 // 100, len(w) - 1]
    SGD(w, lr=1.0).step(RowSparse(rows, np.repeat([[1.0], [2], [3], [4]], 100, 1).astype(dtype)))
    assert w[0, 0] == w[0, 99] == -2
    assert w[2**31 // 100, 0] == w[2**31 // 100, 99] == -3
    assert w[-1, 0] == w[-1, 99] == -5
    assert not w[[1, 2**31 // 100 - 1, 2**31 // 100 + 1, -2]].any()


def test_rows_with_rowwise_state():
    w = untouched((N // 100, 100), np.float32)
    opt = Adagrad(w, lr=1.0, rowwise=True, eps=0.0)
    opt.step(RowSparse([len(w) - 1], np.full((1, 100), 2, np.float32)))
    assert opt.state[0]["sum"][-1] == 4
    assert (w[-1] == -1).all()
    assert not w[-2].any()


def test_random_bits_of_rows():
    """One of these rows contains element 2**32, and another one comes after it."""
    w = untouched((2**32 // 300 + 2, 300), ml_dtypes.bfloat16)
    rows = [0, 1, 2**31 // 300, len(w) - 2, len(w) - 1]
    x = np.float32(1 + 1 / 300)
    opt = SGD(w, lr=1.0, rounding="stochastic", seed=7)
    opt.step(RowSparse(rows, np.full((len(rows), 300), -x, np.float32)))
    for row in rows:
        indices = range(row * 300, row * 300 + 300)
        random = random16(7, 0, 0, 0, indices)
        expected = (int(x.view(np.uint32)) + random >> 16).astype(np.uint16)
        np.testing.assert_array_equal(w[row].view(np.uint16), expected)
        assert len(np.unique(expected)) == 2


@pytest.mark.parametrize("transposed", [False, True])
def test_random_bits_of_a_dense_gradient(transposed):
    require_memory(5)
    w = np.zeros((N // WIDTH, WIDTH), ml_dtypes.bfloat16)
    x = np.float32(1 + 1 / 300)
    opt = SGD(w.T if transposed else w, lr=1.0, rounding="stochastic", seed=7)
    opt.step(np.broadcast_to(-x, w.T.shape if transposed else w.shape))
    for place in PLACES:
        row, column = divmod(int(place), WIDTH)
        index = column * len(w) + row if transposed else int(place)  # in C order
        random = random16(7, 0, 0, 0, [index])[0]
        assert w[row, column].view(np.uint16) == int(x.view(np.uint32)) + random >> 16
