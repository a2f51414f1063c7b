"""A diagonal of M, or blocks of it: no covariance between blocks, a shared innovation."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from fastopt._errors import FastoptError
from fastopt.kalman._kalman import DecoupledFilter
from fastopt.kalman.covariance import Counted, Floats, Glm, Wholes

RUN_NUMBERS = 1e9  # elements of M that are read between two checks for signals


class Decoupled(Counted):
    """The form for ``covariance="diag"`` and for blocks of coefficients.

    Coefficients are stored in the order of the blocks, and each block as a square.
    """

    _filter: DecoupledFilter

    reads = "float64"

    def __init__(
        self,
        w: Floats,
        diagonal: Floats,
        blocks: list[Wholes] | None,
        keep: float,
        max_trace: float | None,
    ) -> None:
        """Start from coefficients and a diagonal; ``blocks=None`` stores a diagonal only."""
        self._sizes = None if blocks is None else [len(block) for block in blocks]
        start = order = None
        self._order = np.arange(w.size)
        if blocks is None or self._sizes is None:
            self._m = diagonal.copy()
        else:
            self._order = np.concatenate(blocks)
            in_order = bool((self._order == np.arange(w.size)).all())
            start = np.cumsum([0, *self._sizes], dtype=np.int64)
            order = None if in_order else self._order
            self._m = np.concatenate([np.diag(diagonal[block]).ravel() for block in blocks])
        self._w = w[self._order]
        cap = math.inf if max_trace is None else max_trace
        self._filter = DecoupledFilter(self._w, self._m, start, order, keep, cap)

    def _squares(self) -> list[Floats]:
        """Return views of the blocks, which are symmetric up to the rounding of BLAS."""
        assert self._sizes is not None
        parts = np.split(self._m, np.cumsum(np.square(self._sizes))[:-1])
        return [part.reshape(n, n) for part, n in zip(parts, self._sizes, strict=True)]

    def _by_coefficient(self, values: Floats) -> Floats:
        """Return values in the caller's order of coefficients."""
        found = np.empty_like(values)
        found[self._order] = values
        return found

    def coef(self) -> Floats:
        return self._by_coefficient(self._w)

    def rows(
        self, glm: Glm, x: Floats, y: Floats, weight: Floats | None, offset: Floats | None = None
    ) -> str:
        at_once = max(1, int(RUN_NUMBERS / self._m.size))
        return self._filter.rows(*glm, x, y, weight, offset, at_once)

    def outputs(self, x: Floats, residual: Floats) -> str:
        return self._filter.outputs(x, residual)

    def covariance(self) -> Floats:
        if self._sizes is None:
            return np.diag(self._m)
        full = np.zeros((self._w.size, self._w.size))
        first = 0
        for square in self._squares():
            own = self._order[first : first + len(square)]
            full[np.ix_(own, own)] = (square + square.T) / 2
            first += len(square)
        return full

    def variances(self) -> Floats:
        if self._sizes is None:
            return self._m.copy()
        return self._by_coefficient(
            np.concatenate([np.diagonal(square) for square in self._squares()])
        )

    def arrays(self) -> dict[str, Floats]:
        if self._sizes is None:
            return {"coef": self.coef(), "variances": self._m.copy()}
        return {"coef": self.coef(), "blocks": self._m.copy()}

    def restore(self, arrays: Mapping[str, Floats]) -> None:
        self._filter.require_idle()
        if self._sizes is None:
            if not (arrays["variances"] >= 0).all():
                raise FastoptError("variances of the state dict has a number below 0")
            self._m[...] = arrays["variances"]
        else:
            before = self._m.copy()
            self._m[...] = arrays["blocks"]
            if not all(np.allclose(square, square.T) for square in self._squares()):
                self._m[...] = before
                raise FastoptError("blocks of the state dict has one that is not symmetric")
        self._w[...] = arrays["coef"][self._order]
