"""Mode "qr": least squares by orthogonal transformations of rows (square-root information).

The rows so far are represented by the triangle R and d of min |R w - d|. Further rows are added by
the QR decomposition of [R d; X y]. No initial covariance is needed, nothing is subtracted, and
rounding errors grow with the condition number of X, not with its square.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from scipy.linalg.lapack import dtpqrt, dtrtri, dtrtrs  # type: ignore[import-untyped]

from fastopt._errors import FastoptError
from fastopt.kalman.covariance import Floats, Glm
from fastopt.kalman.covariance.refining import Rows, correction

Flags = np.ndarray[Any, np.dtype[np.bool_]]

ROWS = 256  # in one decomposition; no number from 64 to 1024 was faster by more than 10 %
COLUMNS = 32  # in a panel of the decomposition


def with_rows(root: Floats, x: Floats, y: Floats) -> Floats:
    """Return the triangle of [R d; 0 r; x y]; it is not finite after an overflow.

    LAPACK does not write below the diagonal: the zeros there are those of `root`.
    """
    for first in range(0, len(y), ROWS):
        part = slice(first, first + ROWS)
        block = np.empty((len(y[part]), len(root)), order="F")
        block[:, :-1], block[:, -1] = x[part], y[part]
        root = dtpqrt(0, min(COLUMNS, len(root)), root, block, overwrite_b=1)[0]
    return root


def with_triangle(root: Floats, other: Floats) -> Floats:
    """Return the triangle of the QR decomposition of two triangles, stacked vertically."""
    n = len(root)
    both: Floats = dtpqrt(n, min(COLUMNS, n), root, other)[0]
    return both


def undetermined(r: Floats) -> Flags:
    """Return which coefficients a triangle R leaves undetermined, up to rounding."""
    rounding = 4 * len(r) * np.finfo(float).eps * np.linalg.norm(r, axis=0)
    return np.asarray(np.abs(np.diagonal(r)) <= rounding)


class Information:
    """The form of mode "qr", for the Gaussian family with the identity link."""

    reads = "float64"

    def __init__(self, n_params: int) -> None:
        self.n_params = n_params
        # [R d; 0 r], where r^2 is the residual sum of squares
        self.root: Floats = np.zeros((n_params + 1, n_params + 1), order="F")
        self.correction: Floats = np.zeros(n_params)  # to add to R^-1 d
        self.n_obs = 0

    @staticmethod
    def bytes_needed(p: int, _rows: int, itemsize: int) -> int:
        # Three triangles: the stored one, a copy and a scaled copy.
        return itemsize * (p + 1) * (3 * (p + 1) + ROWS)

    @property
    def counts(self) -> tuple[int, int, float]:
        return self.n_obs, 0, float(self.root[-1, -1]) * float(self.root[-1, -1])

    @counts.setter
    def counts(self, values: tuple[int, int, float]) -> None:
        self.n_obs = values[0]

    def coef(self) -> Floats:
        w: Floats = dtrtrs(self._triangle(), self.root[:-1, -1])[0] + self.correction
        if not np.isfinite(w).all():
            raise FastoptError(
                f"coefficient {int(np.argmin(np.isfinite(w)))} is beyond float64: its column of X "
                "is too small for y; scale the column"
            )
        return w

    def information(self) -> Floats:
        """Return a triangle [R d; 0 r]: R'R = M^-1, R w = d, r^2 the sum in `counts`."""
        return self.root.copy(order="F")

    def fitted(self, w: Floats, root: Floats, n_obs: int) -> str:
        """Set coefficients, R and r from such a triangle, and n_obs; a failure changes nothing."""
        if not np.isfinite(root).all():
            return "nonfinite"
        self._take(root.copy(order="F"), n_obs)
        self.root[:-1, -1] = root[:-1, :-1] @ w
        return ""

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
        """Return R, or raise if the rows so far do not determine every coefficient."""
        open_ = self._open()
        if open_.any():
            raise FastoptError(
                f"the {self.n_obs} rows absorbed do not determine coefficient {np.argmax(open_)}; "
                "more rows are needed, or a finite m0"
            )
        r: Floats = np.asfortranarray(self.root[:-1, :-1])
        return r

    def _open(self) -> Flags:
        open_ = undetermined(self.root[:-1, :-1])
        open_[self.n_obs :] = True
        return open_

    def rows(
        self, _glm: Glm, x: Floats, y: Floats, weight: Floats | None, offset: Floats | None = None
    ) -> str:
        assert offset is None  # with the identity link, it has been subtracted from y
        for first in range(0, len(y), ROWS):
            part = slice(first, first + ROWS)
            xs, ys = x[part], y[part]
            if weight is not None:
                by = np.sqrt(weight[part])
                xs, ys = xs * by[:, None], ys * by
            root = with_rows(self.root, xs, ys)
            if not np.isfinite(root).all():
                return "nonfinite"
            self._take(root, self.n_obs + len(ys))
        return ""

    def refine(self, rows: Iterable[Rows]) -> None:
        """Correct the coefficients; `rows` must contain all rows absorbed so far.

        The correction is stored separately and dropped when more rows are absorbed. If it were
        added to d, more rows would cause an error of eps cond times the change of the coefficients,
        which is larger than the correction.
        """
        if not self._open().any():
            self.correction = correction(self.root, rows)

    def _take(self, root: Floats, n_obs: int) -> None:
        # No call between the assignments, so that KeyboardInterrupt is not raised between them.
        none = np.zeros(self.n_params)
        self.root, self.n_obs, self.correction = root, n_obs, none

    def outputs(self, _x: Floats, _residual: Floats) -> str:
        raise FastoptError("m0 is infinite (mode 'qr'); update() needs a finite m0")

    def arrays(self) -> dict[str, Floats]:
        return {"root": self.root.copy(), "correction": self.correction.copy()}

    def restore(self, arrays: Mapping[str, Floats]) -> None:
        if np.tril(arrays["root"], -1).any():
            raise FastoptError("root of the state dict is not an upper triangle")
        self.root = np.asfortranarray(arrays["root"])
        self.correction = arrays["correction"].copy()

    def absorb(self, other: Information) -> str:
        """Absorb all rows of `other`; return "" or the name of a failure."""
        root = with_triangle(self.root, other.root)
        if not np.isfinite(root).all():
            return "nonfinite"
        self._take(root, self.n_obs + other.n_obs)
        return ""
