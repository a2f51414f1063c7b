"""Finding arrays that share memory without comparing every pair of them."""

import itertools
import time

import numpy as np
import pytest

import fastopt
from fastopt import FastoptError
from fastopt.arrays.overlap import Spans


def views(base):
    """Return views of an array that are interleaved in many ways."""
    slices = [slice(None), slice(0, 2), slice(1, None), slice(None, None, 2), slice(1, None, 2),
              slice(None, None, -1), slice(2, 3)]  # fmt: skip
    found = [base[a, b] for a, b in itertools.product(slices, slices)]
    found += [view.T for view in found[::5]] + [base[:, 1], base[2], base.ravel()[3::7]]
    found += [view.view(np.uint8)[..., 1:3] for view in found[:8] if view.flags.c_contiguous]
    return [view for view in found if view.size]


def test_pairs_share_memory_or_not():
    base = np.zeros((5, 6), np.float32)
    for one, other in itertools.combinations(views(base), 2):
        named = [("one", one), ("other", other)]
        if np.shares_memory(one, other):
            with pytest.raises(FastoptError, match="share memory"):
                Spans(named)
            with pytest.raises(FastoptError, match="g shares memory with one"):
                Spans(named[:1]).require_apart("g", other)
        else:
            Spans(named)
            Spans(named[:1]).require_apart("g", other)


@pytest.mark.parametrize("seed", range(300))
def test_several_arrays_share_memory_or_not(seed):
    rng = np.random.default_rng(seed)
    base = np.zeros((7, 12), np.float32)
    every = views(base)
    chosen = [every[i] for i in rng.choice(len(every), 3, replace=False)]
    chosen += [base[6:, k::3] for k in range(int(rng.integers(3)))]
    shares = any(np.shares_memory(a, b) for a, b in itertools.combinations(chosen, 2))
    try:
        Spans([(f"array {i}", array) for i, array in enumerate(chosen)])
    except FastoptError:
        assert shares
    else:
        assert not shares


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
    start = time.perf_counter()
    fastopt.SGD(params, lr=1.0)
    assert time.perf_counter() - start < 3.0
    with pytest.raises(FastoptError, match="share memory"):
        fastopt.SGD([*params, params[7][..., :1]], lr=1.0)
