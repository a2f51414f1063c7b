"""_core.gather copies rows in a given order, or raises an error and writes nothing."""

import numpy as np
import pytest
from support import printed

from fastopt import FastoptError, _core

ZERO_AXES = """
import numpy, fastopt
from fastopt import _core
try:
    _core.gather(numpy.array(1.0), numpy.zeros(1, int), numpy.zeros(1))
except fastopt.FastoptError:
    print("refused")
"""


def test_rows_of_a_0d_array_are_refused():
    assert printed(ZERO_AXES) == "refused"


@pytest.mark.parametrize("dtype", [np.int64, np.long, np.longlong])
def test_gather_takes_every_c_type_of_64_bits(dtype):
    """On 64-bit Linux int64 is C's long; on Windows it is long long, and long has 32 bits."""
    src, out = np.arange(6.0).reshape(3, 2), np.zeros((2, 2))
    index = np.array([2, 0], dtype)
    if index.itemsize == 8:
        _core.gather(src, index, out)
        assert (out == src[[2, 0]]).all()
    else:
        with pytest.raises(FastoptError, match="int64"):
            _core.gather(src, index, out)


@pytest.mark.parametrize(
    ("index", "out"),
    [
        (np.array([[0, 1], [1, 0]]), np.zeros((2, 2))),
        (np.array(0), np.zeros((1, 2))),
        (np.array([0, 1]), np.zeros((3, 2))),
        (np.array([0, 1]), np.zeros((2, 2), np.float32)),
        (np.array([0, 1], np.int32), np.zeros((2, 2))),
        (np.array([0, 1], np.uint64), np.zeros((2, 2))),
        (np.array([0, 1]).astype(">i8"), np.zeros((2, 2))),
        (np.array([0, 5]), np.zeros((2, 2))),
        (np.array([0, -1]), np.zeros((2, 2))),
    ],
    ids=["2-d", "0-d", "count", "dtype", "int32", "uint64", "swapped", "beyond", "negative"],
)
def test_gather_refuses_arrays_that_do_not_match(index, out):
    with pytest.raises(FastoptError):
        _core.gather(np.arange(1.0, 5.0).reshape(2, 2), index, out)
    assert not out.any()
