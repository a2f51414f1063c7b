"""Epochs have equal bits on every instruction set and for any number of threads.

This file is also the program that runs on one instruction set: it compares the numbers of threads
and prints a digest of the coefficients for each kind of step.
"""

import json
import os
from hashlib import blake2b

import numpy as np
import pytest
from scipy import sparse
from support import by_isa

from fastopt import _core
from fastopt.estimators.epochs.steps import SOLVERS, EpochOptions, Epochs, scaling_of
from fastopt.estimators.scoring.model import model_of
from fastopt.estimators.sources.block import Block

N, P = 900, 203  # the last batch is as large as the others: it has parts for three threads
KINDS = ("row", "batch", "standardised", "float32", "csr", "csr batch")
LABELS = [f"{solver} {kind}" for solver in SOLVERS for kind in KINDS]


def coefficients(label, n_threads):
    solver, kind = label.split(" ", 1)
    rng = np.random.default_rng(0)
    x = rng.normal(size=(N, P)) * (rng.random((N, P)) < (0.1 if "csr" in kind else 1.0))
    y = rng.integers(0, 2, N).astype(float)
    x = sparse.csr_matrix(x) if "csr" in kind else x
    x = x.astype(np.float32) if kind == "float32" else x
    block = Block(x, y)
    options = EpochOptions(
        solver, alpha=0.01, l1_ratio=0.3, batch_size=300 if "batch" in kind else 1,
        average="csr" not in kind, n_threads=n_threads,
    )  # fmt: skip
    scaling = (
        scaling_of(lambda: [block], True) if kind == "standardised" and solver != "ftrl" else None
    )
    epochs = Epochs(model_of("binomial"), P, options, "csr" in kind, scaling)
    epochs.take(epochs.table(block), N)
    return np.concatenate([epochs.w, epochs.coefficients()])


def compare_threads():
    """Return, for each label, the digest for one thread and the numbers that differ from it."""
    found = {}
    for label in LABELS:
        first = coefficients(label, 1)
        others = [n for n in (2, 3) if coefficients(label, n).tobytes() != first.tobytes()]
        found[label] = blake2b(first.tobytes()).hexdigest(), others
    return found


@pytest.fixture(scope="module")
def found():
    return by_isa(__file__)


def test_every_instruction_set_and_several_threads_are_compared(found):
    assert [of_isa["isa"] for of_isa in found.values()] == _core.isas()
    if _core.openmp_version():
        assert [of_isa["threads started"] for of_isa in found.values()] == [2] * len(found)


@pytest.mark.parametrize("label", LABELS)
def test_equal_bits(found, label):
    assert {isa: of["labels"][label][1] for isa, of in found.items()} == {isa: [] for isa in found}
    assert len({of["labels"][label][0] for of in found.values()}) == 1


if __name__ == "__main__":
    threads = len(os.listdir("/proc/self/task"))
    labels = compare_threads()
    started = len(os.listdir("/proc/self/task")) - threads
    print(json.dumps({"isa": _core.isa(), "threads started": started, "labels": labels}))
