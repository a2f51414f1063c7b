"""Numeric columns of a table, as the rows of a matrix."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from fastopt._errors import FastoptError
from fastopt.estimators.sources.block import Floats
from fastopt.estimators.sources.tables import Table

__all__ = ["Features", "NumericColumns", "require_finite", "text_only"]


class Features(Protocol):
    """How the rows of a table become rows of a matrix.

    Attributes
    ----------
    names : sequence of str
        The names of the matrix's columns.
    columns : sequence of str
        The columns of the table that are read.
    intercept_name : str
    most_rows : int
        Rows of a table that are converted at a time.
    """

    intercept_name: str
    most_rows: int

    @property
    def names(self) -> Sequence[str]:
        """The names of the matrix's columns."""

    @property
    def columns(self) -> Sequence[str]:
        """The columns of the table that are read."""

    def rows(self, table: Table, first: int) -> Any:
        """Return the matrix of a table; `first` is the index of its first row, for messages."""


class NumericColumns:
    """Columns of a table that are numbers already.

    Parameters
    ----------
    columns : sequence of str

    Raises
    ------
    FastoptError
        There are none.
    """

    intercept_name = "const"
    most_rows = 4096

    def __init__(self, columns: Sequence[str]) -> None:
        if not columns:
            raise FastoptError("X has no column for a feature; at least one is needed")
        self.columns = self.names = list(columns)

    def rows(self, table: Table, first: int) -> Floats:
        """Return the columns as float64.

        Parameters
        ----------
        table : Table
        first : int
            The index of the first row, for messages.

        Returns
        -------
        array of shape (n, p)

        Raises
        ------
        FastoptError
            A value is missing or infinite.
        TypeError
            A column is no number: text, a category or a date.
        """
        x = np.empty((len(table), len(self.columns)))
        for j, name in enumerate(self.columns):
            x[:, j] = table.numbers(name)
        require_finite(x, self.names, first)
        return x


def text_only(names: Sequence[str]) -> Sequence[str] | None:
    """Return names of columns, or None if one is no string.

    Parameters
    ----------
    names : sequence

    Returns
    -------
    sequence of str or None
    """
    return names if all(isinstance(name, str) for name in names) else None


def require_finite(x: Floats, names: Sequence[str], first: int, absent: str = "missing") -> None:
    """Raise an error that names the first value that is not finite.

    Parameters
    ----------
    x : array of shape (n, p)
    names : sequence of str, of length p
    first : int
        The index of the first row.
    absent : str
        The word for NaN.

    Raises
    ------
    FastoptError
    """
    with np.errstate(all="ignore"):
        if np.isfinite(x.sum()):
            return
    bad = ~np.isfinite(x)
    if bad.any():
        row, j = np.argwhere(bad)[0]
        value = absent if np.isnan(x[row, j]) else x[row, j]
        raise FastoptError(
            f"column {names[j]!r} is {value} in row {first + row}, counted from 0; drop such rows, "
            "or fill them in"
        )
