"""Where state begins in memory: as its parameter in a cache line, no two arrays alike in a page."""

import copy
import pickle

import ml_dtypes
import numpy as np
import pytest

import fastopt
from fastopt.arrays.layout import at_offset, memory_order, new_like

ORDERS = {"C": (0, 1, 2), "F": (2, 1, 0), "neither": (1, 2, 0)}


def address(array):
    return array.__array_interface__["data"][0]


def states(opt):
    return [value for name, value in opt.state[0].items() if name != "step"]


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64, ml_dtypes.bfloat16])
@pytest.mark.parametrize("offset", [0, 16, 56, 4032])
def test_state_begins_as_its_parameter_in_a_line_and_differs_in_a_page(offset, dtype, order):
    w = at_offset(offset, (20, 30, 40), dtype).transpose(ORDERS[order])
    w[...] = 1
    assert address(w) % 4096 == offset
    opt = fastopt.Adam(w, lr=0.1, amsgrad=True, ema_decay=0.5, master="float32")
    made = opt, copy.deepcopy(opt), pickle.loads(pickle.dumps(opt))
    for each in made:
        arrays = [each.params, *states(each)]
        assert len(arrays) == (6 if dtype is ml_dtypes.bfloat16 else 5)
        assert len({address(array) % 64 for array in arrays}) == 1
        assert len({address(array) % 4096 for array in arrays}) == len(arrays)
        for array in arrays[1:]:
            assert array.shape == w.shape
            assert memory_order(array) == memory_order(each.params)


@pytest.mark.parametrize("offset", [2, 4, 6, 62])
def test_state_of_a_16_bit_parameter_is_aligned_to_its_elements(offset):
    w = at_offset(offset, (128, 128), ml_dtypes.bfloat16)
    opt = fastopt.Adam(w, lr=0.1, master="float32")
    assert w.flags.aligned
    assert all(array.flags.aligned for array in states(opt))
    fastopt.Muon([w], lr=0.1).step([np.ones_like(w)])
    assert (w != 0).any()


def test_up_to_63_arrays_have_different_offsets():
    w = np.ones(2**15, np.uint8)
    made = [new_like(w, np.uint8, 0, number) for number in range(1, 64)]
    offsets = {address(array) % 4096 for array in made}
    assert len(offsets | {address(w) % 4096}) == 64


@pytest.mark.parametrize(("size", "more"), [(1, 0), (64, 0), (2**13 - 1, 0), (2**13, 4096)])
def test_small_state_takes_no_more_memory_than_its_elements(size, more):
    for array in states(fastopt.Adam(np.ones(size, np.float32), lr=0.1)):
        owner = array if array.base is None else array.base
        assert owner.nbytes == array.nbytes + more
