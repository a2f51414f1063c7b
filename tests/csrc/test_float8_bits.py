"""States of 8 bits have equal bits on every instruction set and number of threads.

This file is also the program that runs on one instruction set; it prints a digest of each case.
"""

import json
from hashlib import blake2b
from itertools import product

import numpy as np
from support import by_isa

import fastopt
from fastopt import _core

RULES = {
    "adamw": (fastopt.AdamW, {}),
    "lion": (fastopt.Lion, {}),
    "momentum": (fastopt.SGD, {"momentum": 0.9}),
    "adagrad": (fastopt.Adagrad, {}),
}
SHAPES = [(70001,), (90, 801), (9000, 9), (300, 16, 17)]
NUMBERS = ("ordinary", "any bits")


def gradient(shape, numbers, step):
    rng = np.random.default_rng(step)
    if numbers == "any bits":  # infinite, NaN and denormal as well
        return rng.integers(0, 2**32, shape, dtype=np.uint32).view(np.float32)
    return rng.standard_normal(shape).astype(np.float32)


def run(rule, shape, numbers, n_threads):
    """Return the bytes of the states after three steps; a NaN of w has no specified bits."""
    cls, options = RULES[rule]
    w = np.ones(shape, np.float32)
    opt = cls(w, state_dtype="float8", n_threads=n_threads, **options)
    for step in range(3):
        opt.step(gradient(shape, numbers, step))
    w[np.isnan(w)] = np.nan
    return b"".join(array.tobytes() for array in [w, *opt.state[0].values()])


def digests():
    found = {}
    for case in product(RULES, SHAPES, NUMBERS):
        by_threads = [run(*case, n_threads) for n_threads in (1, 2, 3)]
        assert len(set(by_threads)) == 1, case
        found[str(case)] = blake2b(by_threads[0]).hexdigest()
    return found


def test_equal_bits():
    found = by_isa(__file__)
    assert [of_isa["isa"] for of_isa in found.values()] == _core.isas()
    assert len({json.dumps(of_isa["digests"]) for of_isa in found.values()}) == 1


if __name__ == "__main__":
    print(json.dumps({"isa": _core.isa(), "digests": digests()}))
