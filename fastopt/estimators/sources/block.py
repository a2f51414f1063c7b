"""A block of rows: what a source of data yields and what `moments` reads."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.sparse import issparse  # type: ignore[import-untyped]

__all__ = ["Block", "contiguous", "dense"]

Array = np.ndarray[Any, np.dtype[Any]]
Floats = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True, slots=True)
class Block:
    """Rows of a data set, with what belongs to each row.

    Attributes
    ----------
    x : array or CSR matrix of shape (n, p)
        float32 or float64, in any order.
    y : array of shape (n,)
        float64.  Of a multinomial model the index of the class.
    weight : array of shape (n,) or None
        Precision weights: the variance of y is divided by them.
    offset : array of shape (n,) or None
        A known part of the linear predictor.
    frequency : array of shape (n,) or None
        How many equal rows each row represents.
    groups : array of shape (n,) or None
        The index of the cluster of each row, for cluster-robust standard errors.

    Examples
    --------
    >>> import numpy as np
    >>> block = Block(np.ones((3, 2)), np.array([1.0, 2.0, 4.0]), frequency=np.array([1.0, 1, 3]))
    >>> block.n, block.total_weight()
    (3, array([1., 1., 3.]))
    """

    x: Any
    y: Floats
    weight: Floats | None = None
    offset: Floats | None = None
    frequency: Floats | None = None
    groups: Array | None = None

    @property
    def n(self) -> int:
        """The number of rows."""
        return len(self.y)

    def total_weight(self) -> Floats | None:
        """Return the product of precision weight and frequency; None if all are 1.

        Returns
        -------
        array of shape (n,) or None
        """
        if self.weight is None or self.frequency is None:
            return self.frequency if self.weight is None else self.weight
        return self.weight * self.frequency

    def of_positive_weight(self) -> Block:
        """Return the rows that count: those of a positive weight and frequency.

        Returns
        -------
        Block
        """
        weight = self.total_weight()
        if weight is None or (weight > 0).all():
            return self
        return self.part(np.flatnonzero(weight > 0))

    def with_y(self, y: Floats) -> Block:
        """Return the same rows with other observations.

        Parameters
        ----------
        y : array of shape (n,)

        Returns
        -------
        Block
        """
        return replace(self, y=y)

    def part(self, own: slice | Array) -> Block:
        """Return the rows selected by a slice, a mask or indices.

        Parameters
        ----------
        own : slice or array

        Returns
        -------
        Block
            With views of the arrays where NumPy makes views.
        """

        def of(array: Any) -> Any:
            return None if array is None else array[own]

        return Block(
            self.x[own],
            self.y[own],
            of(self.weight),
            of(self.offset),
            of(self.frequency),
            of(self.groups),
        )


def contiguous(array: Any, dtype: Any = None) -> Array:
    """Return an array as C reads it: C-contiguous, with aligned elements.

    The elements of an array that came in a message, or is part of a file, may be at any address.

    Parameters
    ----------
    array : array
    dtype : dtype, optional

    Returns
    -------
    array
        The same if possible, else a copy.
    """
    found = np.ascontiguousarray(array, dtype=dtype)
    return found if found.flags.aligned else found.copy()


def dense(x: Any, own: slice) -> Array:
    """Return rows as an array, C-contiguous.

    Parameters
    ----------
    x : array or CSR matrix of shape (n, p)
    own : slice
        Which rows.

    Returns
    -------
    array
        A view of x where it is C-contiguous.
    """
    rows = x[own]
    return contiguous(rows.toarray() if issparse(rows) else rows)
