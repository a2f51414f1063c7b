"""Large steps walk over contiguous arrays in strips (csrc/step/strips.h): every element once."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest

import fastopt
from fastopt.optimizers.base.state import arrays as state_arrays

LEAST = 1 << 17  # FO_PREFETCHED of strips.h: the size from which on there are strips
ALIGNED = 1 << 11  # FO_ALIGNED: the size from which on a chunk begins with an unaligned head
RULES = {
    "SGD": (fastopt.SGD, {"momentum": 0.9}),
    "Adan": (fastopt.Adan, {}),  # four states
    "LAMB": (fastopt.LAMB, {"weight_decay": 0.1}),  # sums before the update
}


def at_offset(values, offset):
    """Return a copy that begins `offset` elements after a cache line, between two guards."""
    buffer = np.full(values.size + 128, 7.0, values.dtype)
    first = (-buffer.ctypes.data % 64) // values.itemsize + offset
    copy = buffer[first : first + values.size]
    copy[:] = values
    return copy, buffer


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("size", [LEAST - 1, LEAST, LEAST + 16384 + 100])
def test_results_do_not_depend_on_the_address(rule, dtype, size):
    results = [steps(rule, dtype, size, (offset, offset, 0)) for offset in (0, 1, 5, 15)]
    assert all(result == results[0] for result in results)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, ml_dtypes.bfloat16])
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("size", [9, ALIGNED - 1, ALIGNED, ALIGNED + 100, 16384 + ALIGNED])
def test_results_do_not_depend_on_any_address(rule, dtype, size, monkeypatch):
    offsets = range(64 // np.dtype(dtype).itemsize + 1)
    orders = [(k, 0, 0) for k in offsets] + [(0, k, 0) for k in offsets]
    orders += [(0, 0, k) for k in offsets] + [(k, 3 * k % 7, 5 * k % 11) for k in offsets]
    results = {steps(rule, dtype, size, order, monkeypatch) for order in orders}
    assert len(results) == 1


def steps(rule, dtype, size, offsets, monkeypatch=None):
    """Return the bytes of parameter and state after two steps from arrays at these offsets.

    offsets: in elements, of the parameter, the gradient and, with monkeypatch, the states.
    """
    cls, options = RULES[rule]
    if monkeypatch:
        monkeypatch.setattr(
            state_arrays,
            "new_like",
            lambda w, kind, value, *_, **__: at_offset(np.full(w.size, value, kind), offsets[2])[0],
        )
    rng = np.random.default_rng(size)
    start, grad = (rng.standard_normal(size).astype(dtype) for _ in range(2))
    (w, buffer), (g, _) = at_offset(start, offsets[0]), at_offset(grad, offsets[1])
    extras = {"rounding": "stochastic", "seed": 3} if dtype is ml_dtypes.bfloat16 else {}
    opt = cls(w, lr=0.01, n_threads=1, **options, **extras)
    for _ in range(2):
        opt.step(g)
    assert np.count_nonzero(buffer == 7.0) == buffer.size - size
    assert np.count_nonzero(w == start) <= size / 1000 or dtype is ml_dtypes.bfloat16
    return b"".join(
        array.tobytes() for array in (w, *map(opt.state[0].get, opt.param_groups[0].state_names))
    )


@pytest.mark.parametrize("rule", ["SGD", "Adan"])
def test_results_are_those_of_separate_parts(rule):
    cls, options = RULES[rule]
    rng = np.random.default_rng(0)
    start, grad = (rng.standard_normal(LEAST + 777).astype(np.float32) for _ in range(2))
    whole, parts = start.copy(), start.copy()
    cuts = range(1000, len(start), 1000)
    one = cls(whole, lr=0.01, **options)
    some = [cls(part, lr=0.01, **options) for part in np.split(parts, cuts)]
    for _ in range(2):
        one.step(grad)
        for opt, g in zip(some, np.split(grad, cuts), strict=True):
            opt.step(g)
    assert whole.tobytes() == parts.tobytes()
