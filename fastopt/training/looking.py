"""The loss and gradient over all rows, and a check whether parameters are finite."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from fastopt.arrays.dtypes import Array
from fastopt.batching import Batches
from fastopt.optimizers.base.arguments import Params

if TYPE_CHECKING:
    from fastopt.training.steps import Batch, Steps


def over_all_rows(steps: Steps, batches: Batches | None) -> tuple[float, list[Array]]:
    """Return the mean loss over all rows and its gradient, in float64, at the current point.

    Rows are read in their order, one batch at a time.  The position of the batches is unchanged.
    """
    sums: list[Array] = []
    total, n_rows = 0.0, 0 if batches is None else batches.n_rows
    for batch in [()] if batches is None else in_order(batches):
        loss, grads = steps.evaluate(batch)
        weight = len(batch[0]) / n_rows if batch else 1.0
        total += weight * loss
        parts = [weight * np.asarray(g, np.float64) for g in steps.dense(grads)]
        sums = parts if not sums else [a + b for a, b in zip(sums, parts, strict=True)]
    return total, sums


def in_order(batches: Batches) -> Iterator[Batch]:
    """Yield all rows of the data in their order, as read-only views."""
    size = batches.batch_size or batches.n_rows
    for start in range(0, batches.n_rows, size):
        parts = tuple(np.asarray(array[start : start + size]).view() for array in batches.arrays)
        for part in parts:
            part.flags.writeable = False
        yield parts


def largest(arrays: list[Array]) -> float:
    """Return the largest absolute value in any of the arrays, NaN if one has a NaN."""
    ends = [float(end) for a in arrays if a.size for end in (a.max(), -a.min())]
    return float(np.max(ends)) if ends else 0.0


def not_finite(x: Params) -> str | None:
    """Return the name of a parameter with a NaN or infinite element, or None."""
    if isinstance(x, Mapping):
        named: Any = ((f"x[{key!r}]", w) for key, w in x.items())
    elif isinstance(x, np.ndarray):
        named = (("x", x),)
    else:
        named = ((f"x[{i}]", w) for i, w in enumerate(x))
    with np.errstate(all="ignore"):  # a sum may overflow; then the elements are checked
        for name, w in named:
            if not math.isfinite(float(w.sum())) and not np.isfinite(w).all():
                return str(name)
    return None
