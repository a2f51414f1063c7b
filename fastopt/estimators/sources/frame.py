"""Rows of a table in memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from fastopt.estimators.sources.tables import Table, cut, table_of

__all__ = ["FrameReader"]


class FrameReader:
    """The rows of a table of pandas, polars or Arrow, some thousand at a time.

    Parameters
    ----------
    frame : pandas.DataFrame, polars.DataFrame, pyarrow.Table or pyarrow.RecordBatch

    Attributes
    ----------
    names : list of str
        The names of the columns.
    n_rows : int
    """

    def __init__(self, frame: Any) -> None:
        self._table = table_of(frame)
        self.names = self._table.names
        self.n_rows = len(self._table)

    @property
    def index_columns(self) -> list[str]:
        """The names of the columns that are an index of pandas."""
        return self._table.index_columns

    def header(self, columns: Sequence[str]) -> Any:
        """Return a table of these columns without rows, for scikit-learn's checks of names.

        Parameters
        ----------
        columns : sequence of str

        Returns
        -------
        table
        """
        return self._table.header(columns)

    def starts(self, number: int) -> list[int]:
        """Return rows at which reading can start.

        Parameters
        ----------
        number : int
            The most rows.

        Returns
        -------
        list of int
        """
        return [i * self.n_rows // number for i in range(min(number, self.n_rows))]

    def tables(
        self, _columns: Sequence[str], rows: int, /, first: int = 0, last: int | None = None
    ) -> Iterator[Table]:
        """Yield tables of at most this number of rows.

        Parameters
        ----------
        _columns : sequence of str
            Unused: a table in memory has all its columns.
        rows : int
        first, last : int, optional
            The first row, and the one after the last.  Default: all rows.

        Yields
        ------
        Table
        """
        yield from cut(self._table.rows(slice(first, self.n_rows if last is None else last)), rows)
