"""What the modes "plain" and "ud" share: rows are absorbed in blocks, by a filter in C."""

from __future__ import annotations

import math
from typing import ClassVar

from fastopt.kalman._kalman import Factors, Filter
from fastopt.kalman.covariance import Counted, Floats, Glm


class Blockwise(Counted):
    """Coefficients, and a filter with work arrays for blocks of `rows`."""

    _filter: Filter | Factors

    run_flops: ClassVar[float]  # floating-point operations between two checks for signals

    def __init__(
        self, w: Floats, rows: int, keep: float, max_trace: float | None, n_threads: int
    ) -> None:
        self._w, self._rows, self._n_threads = w.copy(), rows, n_threads
        self._forgetting = keep, math.inf if max_trace is None else max_trace

    def _work(self, rows: int) -> Filter | Factors:
        """Return a filter that shares the arrays of this form, for blocks of `rows`."""
        raise NotImplementedError

    def _settle(self) -> None:
        """Write pending terms into the covariance; raise if a call of the filter is running."""
        raise NotImplementedError

    def _renew(self, rows: int) -> None:
        """Replace the filter, after `_settle`, by one for blocks of `rows`."""
        counts = self.counts
        self._filter = self._work(rows)
        self.counts = counts

    def coef(self) -> Floats:
        return self._w.copy()

    def variances(self) -> Floats:
        return self._filter.variances()

    def rows(
        self, glm: Glm, x: Floats, y: Floats, weight: Floats | None, offset: Floats | None = None
    ) -> str:
        blocks = max(1, int(self.run_flops / (3 * self._w.size**2 + 1e4)) // self._rows)
        return self._filter.rows(*glm, x, y, weight, offset, self._rows * blocks)

    def outputs(self, x: Floats, residual: Floats) -> str:
        if len(x) <= self._rows:
            return self._filter.change(x, residual)
        self._settle()
        self._renew(len(x))  # a complete block leaves nothing pending
        try:
            return self._filter.change(x, residual)
        finally:
            self._renew(self._rows)
