"""What is in a data file: numbers in rows, and the target that is to be predicted."""

from __future__ import annotations

import csv
import math
import zipfile
from array import array
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import TextIO

import numpy as np

from fastopt._errors import FastoptError
from fastopt.arrays.dtypes import Array

_MISSING = {"", "?", "na", "n/a", "nan", "null"}
_DENSE_LIMIT = 2**31  # bytes; a sparse file may describe far more than fits into memory


@dataclass(frozen=True)
class Table:
    """Features X (n, d), float64 and finite; target y (n,), finite numbers or text."""

    name: str
    X: Array
    y: Array
    columns: list[str]
    expected_accuracy: float | None = None


def load(source: str | None, target: str | None) -> Table:
    """Read a file by its ending; without one, the digits that scikit-learn ships."""
    if source is None:
        if target is not None:
            raise FastoptError("--target needs DATA; the digits have a target of their own")
        return _digits()
    path = Path(source)
    readers = {
        ".csv": _read_csv,
        ".npz": _read_npz,
        ".svm": _read_svmlight,
        ".svmlight": _read_svmlight,
        ".libsvm": _read_svmlight,
    }
    if path.suffix.lower() not in readers:
        raise FastoptError(f"{path}: the name must end in one of {', '.join(readers)}")
    table = readers[path.suffix.lower()](path, target)
    _require_usable(table)
    return table


def _digits() -> Table:
    from sklearn.datasets import load_digits

    bunch = load_digits()
    return Table(
        "handwritten digits",
        bunch.data,
        bunch.target,
        list(bunch.feature_names),
        expected_accuracy=0.9,
    )


