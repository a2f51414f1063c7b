"""Row-sparse gradients: those that are zero except in some rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from fastopt._errors import FastoptError
from fastopt.arrays.accepted import as_array, is_array, refuse_masked
from fastopt.arrays.dtypes import Array, require_dtype

__all__ = ["RowSparse"]


class RowSparse:
    """A gradient that is zero except in some rows, for example that of an embedding.

    The step reads and writes only those rows of the parameter and of its state. Values of the same
    row are added in the order in which they occur, before the norm, clipping and the rule. The
    step counter of the parameter increases by one. The other rows and their state are unchanged.
    Their weights and moments do not decay in this step, and later steps do not make up for it.
    ``torch.optim.SparseAdam`` does the same; it corresponds to ``Adam(eps_mode="hat")``.

    Parameters
    ----------
    indices : array of shape (n,), integers
        For each row of `values`, the row of the parameter. A row may occur more than once.
    values : array of shape ``(n, *param.shape[1:])``
        The gradient of those rows: float16, bfloat16, float32 or float64.

    Raises
    ------
    FastoptError, TypeError
        If `indices` and `values` do not match. An index outside the parameter, or rows of another
        shape than the parameter's, raise an error when a step is taken.

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
        rows = read("indices", indices)
        if rows.dtype.kind not in "iu" and rows.size:
            raise TypeError(f"indices have dtype {rows.dtype}; integers are needed")
        if rows.ndim != 1:
            raise FastoptError(f"indices have shape {rows.shape}; (n,) is needed")
        self.indices: Array = rows
        self.values: Array = read("values", values)
        require_dtype("values", self.values)
        if self.values.shape[:1] != rows.shape:
            raise FastoptError(
                f"values have shape {self.values.shape} for {len(rows)} indices; "
                f"({len(rows)}, ...) is needed"
            )

    def __repr__(self) -> str:
        return f"RowSparse({len(self.indices)} rows of {self.values.shape[1:]})"


def read(what: str, value: Any) -> Array:
    """Return an array-like, or an object with ``__dlpack__``, as an array."""
    if type(value) is np.ndarray:
        return value
    refuse_masked(what, value)
    return as_array(what, value) if is_array(value) else np.asarray(value)


def as_rows(name: str, param: Array, grad: Any) -> tuple[Array, Array]:
    """Return int64 indices and contiguous values of a `RowSparse` or a scipy.sparse matrix."""
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
        rows, values = grad.indices, grad.values  # checked again: attributes may be replaced
    try:
        grad = RowSparse(rows, values)
    except (FastoptError, TypeError) as error:
        raise type(error)(f"in the gradient of {name}, {error}") from None
    if param.ndim == 0:
        raise FastoptError(
            f"the gradient of {name} is sparse, but the parameter is 0-d and has no rows; a number "
            "or a 0-d array is needed"
        )
    if grad.values.shape[1:] != param.shape[1:]:
        raise FastoptError(
            f"the gradient of {name} has rows of shape {grad.values.shape[1:]}; "
            f"{param.shape[1:]} is needed"
        )
    if grad.indices.dtype == np.uint64:
        require_within(name, param, grad.indices)  # large uint64 values do not fit in int64
    return (
        np.require(grad.indices, np.int64, ["C", "ALIGNED"]),
        np.ascontiguousarray(grad.values),
    )


def require_within(name: str, param: Array, indices: Array) -> None:
    """Raise an error that names the first index outside a parameter's rows."""
    for i in np.flatnonzero((indices < 0) | (indices >= len(param)))[:1]:
        raise FastoptError(
            f"indices[{i}] of the gradient of {name} is {indices[i]}; allowed: 0 to "
            f"{len(param) - 1}"
        )


def as_dense(name: str, param: Array, grad: Any) -> Array:
    """Return a row-sparse gradient as a dense float64 array; values of the same row are added."""
    indices, values = as_rows(name, param, grad)
    require_within(name, param, indices)
    dense = np.zeros(param.shape)
    np.add.at(dense, indices, values.astype(np.float64))
    return dense


def is_of_rows(grad: object) -> bool:
    """Return whether a gradient is a `RowSparse` or a scipy.sparse matrix."""
    return isinstance(grad, RowSparse) or hasattr(grad, "tocsr")


def nonfinite_elements(grad: Any) -> str:
    """Return the number and the first position of nonfinite elements, as text for a message.

    The text is empty if all elements are finite and only their sum or quotient is not.
    """
    what = "elements"
    if is_of_rows(grad):
        what = "stored values"
        grad = grad.values if isinstance(grad, RowSparse) else grad.tocsr().data
    values = np.atleast_1d(as_array("the gradient", grad) if is_array(grad) else np.asarray(grad))
    places = np.argwhere(~np.isfinite(values.astype(np.float64)))
    if not len(places):
        return ""
    first = ", ".join(map(str, places[0]))
    return f" ({len(places)} of its {values.size} {what}, the first at [{first}])"
