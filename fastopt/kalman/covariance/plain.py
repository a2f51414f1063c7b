"""Mode "plain": M, of which BLAS uses one triangle, updated by products for blocks of rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy.linalg.lapack import dtrtri  # type: ignore[import-untyped]

from fastopt._errors import FastoptError
from fastopt.kalman._kalman import Filter, columns
from fastopt.kalman.covariance import FAILURES, Floats, triangle
from fastopt.kalman.covariance.blockwise import Blockwise

OWN_BELOW = 512  # coefficients; from this number, matrix products are those of BLAS
PARTS_FROM = 2000  # coefficients; from this number, M x for a single row is computed without BLAS


class Plain(Blockwise):
    """The form of mode "plain"."""

    _filter: Filter

    run_flops = 5e8

    def __init__(
        self,
        w: Floats,
        start: Floats,
        rows: int,
        keep: float,
        max_trace: float | None,
        dtype: str,
        n_threads: int,
    ) -> None:
        """Start from coefficients and a diagonal or a matrix, with blocks of `rows`."""
        p = w.size
        super().__init__(w, rows, keep, max_trace, n_threads)
        self.reads = dtype
        self._padded = columns(p, p, np.dtype(dtype).char)
        self._m: np.ndarray[Any, np.dtype[Any]] = self._padded[:p]
        with np.errstate(over="ignore", under="ignore"):
            if start.ndim == 2:
                self._m[...] = start
            else:
                np.fill_diagonal(self._m, start)
        if not (np.isfinite(self._m).all() and (np.diagonal(self._m) > 0).all()):
            raise FastoptError(f"m0 has numbers outside the range of {dtype}")
        self._filter = self._work(rows)

    @staticmethod
    def bytes_needed(p: int, rows: int, itemsize: int) -> int:
        return itemsize * p * (p + (3 if p < OWN_BELOW else 2) * rows + 8 * (p >= PARTS_FROM))

    def _work(self, rows: int) -> Filter:
        p = self._w.size
        by_blas, in_parts = p >= OWN_BELOW, p >= PARTS_FROM
        return Filter(
            self._w, self._padded, rows, *self._forgetting, self._n_threads, by_blas, in_parts
        )

    def _settle(self) -> None:
        self._filter.settle()

    def information(self) -> Floats:
        """Return a triangle [R d; 0 r]: R'R = M^-1, R w = d, r^2 the sum in `counts`."""
        try:
            factor = np.linalg.cholesky(self.covariance())
        except np.linalg.LinAlgError:
            raise FastoptError(FAILURES["indefinite"]) from None
        r = np.asarray(np.linalg.qr(dtrtri(factor, lower=1)[0], mode="r"))
        return triangle(r, self._w, self.counts[2])

    def fitted(self, w: Floats, root: Floats, n_obs: int) -> str:
        """Set coefficients, R and r from such a triangle, and n_obs; a failure changes nothing."""
        inverse, singular = dtrtri(root[:-1, :-1])
        with np.errstate(over="ignore"):
            covariance = (inverse @ inverse.T).astype(self.reads)
        if singular or not np.isfinite(covariance).all():
            return "nonfinite"
        self._filter.settle()
        self._w[...] = w
        self._m[...] = np.tril(covariance) + np.tril(covariance, -1).T
        self.counts = n_obs, self.counts[1], float(root[-1, -1] ** 2)
        return ""

    def covariance(self) -> Floats:
        self._filter.settle()
        lower = np.tril(self._m).astype(np.float64)
        full: Floats = lower + np.tril(lower, -1).T
        return full

    def arrays(self) -> dict[str, Floats]:
        return {"coef": self.coef(), "covariance": self.covariance()}

    def restore(self, arrays: Mapping[str, Floats]) -> None:
        covariance = arrays["covariance"]
        if not (covariance == covariance.T).all():
            raise FastoptError("covariance of the state dict is not symmetric")
        with np.errstate(over="ignore"):
            m = covariance.astype(self.reads)
        if not np.isfinite(m).all():
            raise FastoptError(f"covariance of the state dict is outside the range of {self.reads}")
        self._filter.settle()
        self._w[...], self._m[...] = arrays["coef"], m
