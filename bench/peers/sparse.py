"""Steps on some rows of an embedding: by fastopt, by PyTorch and by a plain C loop.

The times of fastopt, fastopt.torch and PyTorch include finding and adding up repeated rows. The
loop (sparse.c, one thread) receives distinct rows, in the order in which they occur.
"""

import ctypes
import itertools
from collections.abc import Callable
from typing import Any

import numpy as np

import fastopt
from bench.compiled import library

RULES = {
    "sgd": (fastopt.SGD, "SGD"),
    "adagrad": (fastopt.Adagrad, "Adagrad"),
    "adam": (fastopt.Adam, "SparseAdam"),
}


def plain(rule: str, shape: tuple[int, int], indices: list, values: list) -> Callable[[], None]:
    loop = getattr(library(__file__), rule)
    arrays = [np.ones(shape, np.float32) for _ in range(3)]
    calls = [
        tuple(ctypes.c_void_p(a.ctypes.data) if isinstance(a, np.ndarray) else ctypes.c_int64(a)
              for a in (index, len(index), shape[1], value, *arrays))
        for index, value in zip(indices, values, strict=True)
    ]  # fmt: skip
    turn = itertools.cycle(calls)
    kept = arrays, indices, values  # keeps the memory alive while the returned function exists
    return lambda: loop(*next(turn)) if kept else None


def ours(rule: str, shape: tuple, indices: list, values: list, threads: int) -> Callable[[], None]:
    opt = RULES[rule][0](np.ones(shape, np.float32), lr=1e-3, n_threads=threads)
    turn = itertools.cycle(zip(indices, values, strict=True))
    return lambda: opt.step(fastopt.RowSparse(*next(turn)))


def in_torch(
    module: Any, rule: str, shape: tuple, indices: list, values: list
) -> Callable[[], None]:
    """Return a step of an optimizer of `module`, torch.optim or fastopt.torch."""
    import torch

    w = torch.ones(shape, requires_grad=True)
    opt = getattr(module, RULES[rule][1])([w], lr=1e-3)
    grads = [
        torch.sparse_coo_tensor(torch.from_numpy(i)[None], torch.from_numpy(v), shape)
        for i, v in zip(indices, values, strict=True)
    ]
    turn = itertools.cycle(grads)

    def step() -> None:
        w.grad = next(turn)
        opt.step()

    return step


def drawn(
    rows: int, columns: int, sparse_rows: int, distinct: bool = False
) -> tuple[tuple[int, int], list[np.ndarray], list[np.ndarray]]:
    """Return the shape, and 16 random lists of row indices with the rows' gradients.

    A tenth of the rows occurs twice, unless `distinct`.
    """
    rng = np.random.default_rng(0)
    indices = [rng.permutation(rows)[:sparse_rows].astype(np.int64) for _ in range(16)]
    values = [rng.standard_normal((sparse_rows, columns), np.float32) for _ in indices]
    if not distinct:
        for index in indices:
            index[: sparse_rows // 10] = index[sparse_rows // 10 : 2 * (sparse_rows // 10)]
            rng.shuffle(index)
    return (rows, columns), indices, values