def _read_csv(path: Path, target: str | None) -> Table:
    """Read a table with or without a header; the delimiter is a comma, semicolon or tab."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            return _parse_csv(path, file, target)
    except UnicodeDecodeError as error:
        raise FastoptError(f"{path}: not text in UTF-8 ({error.reason})") from None
    except csv.Error as error:
        raise FastoptError(f"{path}: {error}") from None


def _parse_csv(path: Path, file: TextIO, target: str | None) -> Table:
    first_line = file.readline()
    file.seek(0)
    delimiter = max(",;\t", key=first_line.count)
    reader = csv.reader(file, delimiter=delimiter, skipinitialspace=True)
    lines = (
        (reader.line_num, [cell.strip() for cell in row])
        for row in reader
        if any(map(str.strip, row))
    )
    head = list(islice(lines, 2))
    if not head:
        raise FastoptError(f"{path}: no rows")
    has_header = _is_header(*(cells for _, cells in head))
    columns = head[0][1] if has_header else [str(i) for i in range(len(head[0][1]))]
    at = _target_column(path, columns, target)
    names = columns[:at] + columns[at + 1 :]

    values, labels = array("d"), []
    for line, cells in chain(head[has_header:], lines):
        if len(cells) != len(columns):
            raise FastoptError(
                f"{path}, line {line}: {len(cells)} cells; the first line has {len(columns)}"
            )
        label = cells.pop(at)
        if label.lower() in _MISSING:
            raise FastoptError(f"{path}, line {line}: target {columns[at]!r} is missing")
        labels.append(label)
        try:
            numbers = list(map(float, cells))
        except ValueError:
            numbers = [math.nan]
        if not all(map(math.isfinite, numbers)):
            raise FastoptError(f"{path}, line {line}: {_complaint(names, cells)}")
        values.extend(numbers)
    X = np.asarray(values).reshape(len(labels), len(names))
    return Table(path.name, X, _numbers_or_text(labels), names)


def _is_header(first: list[str], second: list[str] | None = None) -> bool:
    """Names, not data: no number among them, or a name above a number."""
    if not any(map(_is_number, first)):
        return True
    return second is not None and any(
        name.lower() not in _MISSING and not _is_number(name) and _is_number(cell)
        for name, cell in zip(first, second, strict=False)
    )


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return cell.lower() not in _MISSING


def _target_column(path: Path, columns: list[str], target: str | None) -> int:
    if target is None:
        return len(columns) - 1
    if target in columns:
        return columns.index(target)
    try:
        return range(len(columns))[int(target)]
    except (ValueError, IndexError):
        raise FastoptError(
            f"{path}: --target is {target!r}; allowed: an index from {-len(columns)} to "
            f"{len(columns) - 1}, or a name: {_some(columns)}"
        ) from None


def _complaint(names: list[str], cells: list[str]) -> str:
    """Say which cell of a row is no number."""
    for name, cell in zip(names, cells, strict=True):
        if cell.lower() in _MISSING:
            return f"column {name!r} is missing ({cell!r}); every value is needed"
        if not _is_number(cell) or not math.isfinite(float(cell)):
            return f"column {name!r} is {cell!r}; features must be finite numbers"
    raise AssertionError(cells)


def _numbers_or_text(labels: list[str]) -> Array:
    try:
        return np.array(list(map(float, labels)))
    except ValueError:
        return np.array(labels)


def _read_npz(path: Path, target: str | None) -> Table:
    """Read the array X, or the only one besides the target, which is y or what `target` names."""
    with path.open("rb") as file:
        if not zipfile.is_zipfile(file):
            raise FastoptError(f"{path}: not an npz file")
    try:
        with np.load(path, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
    except (ValueError, EOFError, zipfile.BadZipFile) as error:
        raise FastoptError(f"{path}: {error}") from None
    target = "y" if target is None else target
    others = [name for name in arrays if name != target]
    if target not in arrays or not ("X" in others or len(others) == 1):
        raise FastoptError(
            f"{path}: arrays X and {target} are needed; it has {_some(list(arrays))}"
        )
    X, y = arrays["X" if "X" in others else others[0]], arrays[target]
    if X.ndim != 2 or X.dtype.kind not in "fiub":
        raise FastoptError(
            f"{path}: X has shape {X.shape} and dtype {X.dtype}; rows x columns of real numbers "
            "are needed"
        )
    y = y[:, 0] if y.ndim == 2 and y.shape[1] == 1 else y
    if y.shape != X.shape[:1] or y.dtype.kind not in "fiubU":
        raise FastoptError(
            f"{path}: {target} has shape {y.shape} and dtype {y.dtype}; {X.shape[:1]} and "
            "real numbers or text are needed"
        )
    return Table(
        path.name,
        X.astype(np.float64),
        y if y.dtype.kind == "U" else y.astype(np.float64),
        [str(i) for i in range(X.shape[1])],
    )


def _read_svmlight(path: Path, target: str | None) -> Table:
    """Read lines of `target index:value index:value ...`."""
    from sklearn.datasets import load_svmlight_file

    if target is not None:
        raise FastoptError(f"{path}: --target has no meaning; the first field is the target")
    try:
        X, y = load_svmlight_file(str(path))
    except (ValueError, IndexError) as error:
        raise FastoptError(f"{path}: not in svmlight's format ({error})") from None
    n_bytes = 8 * X.shape[0] * X.shape[1]
    if n_bytes > _DENSE_LIMIT:
        raise FastoptError(
            f"{path}: {X.shape[0]} rows of {X.shape[1]} features would take "
            f"{n_bytes / 2**30:.1f} GiB as a dense array; {_DENSE_LIMIT / 2**30:.0f} are allowed"
        )
    return Table(path.name, X.toarray(), y, [str(i) for i in range(X.shape[1])])


def _require_usable(table: Table) -> None:
    n, d = table.X.shape
    if n < 10 or d < 1:
        raise FastoptError(
            f"{table.name}: {n} rows of {d} features; 10 rows and 1 feature are needed"
        )
    bad = np.argwhere(~np.isfinite(table.X))
    if len(bad):
        row, column = map(int, bad[0])
        value = table.X[row, column]
        raise FastoptError(
            f"{table.name}: row {row}, column {table.columns[column]} (from 0) is {value}; "
            "every value is needed, and finite"
        )
    if table.y.dtype.kind != "U" and not np.isfinite(table.y).all():
        row = int(np.argmin(np.isfinite(table.y)))
        raise FastoptError(f"{table.name}: the target of row {row} (from 0) is {table.y[row]}")


def _some(names: list[str]) -> str:
    return ", ".join(names[:8]) + (", ..." if len(names) > 8 else "")
