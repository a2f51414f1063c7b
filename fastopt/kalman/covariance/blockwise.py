"""What the forms share that absorb rows in blocks, each with the work arrays of one block."""

from __future__ import annotations

import math
from typing import ClassVar

from fastopt.kalman._kalman import Factors, Filter
from fastopt.kalman.covariance import Counted, Floats, Glm


class Blockwise(Counted):
    """Coefficients, and a filter that works on blocks of `rows`."""

    _filter: Filter | Factors

    run_flops: ClassVar[float]  # between two looks at whether Ctrl-C was pressed

    def __init__(
        self, w: Floats, rows: int, keep: float, max_trace: float | None, n_threads: int
    ) -> None:
        self._w, self._rows, self._n_threads = w.copy(), rows, n_threads
        self._forgetting = keep, math.inf if max_trace is None else max_trace

    def _work(self, rows: int) -> Filter | Factors:
        """Return a filter of these coefficients and this covariance for blocks of `rows`."""
        raise NotImplementedError

    def _settle(self) -> None:
        """Leave nothing pending in the filter; raise if a call of it is running."""
        raise NotImplementedError

    def _renew(self, rows: int) -> None:
        """Go on with another filter, for blocks of `rows`, of what this one has settled."""
        counts = self.counts
        self._filter = self._work(rows)
        self.counts = counts

    def coef(self) -> Floats:
        return self._w.copy()

    def variances(self) -> Floats:
        return self._filter.variances()

    def rows(self, glm: Glm, x: Floats, y: Floats, weight: Floats | None) -> str:
        blocks = max(1, int(self.run_flops / (3 * self._w.size**2 + 1e4)) // self._rows)
        return self._filter.rows(*glm, x, y, weight, self._rows * blocks)

    def outputs(self, x: Floats, residual: Floats) -> str:
        if len(x) <= self._rows:
            return self._filter.change(x, residual)
        self._settle()
        self._renew(len(x))  # that it is busy tells other threads; a whole block is settled at once
        try:
            return self._filter.change(x, residual)
        finally:
            self._renew(self._rows)
