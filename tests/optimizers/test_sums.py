"""Rules that need sums over many elements before their update, against tests/reference.py."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from cases import DTYPES, RATES, SUM_CASES, Case
from support import LAYOUTS, bits, everything, unchanged

import fastopt
from fastopt import FastoptError, RowSparse, _core

CHUNK = _core.CHUNK
SHAPES = [(0,), (1,), (15,), (16,), (17,), (63,), (65,), (CHUNK - 1,), (CHUNK,), (CHUNK + 1,),
          (3, 40_000)]  # fmt: skip

every_case = pytest.mark.parametrize("case", SUM_CASES, ids=str)
both_dtypes = pytest.mark.parametrize("dtype", DTYPES, ids=str)


def values(dtype: Any, seed: int) -> list[Any]:
    """Return an array of each of SHAPES; some are 0."""
    rng = np.random.default_rng(seed)
    arrays = [rng.normal(size=shape) * 10 ** rng.uniform(-2, 1, shape) for shape in SHAPES]
    arrays[2][:] = 0.0
    return [array.astype(dtype) for array in arrays]


def assert_within(what: str, got: Any, expected: Any, bound: Any) -> None:
    worst = np.max(np.abs(got - expected) - bound, initial=-1.0)
    assert worst <= 0, f"{what}: {worst} more than allowed"


@every_case
@both_dtypes
def test_equals_reference(case: Case, dtype: Any) -> None:
    """|a - b| <= 16 eps (|w0| + sum |dw|) for each element, and the states likewise."""
    params, grads = values(dtype, 0), [values(dtype, 1 + t) for t in range(8)]
    lrs = [case.rule.lr * rate for rate in RATES[: len(grads)]]
    opt = case.make([w.copy() for w in params])
    for lr, of_step in zip(lrs, grads, strict=True):
        opt.lr = lr
        opt.step(of_step)
    eps = np.finfo(dtype).eps
    for i, w in enumerate(params):
        path = case.follow(w, [of_step[i] for of_step in grads], lrs)
        moved = np.abs(path.w[0]) + np.abs(np.diff(path.w, axis=0)).sum(axis=0)
        assert_within("w", opt.params[i], path.w[-1], 16 * eps * moved)
        for name in opt.state[i].keys() & path.states[-1].keys():
            largest = np.abs([state[name] for state in path.states]).max(axis=0)
            assert_within(name, opt.state[i][name], path.states[-1][name], 16 * eps * largest)


@every_case
def test_equal_bits_on_threads_and_with_other_tensors(case: Case) -> None:
    """Neither the number of threads nor the tensors beside it change the bits of a tensor."""
    results = []
    for n_threads in (1, 2):
        params = values(np.float32, 0)
        opt = case.make(params, n_threads=n_threads)
        for t in range(3):
            opt.step(values(np.float32, 1 + t))
        results.append(everything(opt))
    assert results[0] == results[1]


@every_case
@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts_agree(case: Case, layout: str) -> None:
    """Sums are in memory order, so the last digits may differ."""
    rng = np.random.default_rng(0)
    w, grads = rng.normal(size=(20, 130)), rng.normal(size=(3, 20, 130))
    plain, other = w.copy(), LAYOUTS[layout](w)
    first, second = case.make(plain), case.make(other)
    for g in grads:
        first.step(g)
        second.step(LAYOUTS[layout](g))
    np.testing.assert_allclose(other, plain, rtol=1e-13, atol=1e-15)


@every_case
def test_a_skipped_step_changes_nothing(case: Case) -> None:
    w = np.ones(40)
    opt = case.make(w, on_nonfinite="skip")
    opt.step(np.ones(40))
    before = bits([w, opt.state[0]])
    opt.step(np.full(40, np.nan))
    assert opt.skipped_steps == 1
    assert bits([w, opt.state[0]]) == before


@every_case
def test_row_sparse_gradients_are_refused(case: Case) -> None:
    opt = case.make(np.ones((4, 3)))
    with unchanged(opt), pytest.raises(FastoptError, match="row-sparse; the rule needs sums"):
        opt.step(RowSparse(np.array([1]), np.ones((1, 3))))


def test_the_ratio_is_1_if_a_norm_is_0() -> None:
    w = np.zeros(3)
    fastopt.LAMB(w, lr=0.1, eps=1e-30).step(np.array([2.0, -3.0, 1.0]))
    np.testing.assert_allclose(w, [-0.1, 0.1, -0.1])
