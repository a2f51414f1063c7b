"""Mode "ud": M = U D U', U unit upper triangular and D a positive diagonal (Bierman 1976).

M cannot become indefinite.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy.linalg.lapack import dtrtri  # type: ignore[import-untyped]

from fastopt._errors import FastoptError
from fastopt.kalman._kalman import Factors
from fastopt.kalman.covariance import Floats, triangle
from fastopt.kalman.covariance.blockwise import Blockwise

ROWS = 32  # in a block


class UD(Blockwise):
    """The form of mode "ud". U has the given dtype, D and the coefficients are float64."""

    _filter: Factors

    run_flops = 2e8

    reads = "float64"

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
        self._u: np.ndarray[Any, np.dtype[Any]] = np.zeros(p * (p - 1) // 2, dtype)
        self._d = np.ones(p)
        if start.ndim == 2:
            self._take(np.linalg.cholesky(start[::-1, ::-1])[::-1, ::-1])
        else:
            self._d[...] = start
        self._filter = self._work(rows)

    @staticmethod
    def bytes_needed(p: int, rows: int, itemsize: int) -> int:
        return itemsize * (p * (p - 1) // 2) + 8 * p * (4 * rows + 3)

    def _work(self, rows: int) -> Factors:
        return Factors(self._w, self._u, self._d, rows, *self._forgetting, self._n_threads)

    def _root(self) -> Floats:
        """Return the upper triangle U sqrt(D)."""
        root: Floats = np.eye(self._w.size)
        for j in range(1, self._w.size):
            root[:j, j] = self._u[j * (j - 1) // 2 : j * (j + 1) // 2]
        root *= np.sqrt(self._d)
        return root

    def _take(self, root: np.ndarray[Any, np.dtype[Any]]) -> None:
        """Set U and D from an upper triangle U sqrt(D), whose diagonal may have any signs."""
        diagonal = np.diagonal(root)
        self._d[...] = diagonal**2
        for j in range(1, self._w.size):
            self._u[j * (j - 1) // 2 : j * (j + 1) // 2] = root[:j, j] / diagonal[j]

    def _settle(self) -> None:
        self._filter.require_idle()

    def information(self) -> Floats:
        """Return a triangle [R d; 0 r]: R'R = M^-1, R w = d, r^2 the sum in `counts`."""
        return triangle(dtrtri(self._root())[0], self._w, self.counts[2])

    def fitted(self, w: Floats, root: Floats, n_obs: int) -> str:
        """Set coefficients, R and r from such a triangle, and n_obs; a failure changes nothing."""
        inverse, singular = dtrtri(root[:-1, :-1])
        with np.errstate(over="ignore"):
            unit = (inverse / np.diagonal(inverse)).astype(self._u.dtype)
        squares = np.diagonal(inverse) ** 2
        if singular or not (np.isfinite(unit).all() and np.isfinite(squares).all()):
            return "nonfinite"
        counts = n_obs, self.counts[1], float(root[-1, -1] ** 2)
        self._filter.require_idle()
        self._w[...] = w
        self._take(inverse)
        self._filter = self._work(self._rows)
        self.counts = counts
        return ""

    def covariance(self) -> Floats:
        root = self._root()
        full: Floats = root @ root.T
        return full

    def arrays(self) -> dict[str, Floats]:
        return {"coef": self.coef(), "unit_upper": self._u.copy(), "diagonal": self._d.copy()}

    def restore(self, arrays: Mapping[str, Floats]) -> None:
        if not (arrays["diagonal"] > 0).all():
            raise FastoptError("diagonal of the state dict has numbers <= 0; all must be positive")
        with np.errstate(over="ignore"):
            u = arrays["unit_upper"].astype(self._u.dtype)
        if not np.isfinite(u).all():
            raise FastoptError(f"unit_upper of the state dict is outside the range of {u.dtype}")
        self._filter.require_idle()
        self._w[...], self._u[...] = arrays["coef"], u
        self._d[...] = arrays["diagonal"]
        self._filter = self._work(self._rows)
