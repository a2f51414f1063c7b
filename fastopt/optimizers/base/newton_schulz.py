"""Newton-Schulz iterations: a matrix is replaced by an orthogonal one, approximately."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from fastopt.arrays.dtypes import Array


class NewtonSchulz(NamedTuple):
    """The iterations and the factor of the result, by the names of torch.optim.Muon's options."""

    coefficients: tuple[float, float, float]
    steps: int
    eps: float
    adjust: str | None

    def orthogonalize(self, matrix: Array) -> None:
        """Replace a matrix U S V' by factor * U p(S) V', where p(S) is near 1.

        The products are computed by NumPy's BLAS, in the dtype of the matrix.  The iterations are
        on a C-contiguous copy with no more rows than columns, so that the result does not depend on
        the strides of the matrix.
        """
        if matrix.size == 0:
            return
        is_tall = matrix.shape[0] > matrix.shape[1]
        x = np.array(matrix.T if is_tall else matrix, order="C")
        with np.errstate(all="ignore"):
            x /= max(norm(x), self.eps)
            x = self._iterated(x)
            x *= self._factor(*matrix.shape)
        matrix[...] = x.T if is_tall else x

    def _iterated(self, x: Array) -> Array:
        """Return the result of the iterations; x is overwritten."""
        a, b, c = self.coefficients
        # Not np.empty: on Arm CPUs with SME, OpenBLAS 0.3.31 reads the old contents of a product
        # (its pull request 5889), and NaN times 0 is NaN.
        gram, square = (np.zeros((len(x), len(x)), dtype=x.dtype) for _ in range(2))
        other = np.zeros_like(x)
        for _ in range(self.steps):
            np.matmul(x, x.T, out=gram)
            np.matmul(gram, gram.T, out=square)  # gram is symmetric: .T selects syrk, not gemm
            gram *= b
            square *= c
            gram += square
            gram.flat[:: len(x) + 1] += a
            np.matmul(gram, x, out=other)  # (a + b*G + c*G^2) x, where G = x x'
            x, other = other, x
        return x

    def _factor(self, n_rows: int, n_columns: int) -> float:
        if self.adjust == "match_rms_adamw":
            return 0.2 * math.sqrt(max(n_rows, n_columns))
        if self.adjust == "inputs_first":
            return math.sqrt(max(1.0, n_columns / n_rows))
        return 1.0 if self.adjust == "none" else math.sqrt(max(1.0, n_rows / n_columns))


def norm(x: Array) -> float:
    """Return the Frobenius norm, summed in float64: squares of float32 do not overflow."""
    return math.sqrt(np.einsum("ij,ij->", x, x, dtype=np.float64, casting="same_kind"))
