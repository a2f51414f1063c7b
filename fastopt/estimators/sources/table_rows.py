"""Rows of a table in memory or in parquet files."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, Protocol

from fastopt.estimators.sources.block import Array, Block
from fastopt.estimators.sources.features import Features, text_only
from fastopt.estimators.sources.roles import Roles, Target
from fastopt.estimators.sources.tables import Table

__all__ = ["Reader", "TableRows"]

NUMBERS = 2**18  # elements of X in a block: 2 MiB


class Reader(Protocol):
    """Where the rows of a table are; `FrameReader` and `ParquetReader` are readers.

    Attributes
    ----------
    names : list of str
    n_rows : int
    """

    names: list[str]
    n_rows: int

    @property
    def index_columns(self) -> list[str]:
        """The names of the columns that are an index of pandas, and so no features."""

    def header(self, columns: Sequence[str]) -> Any:
        """Return a table of these columns without rows, for scikit-learn's checks of names."""

    def tables(
        self, columns: Sequence[str], rows: int, /, first: int = 0, last: int | None = None
    ) -> Iterator[Table]:
        """Yield tables of at most this number of rows, with at least these columns.

        They have the rows from `first` to before `last`, which are two of the `starts`.
        """

    def starts(self, number: int) -> list[int]:
        """Return at most this number of rows at which reading can start, 0 first."""


@dataclass
class TableRows:
    """A `Source` of the rows of a table with named columns.

    Parameters
    ----------
    reader : Reader
    features : Features
        The columns that are the features.
    roles : Roles
        The columns or arrays that are y, weights and the like.
    keep : bool
        Whether to convert the rows once, and to keep them.  Default False.
    """

    reader: Reader
    features: Features
    roles: Roles
    keep: bool = False

    def __post_init__(self) -> None:
        self._kept: list[Block] | None = None
        self.roles.require(self.reader.names, self.reader.n_rows)

    @property
    def n_features(self) -> int:
        """The number of columns of a block."""
        return len(self.features.names)

    @property
    def feature_names(self) -> Sequence[str] | None:
        """The names of these columns; None if not all are text, as in scikit-learn."""
        return text_only(self.features.names)

    @property
    def intercept_name(self) -> str:
        """What the intercept is called in results."""
        return self.features.intercept_name

    @property
    def n_rows(self) -> int:
        """The number of rows."""
        return self.reader.n_rows

    def with_target(self, target: Target) -> TableRows:
        """Return a source that converts observations by `target`.

        Parameters
        ----------
        target : callable

        Returns
        -------
        TableRows
        """
        return replace(self, roles=replace(self.roles, target=target))

    def _tables(
        self,
        columns: Sequence[str],
        number: int = 1,
        first: int = 0,
        last: int | None = None,
    ) -> Iterator[tuple[int, Table]]:
        """Yield the index of the first row and a table; `number` of them fit into memory."""
        rows = min(self.features.most_rows, max(256, NUMBERS // max(1, self.n_features * number)))
        for table in self.reader.tables(list(dict.fromkeys(columns)), rows, first, last):
            yield first, table
            first += len(table)

    def places(self, number: int) -> list[Iterator[Block]]:
        """Return iterators that read parts of the rows, which follow one another.

        Parameters
        ----------
        number : int
            The most places.

        Returns
        -------
        list of iterator of Block
            With small blocks, so that one of each fits into memory.
        """
        starts = self.reader.starts(number)
        columns = [*self.features.columns, *self.roles.read]
        return [
            self._converted(self._tables(columns, len(starts), first, last))
            for first, last in pairwise([*starts, self.n_rows])
        ]

    def _converted(self, tables: Iterable[tuple[int, Table]]) -> Iterator[Block]:
        for first, table in tables:
            x = self.features.rows(table, first)
            yield self.roles.block(x, first, table)

    def observations(self) -> Iterator[Array]:
        """Yield the observations of rows of a positive weight, as they were given.

        Yields
        ------
        array of shape (n,)
        """
        only = {"y", "sample_weight", "freq_weight"} & set(self.roles.given)
        roles = replace(self.roles, given={name: self.roles.given[name] for name in only})
        for first, table in self._tables(roles.read):
            yield self.roles.used_observations(first, len(table), table)

    def blocks(self) -> Iterator[Block]:
        """Yield the rows, some thousand at a time.

        Yields
        ------
        Block
        """
        if self._kept is not None:
            yield from self._kept
            return
        kept = []
        for block in self._converted(self._tables([*self.features.columns, *self.roles.read])):
            if self.keep:
                kept.append(block)
            yield block
        if self.keep:
            self._kept = kept
