"""Columns in memory, as a table that an estimator reads."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastopt.estimators.extras import library
from fastopt.estimators.sources.tables import cut, not_numeric

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Texts:
    """A column of text: the index of each row's text, -1 where it is missing."""

    codes: Array
    texts: Array

    def rows(self, own: slice) -> Texts:
        """Return the rows of a slice."""
        return Texts(self.codes[own], self.texts)


@dataclass(frozen=True)
class StoredTable:
    """A `Table` of columns in memory: arrays of numbers, NaN where one is missing, and `Texts`."""

    columns: Mapping[str, Array | Texts]
    n: int
    lists_all_levels = False

    @property
    def names(self) -> list[str]:
        """The names of the columns."""
        return list(self.columns)

    @property
    def index_columns(self) -> list[str]:
        """No columns are an index of pandas."""
        return []

    def __len__(self) -> int:
        return self.n

    def rows(self, own: slice) -> StoredTable:
        """Return the rows of a slice, without a copy."""
        parts = {
            name: column.rows(own) if isinstance(column, Texts) else column[own]
            for name, column in self.columns.items()
        }
        first, stop, _ = own.indices(self.n)
        return StoredTable(parts, max(0, stop - first))

    def numbers(self, name: str) -> Array:
        """Return a column of numbers."""
        column = self.columns[name]
        if isinstance(column, Texts):
            raise not_numeric(name, "text")
        return column

    def labels(self, name: str) -> tuple[Array, Array | None]:
        """Return a column of any type, and where it is missing, or None if it is nowhere."""
        column = self.columns[name]
        if isinstance(column, Texts):
            missing = column.codes < 0
            return column.texts[column.codes], missing if missing.any() else None
        missing = np.isnan(column) if column.dtype.kind == "f" else np.zeros(self.n, dtype=bool)
        return column, missing if missing.any() else None

    def levels(self, _name: str) -> None:
        """Return None: no column lists its levels."""

    def header(self, columns: Sequence[str]) -> Any:
        """Return an array with as many columns as given, and no rows."""
        return np.empty((0, len(columns)))

    def to_pandas(self) -> Any:
        """Return a pandas.DataFrame."""
        pandas = library("pandas", "--formula")
        return pandas.DataFrame({name: self.labels(name)[0] for name in self.columns})


class StoredReader:
    """The rows of a `StoredTable`, some thousand at a time."""

    def __init__(self, table: StoredTable) -> None:
        self.table = table
        self.names = table.names
        self.index_columns = table.index_columns
        self.n_rows = len(table)

    def header(self, columns: Sequence[str]) -> Any:
        """Return an array with as many columns as given, and no rows."""
        return self.table.header(columns)

    def starts(self, number: int) -> list[int]:
        """Return at most this number of rows at which reading can start."""
        return [i * self.n_rows // number for i in range(min(number, self.n_rows))]

    def tables(
        self, columns: Sequence[str], rows: int, /, first: int = 0, last: int | None = None
    ) -> Iterator[Any]:
        """Yield tables of at most this number of rows, with these columns."""
        kept = {name: self.table.columns[name] for name in columns}
        table = StoredTable(kept, self.n_rows)
        yield from cut(table.rows(slice(first, self.n_rows if last is None else last)), rows)
