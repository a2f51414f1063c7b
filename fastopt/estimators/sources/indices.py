"""`require_valid`: whether the indices of a sparse matrix are inside it."""

from __future__ import annotations

from typing import Any

from fastopt._errors import FastoptError

__all__ = ["require_valid"]


def require_valid(x: Any) -> None:
    """Raise an error if the indices of a CSR, CSC or COO matrix point outside it.

    SciPy and C would read and write outside their arrays.

    Parameters
    ----------
    x : sparse matrix

    Raises
    ------
    FastoptError
    """
    rows, columns = x.shape
    if x.format == "coo":
        pairs = [(x.row, rows), (x.col, columns)]
    elif x.format in ("csr", "csc"):
        major, minor = (rows, columns) if x.format == "csr" else (columns, rows)
        ends = x.indptr
        is_valid = len(ends) == major + 1 and ends[0] == 0 and bool((ends[1:] >= ends[:-1]).all())
        if not is_valid or ends[-1] > min(len(x.indices), len(x.data)):
            raise FastoptError(
                f"X is no valid sparse matrix: its indptr does not begin with 0 and increase to at "
                f"most {min(len(x.indices), len(x.data))} in {major + 1} elements"
            )
        pairs = [(x.indices[: ends[-1]], minor)]
    else:
        return
    for indices, size in pairs:
        if len(indices) and not 0 <= indices.min() <= indices.max() < size:
            raise FastoptError(
                f"X is no valid sparse matrix: its indices are from {indices.min()} to "
                f"{indices.max()}; allowed: 0 to {size - 1}"
            )
