"""Digests of the results of all rules, to compare machines: `python tests/bits.py > FILE`.

The inputs are made from integers with exact operations, so that they do not depend on a random
number generator or on the C library.  Each line has a case, a dtype, a layout and a digest of the
parameters and states after three steps.  Equal files mean equal bits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from hashlib import blake2b
from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt
from cases import CASES, FEW_SUM_CASES, Case

Array = npt.NDArray[Any]

SHAPE = (37, 53)
DTYPES = [np.dtype(t) for t in (np.float32, np.float64, np.float16, ml_dtypes.bfloat16)]
RATES = (1.0, 0.5, 0.75)
LAYOUTS: dict[str, Callable[[Array], Array]] = {
    "contiguous": lambda a: a,
    "transposed": lambda a: np.asfortranarray(a),
    "strided": lambda a: np.repeat(np.repeat(a, 2, 0), 3, 1)[::2, ::3],
    "reversed": lambda a: a[::-1, ::-1].copy()[::-1, ::-1],
}


def numbers(seed: int, dtype: np.dtype[Any]) -> Array:
    """Return numbers between -1 and 1 of SHAPE, from the hash of their positions (SplitMix64)."""
    with np.errstate(over="ignore"):
        x = np.arange(SHAPE[0] * SHAPE[1], dtype=np.uint64) + np.uint64(seed * 1_000_003)
        x *= np.uint64(0x9E3779B97F4A7C15)
        for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
            x = (x ^ (x >> np.uint64(shift))) * np.uint64(factor)
        x ^= x >> np.uint64(31)
    return ((x >> np.uint64(40)).astype(np.float64) / 2**23 - 1).reshape(SHAPE).astype(dtype)


def digest(case: Case, dtype: np.dtype[Any], layout: Callable[[Array], Array]) -> str:
    """Return the digest of a run of a case."""
    w = layout(numbers(0, dtype))
    opt = case.make([w])
    for t, rate in enumerate(RATES, 1):
        opt.lr = case.rule.lr * rate
        case.step(opt, [layout(numbers(t, dtype))])
    hashed = blake2b(np.ascontiguousarray(w).tobytes(), digest_size=8)
    for state in opt.state[0].values():
        hashed.update(np.ascontiguousarray(state).tobytes())
    return hashed.hexdigest()


def lines() -> Iterator[str]:
    """Yield a line for each case, dtype and layout."""
    for case in [*CASES, *FEW_SUM_CASES]:
        for dtype in DTYPES:
            for name, layout in LAYOUTS.items():
                yield f"{case} {dtype} {name} {digest(case, dtype, layout)}"


if __name__ == "__main__":
    print(*lines(), sep="\n")
