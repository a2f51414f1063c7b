"""A table whose missing values are replaced."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from fastopt.estimators.sources.table_rows import Reader
from fastopt.estimators.sources.tables import Table

Array = np.ndarray[Any, np.dtype[Any]]
Fill = float | str


class FilledTable:
    """A `Table` in which missing values of a column are replaced by `fills[name]`."""

    def __init__(self, table: Table, fills: Mapping[str, Fill]) -> None:
        self._table, self._fills = table, fills
        self.lists_all_levels = table.lists_all_levels

    @property
    def names(self) -> list[str]:
        """The names of the columns."""
        return self._table.names

    @property
    def index_columns(self) -> list[str]:
        """The names of the columns that are an index of pandas."""
        return self._table.index_columns

    def __len__(self) -> int:
        return len(self._table)

    def rows(self, own: slice) -> FilledTable:
        """Return the rows of a slice."""
        return FilledTable(self._table.rows(own), self._fills)

    def numbers(self, name: str) -> Any:
        """Return a column of numbers."""
        values = self._table.numbers(name)
        if name not in self._fills or values.dtype.kind != "f":
            return values
        return np.where(np.isnan(values), self._fills[name], values)

    def labels(self, name: str) -> tuple[Array, Array | None]:
        """Return a column of any type, and where it is missing, or None if it is nowhere."""
        values, missing = self._table.labels(name)
        if missing is None or name not in self._fills:
            return values, missing
        return np.where(missing, np.array(self._fills[name], dtype=values.dtype), values), None

    def levels(self, name: str) -> list[Any] | None:
        """Return the levels that the type of a column lists, or None."""
        return self._table.levels(name)

    def header(self, columns: Sequence[str]) -> Any:
        """Return a table of these columns without rows."""
        return self._table.header(columns)

    def to_pandas(self) -> Any:
        """Return a pandas.DataFrame."""
        frame = self._table.to_pandas()
        own = {name: fill for name, fill in self._fills.items() if name in frame.columns}
        return frame.fillna(own)


class FilledReader:
    """The rows of a reader as `FilledTable`."""

    def __init__(self, reader: Reader, fills: Mapping[str, Fill]) -> None:
        self._reader, self._fills = reader, fills
        self.names, self.n_rows = reader.names, reader.n_rows
        self.index_columns = reader.index_columns

    def header(self, columns: Sequence[str]) -> Any:
        """Return a table of these columns without rows."""
        return self._reader.header(columns)

    def starts(self, number: int) -> list[int]:
        """Return at most this number of rows at which reading can start."""
        return self._reader.starts(number)

    def tables(
        self, columns: Sequence[str], rows: int, /, first: int = 0, last: int | None = None
    ) -> Iterator[Any]:
        """Yield tables of at most this number of rows, with these columns."""
        for table in self._reader.tables(columns, rows, first, last):
            yield FilledTable(table, self._fills)
