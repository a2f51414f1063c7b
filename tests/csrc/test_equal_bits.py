"""Equal inputs give equal bits on every instruction set and number of threads.

A run is repeated with every instruction set of this CPU; with 1, 2 and 3 threads; with one tensor
and many; with gradients given to each step and bound.  This file is also the program that runs on
one instruction set: it compares all other variations and prints a digest of the results.
"""

from __future__ import annotations

import json
import os
from functools import cache
from hashlib import blake2b
from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from cases import CASES, DTYPES, FEW_SUM_CASES, RATES, Case, gradients, start
from support import by_isa

from fastopt import _core

Array = npt.NDArray[Any]
Dtype = np.dtype[Any]

# Large enough for threads; the last chunk is neither full nor a multiple of the vector length.
SIZE = 3 * _core.SERIAL_BELOW + _core.CHUNK + 13
CUTS = np.sort(np.random.default_rng(3).integers(0, SIZE, 12))
CUTS[:4] = 0, 0, 1, 18  # two empty tensors, one of one element, one of 17
STEPS = 2

LABELS: dict[str, tuple[Case, Dtype]] = {
    f"{dtype}-{case}": (case, dtype) for case in [*CASES, *FEW_SUM_CASES] for dtype in DTYPES
}
WAYS: list[tuple[int, str, str]] = list(product((1, 2, 3), ("one", "many"), ("fresh", "bound")))


@cache
def data(dtype: Dtype) -> tuple[Array, list[Array]]:
    """Return a parameter of SIZE elements and STEPS gradients for it."""
    grads = [np.resize(g, SIZE) for g in gradients(dtype)[:STEPS]]
    return np.resize(start(dtype), SIZE), grads


def run(case: Case, dtype: Dtype, n_threads: int, tensors: str, grads: str) -> list[Array]:
    """Take STEPS steps; return the bytes of the parameters and of each state."""
    before, each_step = data(dtype)
    w, g = before.copy(), np.empty_like(before)

    def cut(flat: Array) -> list[Array]:
        return np.split(flat, CUTS) if tensors == "many" else [flat]

    opt = case.make(cut(w), n_threads=n_threads)
    if grads == "bound":
        opt.bind(cut(g))
    for rate, of_step in zip(RATES, each_step, strict=False):
        opt.lr = case.rule.lr * rate
        g[:] = of_step
        case.step(opt, None if grads == "bound" else cut(g))
    names = [name for name, state in opt.state[0].items() if state.ndim]
    states = [np.concatenate([of_one[name] for of_one in opt.state.values()]) for name in names]
    return [array.view(np.uint8) for array in [w, *states]]


def compare_ways() -> dict[str, tuple[str, list[str]]]:
    """Return, for each label, the digest of the first of WAYS and the ways with different bits.

    A sum over each tensor depends on how the elements are cut into tensors, and the order of a sum
    over all tensors depends on it, too; these rules are compared for one cut only.
    """
    found = {}
    for label, (case, dtype) in LABELS.items():
        ways = [way for way in WAYS if case not in FEW_SUM_CASES or way[1] == "many"]
        first = run(case, dtype, *ways[0])
        differing = [
            str(way)
            for way in ways[1:]
            if not all(map(np.array_equal, run(case, dtype, *way), first))
        ]
        digest = blake2b(b"".join(array.tobytes() for array in first)).hexdigest()
        found[label] = digest, differing
    return found


@pytest.fixture(scope="module")
def found() -> dict[str, Any]:
    return by_isa(__file__)


def test_every_instruction_set_and_several_threads_are_compared(found: dict[str, Any]) -> None:
    """Without this, test_equal_bits could compare one instruction set or one thread with itself."""
    assert [of_isa["isa"] for of_isa in found.values()] == _core.isas()
    if _core.openmp_version():
        assert [of_isa["threads started"] for of_isa in found.values()] == [2] * len(found)


@pytest.mark.parametrize("label", LABELS)
def test_equal_bits(found: dict[str, Any], label: str) -> None:
    differing = {isa: of_isa["labels"][label][1] for isa, of_isa in found.items()}
    assert differing == {isa: [] for isa in found}
    digests = {isa: of_isa["labels"][label][0] for isa, of_isa in found.items()}
    assert len(set(digests.values())) == 1, digests


if __name__ == "__main__":
    threads = len(os.listdir("/proc/self/task"))
    labels = compare_ways()
    started = len(os.listdir("/proc/self/task")) - threads
    print(json.dumps({"isa": _core.isa(), "threads started": started, "labels": labels}))
