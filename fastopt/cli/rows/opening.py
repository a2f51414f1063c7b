"""The rows of a data file, by the end of its name."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from fastopt._errors import FastoptError
from fastopt.cli.race.data.table import some_of
from fastopt.cli.rows.stored import Array, StoredReader, StoredTable, Texts
from fastopt.cli.rows.text_file import Choice, read_text
from fastopt.estimators.extras import library
from fastopt.estimators.sources.parquet import ParquetReader
from fastopt.estimators.sources.table_rows import Reader

_DELIMITERS = {".csv": ",;\t", ".tsv": "\t"}
_SVMLIGHT = (".svm", ".svmlight", ".libsvm")
ENDINGS = (*_DELIMITERS, ".npz", ".parquet", *_SVMLIGHT)


@dataclass(frozen=True)
class Input:
    """A file of rows with named columns."""

    name: str
    reader: Reader
    kinds: dict[str, str]  # of each column: "number", "bool", "text", or a type that is not read
    place: Callable[[int], str]  # describes a row, given its index
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class SparseInput:
    """A file of rows in svmlight's format."""

    name: str
    X: Any
    y: Array
    zero_based: bool


def is_sparse(path: Path) -> bool:
    """Return whether a file is in svmlight's format, by its name."""
    return path.suffix.lower() in _SVMLIGHT


def open_input(
    path: Path, choose: Choice = lambda names: names, texts: Collection[str] = ()
) -> Input:
    """Return the rows of a file with named columns.

    Parameters
    ----------
    path : Path
    choose : callable
        Returns the names of the columns that are needed, given all of them.
    texts : collection of str
        Columns that are text whatever their cells are.

    Raises
    ------
    FastoptError
        The file has another format than its name says, or another name.
    FileNotFoundError
    """
    path.stat()  # a FileNotFoundError, whatever the name
    ending = path.suffix.lower()
    if ending in _DELIMITERS:
        table, lines, notes = read_text(path, _DELIMITERS[ending], choose, texts)
        return _stored(path, table, lambda row: f"{path}, line {lines[row]}", notes)
    if ending == ".npz":
        table = _read_npz(path)
        kept = set(choose(table.names))
        columns = {name: column for name, column in table.columns.items() if name in kept}
        return _stored(path, StoredTable(columns, table.n), _by_index(path), [])
    if ending == ".parquet" or path.is_dir():
        return _parquet(path, choose)
    raise FastoptError(f"{path}: the name must end in one of {', '.join(ENDINGS)}")


def _by_index(path: Path) -> Callable[[int], str]:
    return lambda row: f"{path}, row {row} (counted from 0)"


def _stored(path: Path, table: StoredTable, place: Callable[[int], str], notes: list[str]) -> Input:
    kinds = {name: _kind(column) for name, column in table.columns.items()}
    return Input(path.name, StoredReader(table), kinds, place, notes)


def _kind(column: Array | Texts) -> str:
    if isinstance(column, Texts):
        return "text"
    return "bool" if column.dtype.kind == "b" else "number"


def _parquet(path: Path, choose: Choice) -> Input:
    types = library("pyarrow", "reading a parquet file").types
    try:
        reader = ParquetReader(path)
    except FastoptError:
        expected = "a folder of parquet files" if path.is_dir() else "a parquet file"
        raise FastoptError(f"{path}: not {expected}") from None
    names = list(choose([name for name in reader.names if name not in reader.index_columns]))
    schema = reader.header(names).schema

    def kind(of: Any) -> str:
        if types.is_dictionary(of):
            of = of.value_type
        if types.is_boolean(of):
            return "bool"
        if types.is_integer(of) or types.is_floating(of) or types.is_decimal(of):
            return "number"
        is_text = types.is_string(of) or types.is_large_string(of) or types.is_string_view(of)
        return "text" if is_text else "number" if types.is_null(of) else str(of)

    kinds = {name: kind(schema.field(name).type) for name in names}
    return Input(path.name, reader, kinds, _by_index(path))


def _read_npz(path: Path) -> StoredTable:
    """Return the columns x1, x2, ... of the array X, and the other arrays under their names."""
    with path.open("rb") as file:
        if not zipfile.is_zipfile(file):
            raise FastoptError(f"{path}: not an npz file")
    try:
        with np.load(path, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
    except (ValueError, EOFError, zipfile.BadZipFile) as error:
        raise FastoptError(f"{path}: {error}") from None
    if "X" not in arrays:
        raise FastoptError(
            f"{path}: an array X is needed, and y or another for --target; it has "
            f"{some_of(list(arrays))}"
        )
    X = arrays.pop("X")
    if X.ndim != 2 or X.dtype.kind not in "fiub":
        raise FastoptError(
            f"{path}: X has shape {X.shape} and dtype {X.dtype}; rows x columns of real numbers "
            "are needed"
        )
    columns: dict[str, Array | Texts] = {f"x{j + 1}": X[:, j] for j in range(X.shape[1])}
    for name, values in arrays.items():
        values = values[:, 0] if values.ndim == 2 and values.shape[1] == 1 else values
        if values.shape != (len(X),) or values.dtype.kind not in "fiubU":
            raise FastoptError(
                f"{path}: {name} has shape {values.shape} and dtype {values.dtype}; ({len(X)},) "
                "and real numbers or text are needed"
            )
        if values.dtype.kind == "U":
            texts, codes = np.unique(values, return_inverse=True)
            columns[name] = Texts(codes, np.array([*texts.tolist(), None], dtype=object))
        else:
            columns[name] = values
    return StoredTable(columns, len(X))


def open_sparse(
    path: Path, n_features: int | None = None, zero_based: bool | None = None
) -> SparseInput:
    """Return the rows of a file in svmlight's format.

    Parameters
    ----------
    path : Path
    n_features : int, optional
        The number of columns.  Default: the largest index.
    zero_based : bool, optional
        Whether the first column has the index 0.  Default: whether the index 0 occurs.
    """
    from sklearn.datasets import load_svmlight_file

    base: bool | str = "auto" if zero_based is None else zero_based
    try:
        X, y = load_svmlight_file(str(path), n_features=n_features, zero_based=base)
        if zero_based is None:
            from_one, _ = load_svmlight_file(str(path), zero_based=True)
            zero_based = from_one.shape[1] == X.shape[1]
    except (ValueError, IndexError, OverflowError) as error:
        raise FastoptError(f"{path}: not in svmlight's format ({error})") from None
    X.indices, X.indptr = X.indices.astype(np.int32), X.indptr.astype(np.int32)
    return SparseInput(path.name, X, y, zero_based)
