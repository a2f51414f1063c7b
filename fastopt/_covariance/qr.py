"""Least squares from rows by orthogonal transformations: square-root information.

The triangle R and d of min |R w - d|, grown by the QR decomposition of [R d; X y]: no start, no
subtraction, half the condition number of a covariance in every digit.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from scipy.linalg.lapack import dtpqrt, dtrtri, dtrtrs  # type: ignore[import-untyped]

from fastopt._covariance import Floats, Glm
from fastopt._errors import FastoptError

ROWS = 256  # a decomposition; of 64 to 1024 none was faster by more than a tenth
COLUMNS = 32  # a panel within it


class Information:
    """The form of mode "qr", for the Gaussian with the identity link."""

    def __init__(self, n_params: int) -> None:
        self.n_params = n_params
        # [R d; 0 r], where r^2 is the residual sum of squares
        self.root: Floats = np.zeros((n_params + 1, n_params + 1), order="F")
        self.n_obs = 0

    @property
    def counts(self) -> tuple[int, int, float]:
        return self.n_obs, 0, float(self.root[-1, -1] ** 2)

    @counts.setter
    def counts(self, values: tuple[int, int, float]) -> None:
        self.n_obs = values[0]

    def coef(self) -> Floats:
        w: Floats = dtrtrs(self._triangle(), self.root[:-1, -1])[0]
        return w

    def covariance(self) -> Floats:
        inverse = dtrtri(self._triangle())[0]
        m: Floats = inverse @ inverse.T
        return m

    def variances(self) -> Floats:
        inverse = dtrtri(self._triangle())[0]
        variances: Floats = np.einsum("ij,ij->i", inverse, inverse)
        return variances

    def trace(self) -> float:
        return float(self.variances().sum())

    def _triangle(self) -> Floats:
        """Return R, or raise where the rows so far leave a coefficient open."""
        r: Floats = np.asfortranarray(self.root[:-1, :-1])
        rounding = 4 * self.n_params * np.finfo(float).eps * np.linalg.norm(r, axis=0)
        open_ = (np.abs(np.diagonal(r)) <= rounding) | (np.arange(self.n_params) >= self.n_obs)
        if open_.any():
            raise FastoptError(
                f"the {self.n_obs} rows absorbed do not determine coefficient {np.argmax(open_)}; "
                "more rows are needed, or a finite m0"
            )
        return r

    def rows(self, _glm: Glm, x: Floats, y: Floats, weight: Floats | None) -> str:
        p = self.n_params
        for first in range(0, len(y), ROWS):
            part = slice(first, first + ROWS)
            block = np.empty((len(y[part]), p + 1), order="F")
            block[:, :p], block[:, p] = x[part], y[part]
            if weight is not None:
                block *= np.sqrt(weight[part, None])
            root = dtpqrt(0, min(COLUMNS, p + 1), self.root, block)[0]
            if not np.isfinite(root).all():
                return "nonfinite"
            self.root, self.n_obs = np.asfortranarray(np.triu(root)), self.n_obs + len(block)
        return ""

    def outputs(self, _x: Floats, _residual: Floats) -> str:
        raise FastoptError("mode 'qr' has partial_fit alone; update() needs a finite m0")

    def arrays(self) -> dict[str, Floats]:
        return {"root": self.root.copy()}

    def restore(self, arrays: Mapping[str, Floats]) -> None:
        if np.tril(arrays["root"], -1).any():
            raise FastoptError("root of the state dict is not an upper triangle")
        self.root = np.asfortranarray(arrays["root"])

    def absorb(self, other: Information) -> str:
        """Absorb all rows of another; returns "" or what failed."""
        n = self.n_params + 1
        root = dtpqrt(n, min(COLUMNS, n), self.root, other.root.copy(order="F"))[0]
        if not np.isfinite(root).all():
            return "nonfinite"
        self.root, self.n_obs = np.asfortranarray(np.triu(root)), self.n_obs + other.n_obs
        return ""
