"""The sums of the gradients that were given to `accumulate`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from fastopt._core import add_all
from fastopt.arrays.dtypes import Array, computed_in
from fastopt.arrays.layout import new_like
from fastopt.optimizers.base.arguments import Key


class Accumulated:
    """Sums of gradients by the key of their parameter; `sums` is replaced, not modified."""

    def __init__(self, sums: Mapping[Key, Array] | None = None) -> None:
        self.sums: Mapping[Key, Array] = sums or {}

    def add(self, params: Mapping[Key, Array], grads: Sequence[Array | None]) -> None:
        """Add one gradient for each parameter; None adds nothing."""
        sums, pairs = dict(self.sums), []
        for (key, w), grad in zip(params.items(), grads, strict=True):
            if grad is not None:
                if key not in sums:
                    sums[key] = new_like(w, computed_in(w), 0.0)
                pairs.append((sums[key], grad))
        with np.errstate(all="ignore"):  # a floating-point error must not end the loop early
            try:
                add_all(pairs)
            finally:  # KeyboardInterrupt is raised after all have been added
                self.sums = sums

    def use(self, step: Callable[[], None], counts: Callable[[], object]) -> None:
        """Call ``step()`` and discard the sums; keep them if no step was taken.

        counts: returns the numbers of steps taken and skipped, which change if a step was taken.
        """
        sums, before = self.sums, counts()
        self.sums = {}
        try:
            step()
        finally:  # KeyboardInterrupt may be raised after the step was taken
            if counts() == before:
                self.sums = sums
