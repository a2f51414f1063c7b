"""Finding arrays that share memory without comparing every pair of them."""

import itertools
import time

import numpy as np
import pytest
from numpy.lib.array_utils import byte_bounds
from support import bits

import fastopt
from fastopt import FastoptError, _core
from fastopt.arrays.overlap import Spans


def views(base):
    """Return views of an array that are interleaved in many ways."""
    slices = [slice(None), slice(0, 2), slice(1, None), slice(None, None, 2), slice(1, None, 2),
              slice(None, None, -1), slice(2, 3)]  # fmt: skip
    found = [base[a, b] for a, b in itertools.product(slices, slices)]
    found += [view.T for view in found[::5]] + [base[:, 1], base[2], base.ravel()[3::7]]
    found += [view.view(np.uint8)[..., 1:3] for view in found[:8] if view.flags.c_contiguous]
    return [view for view in found if view.size]


def spans(named, before=None):
    """Return the memory of named arrays and of those that were added before."""
    names, found = [name for name, _ in named], [array for _, array in named]
    return (before or Spans()).with_arrays(names, found, _core.byte_bounds(found))


def test_bounds_are_those_of_numpy():
    base = np.zeros((5, 6), np.float32)
    found = [*views(base), base[::-1, ::-2].T, base[2:2], np.zeros(()), np.zeros((0, 3)), base[:0]]
    bounds = _core.byte_bounds(found)
    for array, start, end in zip(found, *bounds.tolist(), strict=True):
        assert start == end if array.size == 0 else (start, end) == byte_bounds(array)


def test_pairs_share_memory_or_not():
    base = np.zeros((5, 6), np.float32)
    for one, other in itertools.combinations(views(base), 2):
        first, second = [("one", one)], [("other", other)]
        if np.shares_memory(one, other):
            for before, named in ((None, first + second), (spans(first), second)):
                with pytest.raises(FastoptError, match="one and other share memory"):
                    spans(named, before)
            with pytest.raises(FastoptError, match="g shares memory with one"):
                spans(first).require_apart("g", other)
        else:
            spans(first + second)
            spans(second, spans(first))
            spans(first).require_apart("g", other)


@pytest.mark.parametrize("seed", range(300))
def test_several_arrays_share_memory_or_not(seed):
    """Arrays may be added one after another; those that are refused change nothing."""
    rng = np.random.default_rng(seed)
    base = np.zeros((7, 12), np.float32)
    every = views(base)
    chosen = [every[i] for i in rng.choice(len(every), 4, replace=False)]
    chosen += [base[6:, k::3] for k in range(int(rng.integers(3)))]
    rng.shuffle(chosen)
    added, accepted = Spans(), []
    for i, array in enumerate(chosen):
        named, before = [(f"array {i}", array)], (added.starts.tolist(), added.ends.tolist())
        if any(np.shares_memory(array, other) for _, other in accepted):
            with pytest.raises(FastoptError, match=f"and array {i} share memory"):
                spans(named, added)
            with pytest.raises(FastoptError, match="g shares memory with array"):
                added.require_apart("g", array)
            with pytest.raises(FastoptError, match="share memory"):
                spans(accepted + named)
        else:
            added.require_apart("g", array)
            larger = spans(named, added)
            assert (added.starts.tolist(), added.ends.tolist()) == before
            added, accepted = larger, accepted + named
        at_once = spans(accepted)
        assert bits([added.starts, added.ends]) == bits([at_once.starts, at_once.ends])
        assert (added.starts < added.ends).all()
        assert (added.ends[:-1] <= added.starts[1:]).all()


INTERLEAVED = {
    "columns": lambda a: [a[:, k] for k in range(4000)],
    "columns of a cube": lambda a: [a.reshape(4, 5, -1)[:, :, k] for k in range(4000)],
    "pairs of columns": lambda a: [a[:, k : k + 2] for k in range(0, 4000, 2)],
    "every other element": lambda a: [a[:, k::2000] for k in range(2000)],
    "backwards": lambda a: [a[::-1, k] for k in range(4000)],
}


@pytest.mark.parametrize("name", INTERLEAVED)
def test_thousands_of_interleaved_parameters(name):
    params = INTERLEAVED[name](np.zeros((20, 4000)))
    start = time.process_time()
    fastopt.SGD(params, lr=1.0)
    assert time.process_time() - start < 3.0
    with pytest.raises(FastoptError, match="share memory"):
        fastopt.SGD([*params, params[7][..., :1]], lr=1.0)
