"""Arrays that change while gradients are read, and subclasses with wrong attributes."""

import warnings

import numpy as np
import pytest
from support import bits, unchanged

import fastopt
from fastopt import FastoptError, RowSparse


class Gradient:
    """A gradient that calls a function when it is converted to an array."""

    def __init__(self, array, on_read):
        self.array, self.on_read = array, on_read

    def __array__(self, dtype=None, copy=None):
        self.on_read()
        return self.array


@pytest.mark.parametrize(("zero_grads", "reading"), [(False, 1), (True, 1), (True, 2)])
def test_a_gradient_resized_while_another_is_read(zero_grads, reading):
    """zero_grads reads a gradient twice, to find out whether the array is a copy."""
    opt = fastopt.SGD([np.zeros(1000), np.zeros(3)], zero_grads=zero_grads)
    g, calls = np.ones(1000), []

    def on_read():
        calls.append(None)
        if len(calls) == reading:
            g.resize(2, refcheck=False)

    with unchanged(opt), pytest.raises(FastoptError, match=r"gradient of parameter 0 has shape"):
        opt.step([g, Gradient(np.ones(3), on_read)])


@pytest.mark.parametrize("name", ["values", "indices"])
def test_rows_resized_while_another_gradient_is_read(name):
    opt = fastopt.SGD([np.zeros((1000, 2)), np.zeros(3)])
    rows = RowSparse(np.arange(500), np.ones((500, 2)))
    size = {"values": (2, 2), "indices": 2}[name]

    def on_read():
        getattr(rows, name).resize(size, refcheck=False)

    with unchanged(opt), pytest.raises(FastoptError, match="gradient of parameter 0 changed"):
        opt.step([rows, Gradient(np.ones(3), on_read)])


def test_a_parameter_resized_while_a_gradient_is_read():
    w = np.zeros(1000)
    opt = fastopt.SGD([w, np.zeros(3)])
    resizing = Gradient(np.ones(3), lambda: w.resize(2, refcheck=False))
    with pytest.raises(FastoptError, match="parameter 0 was resized"):
        opt.step([np.ones(1000), resizing])


class WrongShape(np.ndarray):
    """An array whose Python attributes describe another array."""

    shape = property(lambda self: (1,))
    strides = property(lambda self: (8,))
    ndim = property(lambda self: 1)
    size = property(lambda self: 1)

    def __len__(self):
        return 1


@pytest.mark.parametrize(
    "make",
    [
        lambda w: fastopt.Adam(w, lr=0.1, ema_decay=0.9),
        lambda w: fastopt.Adagrad(w, lr=0.1, rowwise=True),
    ],
)
def test_subclasses_are_read_as_the_base_class(make):
    w, g = np.ones((50, 8)), np.linspace(1.0, 2.0, 400).reshape(50, 8)
    found = make(w.copy().view(WrongShape))
    expected = make(w)
    shapes = [{name: a.shape for name, a in opt.state[0].items()} for opt in (found, expected)]
    assert shapes[0] == shapes[1]
    rows = RowSparse([3, 40], g[:2])
    for grad in (g, g.view(WrongShape), np.asfortranarray(g)):
        found.step(grad)
        expected.step(np.array(grad))
    if found.state[0].get("ema") is None:
        found.step(rows)
        expected.step(rows)
    assert bits(np.asarray(found.params)) == bits(expected.params)


def test_a_strided_parameter_of_swapped_bytes_is_an_error():
    w = np.zeros((4, 6), np.float32)[:, ::2]
    opt = fastopt.SGD(w)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # NumPy deprecates the assignment
        w.dtype = np.dtype(np.float32).newbyteorder()
    with pytest.raises(TypeError, match="native byte order"):
        opt.step(np.ones((4, 3), np.float32))
    assert not np.asarray(w).any()
