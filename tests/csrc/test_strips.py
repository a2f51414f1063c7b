"""Large steps walk over contiguous arrays in strips (csrc/step/strips.h): every element once."""

from __future__ import annotations

import numpy as np
import pytest

import fastopt

LEAST = 1 << 16  # FO_PREFETCHED of strips.h: the size from which on there are strips
RULES = {
    "SGD": (fastopt.SGD, {"momentum": 0.9}),
    "Adan": (fastopt.Adan, {}),  # four states
    "LAMB": (fastopt.LAMB, {"weight_decay": 0.1}),  # sums before the update
}


def at_offset(values, offset):
    """Return a copy that begins `offset` elements after a cache line, between two guards."""
    buffer = np.full(values.size + 64, 7.0, values.dtype)
    first = (-buffer.ctypes.data % 64) // values.itemsize + offset
    copy = buffer[first : first + values.size]
    copy[:] = values
    return copy, buffer


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("size", [LEAST - 1, LEAST, LEAST + 16384 + 100])
def test_results_do_not_depend_on_the_address(rule, dtype, size):
    cls, options = RULES[rule]
    rng = np.random.default_rng(size)
    start, grad = (rng.standard_normal(size).astype(dtype) for _ in range(2))
    results = []
    for offset in (0, 1, 5, 15):
        w, buffer = at_offset(start, offset)
        opt = cls(w, lr=0.01, n_threads=1, **options)
        for _ in range(2):
            opt.step(grad)
        states = [opt.state[0][name] for name in opt.param_groups[0].state_names]
        results.append([array.tobytes() for array in (w, *states)])
        assert np.count_nonzero(buffer == 7.0) == 64
        assert np.count_nonzero(w == start) < size / 1000
    assert all(result == results[0] for result in results)


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
