"""Tests that test_failing_memory.py runs with failing_memory.c preloaded.

A call is repeated once for each allocation that the extensions make in it, and that allocation
fails. The call must raise MemoryError and change nothing. Repeated without a failure, it must give
the usual bits.
"""

import copy
import ctypes
import pickle
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
import scipy.sparse
from support import ALL_RULES, arrays, bits, everything, make

import fastopt
from fastopt import Batches, KalmanSGD, RowSparse, _core
from fastopt.kalman import _kalman

C = ctypes.CDLL(None)
AT = ctypes.c_long.in_dll(C, "failing_at")
COUNT = ctypes.c_long.in_dll(C, "failing_count")
BF16 = np.dtype(ml_dtypes.bfloat16)
SHAPES = [(40, 33), (7,), (0, 3), (_core.CHUNK + 5,)]
EXTRAS = {"ema_decay": 0.9, "max_grad_norm": 1.0, "on_nonfinite": "skip", "zero_grads": True}
GRADS = arrays(*SHAPES, seed=1)
X = arrays((300, 3), seed=2)[0]
Y = X @ [1.0, 2.0, 3.0]


def watch(extension):
    """Count the allocations that are made by the code of an extension."""
    lines = Path("/proc/self/maps").read_text().splitlines()
    mapped = [line.split()[0].split("-") for line in lines if line.endswith(extension.__file__)]
    begin, end = int(mapped[0][0], 16), int(mapped[-1][1], 16)
    C.failing_watch(ctypes.c_size_t(begin), ctypes.c_size_t(end))


watch(_core)
watch(_kalman)


def allocations_that_may_fail(case):
    """Let each allocation of a case's call fail once; return the number of allocations.

    case() returns the call and a function that returns the bits of everything it could change.
    """
    call, look = case()
    COUNT.value = 0
    call()
    n, after = COUNT.value, look()
    for i in range(1, n + 1):
        call, look = case()
        before = look()
        AT.value, COUNT.value = i, 0
        try:
            with pytest.raises(MemoryError):
                call()
        finally:
            AT.value = 0
        assert look() == before
        call()
        assert look() == after
    return n


def new(rule="adam", dtype=np.float64, **options):
    return make(rule, [w.astype(dtype) for w in arrays(*SHAPES)], **options)


def of(opt, call):
    return (lambda: call(opt)), (lambda: everything(opt))


def constructing(rule, **options):
    """Return a case that constructs an optimizer and takes its first steps."""
    shapes = SHAPES if rule != "adagrad_rowwise" else SHAPES[:2]
    params, made = arrays(*shapes), []
    n_steps = 1 if rule == "muon" else 2  # every step of muon allocates, those of others do not

    def construct():
        opt = make(rule, params, **options)
        for _ in range(n_steps):
            opt.step([g.copy() for g in arrays(*shapes, seed=1)])
        made.append(opt)

    return construct, lambda: [bits(params), *map(everything, made)]


def copying(how):
    made, opt = [], new(**EXTRAS)
    opt.step([g.copy() for g in GRADS])
    return lambda: made.append(how(opt)), lambda: [everything(opt), *map(everything, made)]


def adding_a_group():
    w = np.ones(5)
    opt = new()
    opt.step(GRADS)
    return of(opt, lambda opt: opt.add_param_group({"params": [w], "lr": 0.5}))


CONSTRUCTING = {
    **{rule: lambda rule=rule: constructing(rule) for rule in ALL_RULES},
    "extras": lambda: constructing("adam", **EXTRAS),
    "deepcopy": lambda: copying(copy.deepcopy),
    "pickle": lambda: copying(lambda opt: pickle.loads(pickle.dumps(opt))),
    "add_param_group": adding_a_group,
}


@pytest.mark.parametrize("name", CONSTRUCTING)
def test_every_allocation_of_a_construction_may_fail(name):
    assert allocations_that_may_fail(CONSTRUCTING[name]) > 10


def bound():
    opt = new(**EXTRAS)
    opt.bind([g.copy() for g in GRADS])
    return of(opt, lambda opt: opt.step())


def accumulating():
    opt = new()
    opt.accumulate(GRADS)

    def on(opt):
        opt.accumulate(GRADS)
        opt.step()

    return of(opt, on)


def loading():
    saved = new()
    saved.step(GRADS)
    return of(new(), lambda opt: opt.load_state_dict(saved.state_dict()))


def with_rows(rule, rows):
    opt = make(rule, arrays((40, 3)))
    return of(opt, lambda opt: opt.step([rows]))


def gathering():
    batches = Batches(X, Y, batch_size=70, seed=1)
    found = []
    return lambda: found.extend(batches), lambda: bits(found)


def filtering(call, **options):
    k = KalmanSGD(3, **options)
    return (lambda: call(k)), (lambda: bits(k.state_dict()))


def merging(k):
    k.merge(KalmanSGD(3, m0=100.0).partial_fit(X, Y))


ROWS = RowSparse([7, 3, 7, 39], arrays((4, 3), seed=1)[0])
STAGED = {
    "dtypes": lambda: of(new(), lambda opt: opt.step([g.astype(BF16) for g in GRADS])),
    "transposed": lambda: of(
        new(), lambda opt: opt.step([np.array(g.T, order="C").T for g in GRADS])
    ),
    "master": lambda: of(
        new(dtype=BF16, master="float32", state_dtype="bfloat16", rounding="stochastic", seed=3),
        lambda opt: opt.step(GRADS),
    ),
    "RowSparse": lambda: with_rows("adam", ROWS),
    "scipy.sparse": lambda: with_rows("momentum", scipy.sparse.csr_array(np.eye(40, 3))),
    "rowwise": lambda: with_rows("adagrad_rowwise", ROWS),
}


@pytest.mark.parametrize("name", STAGED)
def test_the_first_staged_step_allocates_its_scratch_memory(name):
    assert allocations_that_may_fail(STAGED[name]) == 1


def after_a_call(case):
    def second():
        call, look = case()
        call()
        return call, look

    return second


ALLOCATING_NOTHING = {
    **{f"second step, {name}": after_a_call(case) for name, case in STAGED.items()},
    "first step": lambda: of(new(), lambda opt: opt.step(GRADS)),
    "bound": bound,
    "accumulate": accumulating,
    "load_state_dict": loading,
    "Batches": gathering,
    "update": lambda: filtering(lambda k: k.update(Y[:2], [0.0, 0.0], X[:2])),
    "partial_fit": lambda: filtering(lambda k: k.partial_fit(X, Y)),
    "ud": lambda: filtering(lambda k: k.partial_fit(X, Y), mode="ud"),
    "diagonal": lambda: filtering(lambda k: k.partial_fit(X, Y), covariance="diag"),
    "merge": lambda: filtering(merging, m0=100.0),
    "fit_model": lambda: filtering(lambda k: k.fit_model(lambda w, X: (X @ w, X), X, Y)),
}


@pytest.mark.parametrize("name", ALLOCATING_NOTHING)
def test_steps_and_filters_allocate_nothing(name):
    """They use memory that was allocated before, and NumPy arrays, which are not counted."""
    assert allocations_that_may_fail(ALLOCATING_NOTHING[name]) == 0


def test_the_check_can_fail():
    """The check fails for a call that changes something before it allocates."""

    def careless():
        w = np.zeros(2)

        def call():
            w[0] += 1
            fastopt.SGD(w)

        return call, lambda: bits(w)

    with pytest.raises(AssertionError):
        allocations_that_may_fail(careless)
