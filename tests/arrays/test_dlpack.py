"""bfloat16 gradients of objects that support only DLPack; NumPy cannot import bfloat16 from it.

tests/peers has the tests with PyTorch.
"""

import sys

import ml_dtypes
import numpy as np
import pytest
from support import printed, unchanged

from fastopt import SGD, FastoptError, RowSparse, minimize
from fastopt.arrays.dlpack import BFLOAT, _is_valid, _pointer, _Tensor, _Versioned

BF16 = np.dtype(ml_dtypes.bfloat16)


class Exporter:
    """An exporter of an array whose dtype it declares as bfloat16, even if it is not."""

    def __init__(self, array, versioned=True):
        self.array = array.view(np.uint16) if array.dtype == BF16 else array
        self.versioned = versioned

    def __dlpack_device__(self):
        return self.array.__dlpack_device__()

    def __dlpack__(self, **options):
        capsule = self.array.__dlpack__(**options) if self.versioned else self.array.__dlpack__()
        if _is_valid(capsule, b"dltensor_versioned"):
            tensor = _Versioned.from_address(_pointer(capsule, b"dltensor_versioned")).tensor
        else:
            tensor = _Tensor.from_address(_pointer(capsule, b"dltensor"))
        tensor.code = BFLOAT
        return capsule


@pytest.mark.parametrize("versioned", [True, False])
def test_bfloat16_is_read_without_a_copy(versioned):
    g = np.arange(24.0).astype(BF16).reshape(4, 6).T[:, ::2]
    w, other = np.zeros((6, 2)), np.zeros((6, 2))
    opt = SGD([w], lr=1.0)
    opt.step([Exporter(g, versioned)])
    SGD([other], lr=1.0).step([g])
    assert (w == other).all()
    assert w.any()
    opt.bind([Exporter(g, versioned)])
    g[...] = 1.0
    opt.step()
    assert (w == other - 1).all()
    opt.accumulate([Exporter(g, versioned)])
    opt.step()
    assert (w == other - 2).all()


def test_zero_grads_clears_writeable_bfloat16():
    w, g = np.zeros(3), np.ones(3, BF16)
    opt = SGD([w], lr=1.0, zero_grads=True)
    if np.lib.NumpyVersion(np.__version__) >= "2.1.0":  # earlier versions import it read-only
        opt.step([Exporter(g)])
        assert (w.tolist(), g.astype(float).tolist()) == ([-1.0] * 3, [0.0] * 3)
    with unchanged(opt), pytest.raises(FastoptError, match="read-only"):
        opt.step([Exporter(g, versioned=False)])


def test_bfloat16_rows_and_minimize():
    w = np.zeros((3, 2))
    SGD([w], lr=1.0).step([RowSparse([2], Exporter(np.full((1, 2), 3.0, BF16)))])
    assert w[2].tolist() == [-3.0, -3.0]
    result = minimize(lambda x: (0.0, Exporter(np.ones(2, BF16))), np.zeros(2), epochs=1)
    assert result.jac.astype(float).tolist() == [1.0, 1.0]


def test_bfloat16_of_a_wrong_size_is_refused():
    opt = SGD([np.zeros(2)])
    for wrong in (np.ones(2, np.uint8), np.ones(2, np.uint32)):
        with unchanged(opt), pytest.raises(TypeError, match="gradient of parameter 0 cannot be"):
            opt.step([Exporter(wrong)])


def test_the_error_without_ml_dtypes_names_the_extra(monkeypatch):
    opt = SGD([np.zeros(2)])
    monkeypatch.setitem(sys.modules, "ml_dtypes", None)
    with unchanged(opt), pytest.raises(FastoptError, match=r"of parameter 0.*\.\[bfloat16\]"):
        opt.step([Exporter(np.ones(2, BF16))])


def test_the_prototypes_of_ctypes_are_unchanged():
    """Other modules of the process use the same function objects, so fastopt must not set these."""
    code = """
import ctypes
before = [(f.argtypes, f.restype) for f in (
    ctypes.pythonapi.PyCapsule_IsValid, ctypes.pythonapi.PyCapsule_GetPointer)]
import fastopt, fastopt.arrays.dlpack
print(before == [(f.argtypes, f.restype) for f in (
    ctypes.pythonapi.PyCapsule_IsValid, ctypes.pythonapi.PyCapsule_GetPointer)])
"""
    assert printed(code) == "True"
