"""Rows of parquet files, a few thousand at a time."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from fastopt._errors import FastoptError
from fastopt.estimators.extras import library
from fastopt.estimators.sources.tables import ArrowTable, Table

__all__ = ["ParquetReader", "is_parquet"]

BUFFER = 2**14  # bytes that are read at a time for each column, instead of a whole row group
PAGES = 5 * 2**19  # most bytes of the pages of a column at each place that is read at once
MOST_PAGES = 2**27  # bytes of the pages of all places
RELEASE = 64  # batches after which Arrow returns memory that it keeps for later


def is_parquet(value: object) -> bool:
    """Return whether a value is a path, a `pyarrow.parquet.ParquetFile` or a `Dataset`."""
    if isinstance(value, str | os.PathLike):
        return True
    return type(value).__module__.startswith(("pyarrow.parquet", "pyarrow._dataset"))


class ParquetReader:
    """The tables of parquet files.

    Parameters
    ----------
    data : path, pyarrow.parquet.ParquetFile or pyarrow.dataset.Dataset
        A file; a directory of files; or an object that is open already.  Columns of a partitioned
        directory (``year=2024``) are columns of the table.

    Attributes
    ----------
    names : list of str
        The names of the columns.
    n_rows : int

    Raises
    ------
    FastoptError
        There is no such file, it is not a parquet file, or the dataset has a filter.
    """

    def __init__(self, data: Any) -> None:
        parquet = library("pyarrow.parquet", "reading a parquet file")
        arrow = library("pyarrow", "reading a parquet file")
        self._files: list[tuple[Any, dict[str, Any]]] = []
        if isinstance(data, str | os.PathLike):
            path = Path(data)
            if not path.exists():
                raise FastoptError(f"X is {os.fspath(data)!r}; there is no such file or directory")
            self._shown = os.fspath(data)
            try:
                if path.is_dir():
                    dataset = library("pyarrow.dataset", "reading a directory of parquet files")
                    data = dataset.dataset(path, format="parquet", partitioning="hive")
                else:
                    data = parquet.ParquetFile(path, pre_buffer=False, buffer_size=BUFFER)
            except arrow.ArrowInvalid as error:
                raise FastoptError(
                    f"X is {self._shown!r}, which is not a parquet file ({error}); for text give a "
                    "function, as fit(lambda: pandas.read_csv(path, chunksize=100_000), "
                    "y='column'), for .npy numpy.load(path, mmap_mode='r')"
                ) from None
        else:
            self._shown = f"<{type(data).__name__}>"
        if isinstance(data, parquet.ParquetFile):
            self._files.append((data, {}))
            self._schema = data.schema_arrow
        else:
            self._add_dataset(data, parquet)
        self.names: list[str] = list(self._schema.names)
        self.n_rows = sum(file.metadata.num_rows for file, _ in self._files)

    def _add_dataset(self, data: Any, parquet: Any) -> None:
        dataset = library("pyarrow.dataset", "reading a directory of parquet files")
        if not isinstance(data, dataset.FileSystemDataset):
            raise TypeError(
                f"X is a {type(data).__name__}; allowed: the path of a parquet file or directory, "
                "a ParquetFile, a FileSystemDataset"
            )
        if getattr(data, "_scan_options", None):
            raise FastoptError(
                "X is a pyarrow dataset with a filter, which is not applied here; give a function "
                "that returns its batches: fit(lambda: X.to_batches(), y='column')"
            )
        self._schema = data.schema
        for fragment in data.get_fragments():
            file = parquet.ParquetFile(
                fragment.path, filesystem=data.filesystem, pre_buffer=False, buffer_size=BUFFER
            )
            self._files.append((file, dataset.get_partition_keys(fragment.partition_expression)))
        if not self._files:
            raise FastoptError(f"X is {self._shown!r}, a directory without parquet files")

    @property
    def index_columns(self) -> list[str]:
        """The names of the columns that pandas wrote as its index."""
        return ArrowTable(self._schema.empty_table()).index_columns

    def header(self, columns: Sequence[str]) -> Any:
        """Return a table of these columns without rows, for scikit-learn's checks of names.

        Parameters
        ----------
        columns : sequence of str

        Returns
        -------
        pyarrow.Table
        """
        return ArrowTable(self._schema.empty_table()).header(columns)

    def _groups(self) -> Iterator[tuple[int, Any, dict[str, Any], int]]:
        """Yield the first row of each row group, its file, constants and index in the file."""
        first = 0
        for file, constants in self._files:
            for group in range(file.metadata.num_row_groups):
                yield first, file, constants, group
                first += file.metadata.row_group(group).num_rows

    def starts(self, number: int) -> list[int]:
        """Return rows at which reading can start: the first rows of row groups.

        Parameters
        ----------
        number : int
            The most rows.

        Returns
        -------
        list of int
        """
        groups = [(first, file.metadata.row_group(i)) for first, file, _, i in self._groups()]
        if not groups:
            return [0]
        # The pages of a place, compressed and decompressed: at most twice a row group's bytes.
        largest = 2 * max(group.total_byte_size for _, group in groups)
        n_columns = max(1, len(self.names))
        place = n_columns * BUFFER + min(largest, n_columns * PAGES)
        n = min(number, len(groups), max(1, MOST_PAGES // place))
        return [groups[i * len(groups) // n][0] for i in range(n)]

    def tables(
        self, columns: Sequence[str], rows: int, /, first: int = 0, last: int | None = None
    ) -> Iterator[Table]:
        """Yield tables of at most this number of rows, with these columns.

        Parameters
        ----------
        columns : sequence of str
        rows : int
        first, last : int, optional
            The first row, and the one after the last, of row groups.  Default: all rows.

        Yields
        ------
        Table
        """
        arrow = library("pyarrow", "reading a parquet file")
        last = self.n_rows if last is None else last
        chosen: dict[int, tuple[Any, dict[str, Any], list[int]]] = {}
        for start, file, constants, group in self._groups():
            if first <= start < last:
                chosen.setdefault(id(file), (file, constants, []))[2].append(group)
        for file, constants, groups in chosen.values():
            stored = [name for name in columns if name not in constants]
            batches = file.iter_batches(rows, row_groups=groups, columns=stored, use_threads=False)
            try:
                for i, batch in enumerate(batches):
                    if i % RELEASE == RELEASE - 1:
                        arrow.default_memory_pool().release_unused()
                    for name in columns:
                        if name in constants:
                            kind = self._schema.field(name).type
                            value = arrow.repeat(arrow.scalar(constants[name], kind), len(batch))
                            batch = batch.append_column(name, value)
                    yield ArrowTable(batch)
            finally:
                del batches
                arrow.default_memory_pool().release_unused()
