"""Gradients that touch some rows of a parameter."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from fastopt._errors import FastoptError
from fastopt.arrays.accepted import Array, as_array, is_array, refuse_masked, require_dtype

__all__ = ["RowSparse"]


class RowSparse:
    """A gradient that is 0 but for some rows: of an embedding, say.

    A step with it reads and writes those rows of the parameter and its state alone. What belongs
    to one row is added in the order of occurrence, before the norm, clipping and the rule. The
    parameter's step counts once; rows that are not touched neither decay nor catch up later, as
    with ``torch.optim.SparseAdam`` (which is ``Adam(eps_mode="hat")``).

    Parameters
    ----------
    indices : array of shape (n,), integers
        The row that each row of `values` belongs to; a row may occur repeatedly.
    values : array of shape (n, *param.shape[1:])
        Of float16, bfloat16, float32 or float64.

    Raises
    ------
    FastoptError, TypeError
        Here for arrays that do not fit each other; at the step, for an index outside the
        parameter's rows, or rows of another shape.

    Examples
    --------
    >>> import numpy as np, fastopt
    >>> table = np.zeros((1000, 2), dtype=np.float32)
    >>> opt = fastopt.SGD(table, lr=1.0)
    >>> opt.step(fastopt.RowSparse([7, 3, 7], np.float32([[1, 2], [3, 4], [5, 6]])))
    >>> print(table[[3, 7]])
    [[-3. -4.]
     [-6. -8.]]
    """

    def __init__(self, indices: npt.ArrayLike, values: npt.ArrayLike) -> None:
        for name, array in (("indices", indices), ("values", values)):
            refuse_masked(name, array)
        rows = as_array("indices", indices) if is_array(indices) else np.asarray(indices)
        if rows.dtype.kind not in "iu" and rows.size:
            raise TypeError(f"indices have dtype {rows.dtype}; integers are needed")
        if rows.ndim != 1:
            raise FastoptError(f"indices have shape {rows.shape}; (n,) is needed")
        self.indices: Array = rows
        self.values: Array = as_array("values", values) if is_array(values) else np.asarray(values)
        require_dtype("values", self.values)
        if self.values.shape[:1] != rows.shape:
            raise FastoptError(
                f"values have shape {self.values.shape} for {len(rows)} indices; "
                f"({len(rows)}, ...) is needed"
            )

    def __repr__(self) -> str:
        return f"RowSparse({len(self.indices)} rows of {self.values.shape[1:]})"


def as_rows(name: str, param: Array, grad: Any) -> tuple[Array, Array]:
    """Return indices and values as C reads them, of a RowSparse or a matrix of scipy.sparse."""
    if not isinstance(grad, RowSparse):
        matrix = grad.tocsr()
        if matrix.shape != param.shape:
            raise FastoptError(
                f"the gradient of {name} has shape {matrix.shape}; {param.shape} is needed"
            )
        if matrix.ndim == 1:
            rows, values = matrix.indices, matrix.data
        else:
            rows = np.flatnonzero(np.diff(matrix.indptr))
            values = matrix[rows].toarray()
    else:
        rows, values = grad.indices, grad.values  # they may have been replaced
    try:
        grad = RowSparse(rows, values)
    except (FastoptError, TypeError) as error:
        raise type(error)(f"in the gradient of {name}, {error}") from None
    if param.ndim == 0 or grad.values.shape[1:] != param.shape[1:]:
        raise FastoptError(
            f"the gradient of {name} has rows of shape {grad.values.shape[1:]}; "
            f"{param.shape[1:]} is needed"
        )
    if grad.indices.dtype == np.uint64:
        require_within(name, param, grad.indices)  # as they are: int64 has not all of them
    return (
        np.ascontiguousarray(grad.indices, dtype=np.int64),
        np.ascontiguousarray(grad.values),
    )


def require_within(name: str, param: Array, indices: Array) -> None:
    """Refuse indices outside a parameter's rows, as C does."""
    for i in np.flatnonzero((indices < 0) | (indices >= len(param)))[:1]:
        raise FastoptError(
            f"indices[{i}] of the gradient of {name} is {indices[i]}; allowed: 0 to "
            f"{len(param) - 1}"
        )


def as_dense(name: str, param: Array, grad: Any) -> Array:
    """Return a gradient of some rows as one of all, float64: what belongs to a row is added."""
    indices, values = as_rows(name, param, grad)
    require_within(name, param, indices)
    dense = np.zeros(param.shape)
    np.add.at(dense, indices, values.astype(np.float64))
    return dense


def is_of_rows(grad: object) -> bool:
    """Say whether a gradient is a `RowSparse` or a matrix of scipy.sparse."""
    return isinstance(grad, RowSparse) or hasattr(grad, "tocsr")
