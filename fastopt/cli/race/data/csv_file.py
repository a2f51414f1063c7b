"""The table in a text file with a delimiter."""

from __future__ import annotations

import csv
import math
from array import array
from itertools import chain, islice
from pathlib import Path
from typing import TextIO

import numpy as np

from fastopt._errors import FastoptError
from fastopt.arrays.dtypes import Array
from fastopt.cli.race.data.table import MISSING, Table, some_of
from fastopt.cli.text import counted


def read_csv(path: Path, target: str | None, header: bool | None = None) -> Table:
    """Return features and target of a table with or without a header.

    `header` says whether there is one; None means that the first two lines decide. The
    delimiter is a comma, semicolon or tab: the most frequent one in the first line.
    """
    return _read(path, target, header, ",;\t")


def read_tsv(path: Path, target: str | None, header: bool | None = None) -> Table:
    """Return features and target of a table with or without a header, separated by tabs."""
    return _read(path, target, header, "\t")


def _read(path: Path, target: str | None, header: bool | None, delimiters: str) -> Table:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            return _parse(path, file, target, header, delimiters)
    except UnicodeDecodeError as error:
        raise FastoptError(f"{path}: not text in UTF-8 ({error.reason})") from None
    except csv.Error as error:
        raise FastoptError(f"{path}: {error}") from None


def _parse(
    path: Path, file: TextIO, target: str | None, header: bool | None, delimiters: str
) -> Table:
    first_line = file.readline()
    file.seek(0)
    delimiter = max(delimiters, key=first_line.count)
    reader = csv.reader(file, delimiter=delimiter, skipinitialspace=True)
    lines = (
        (reader.line_num, [cell.strip() for cell in row])
        for row in reader
        if any(map(str.strip, row))
    )
    head = list(islice(lines, 2))
    if not head:
        raise FastoptError(f"{path}: no rows")
    has_header = _is_header(*(cells for _, cells in head)) if header is None else header
    columns = head[0][1] if has_header else [str(i) for i in range(len(head[0][1]))]
    at = _target_column(path, columns, target)
    names = columns[:at] + columns[at + 1 :]

    values, labels = array("d"), []
    for line, cells in chain(head[has_header:], lines):
        if len(cells) != len(columns):
            raise FastoptError(
                f"{path}, line {line}: {counted(len(cells), 'cell')}; the first line has "
                f"{len(columns)}"
            )
        label = cells.pop(at)
        if label.lower() in MISSING:
            raise FastoptError(f"{path}, line {line}: target {columns[at]!r} is missing")
        labels.append(label)
        numbers = _numbers(cells)
        if numbers is None or not all(map(math.isfinite, numbers)):
            raise FastoptError(f"{path}, line {line}: {_first_bad_cell(names, cells)}")
        values.extend(numbers)
    X, notes = np.asarray(values).reshape(len(labels), len(names)), []
    if names and at > 0 and _numbers_rows(names[0], X[:, 0]):
        X, names = X[:, 1:], names[1:]
        notes.append("The first column has no name and numbers the rows; it is left out.")
    return Table(path.name, X, _numbers_or_text(labels), names, notes=tuple(notes))


def _numbers_rows(name: str, values: Array) -> bool:
    """Return whether a first column is the index that pandas and R write with the data."""
    steps = values - np.arange(len(values))
    return name in ("", "Unnamed: 0") and any((steps == start).all() for start in (0, 1))


def _is_header(first: list[str], second: list[str] | None = None) -> bool:
    """Return whether the first line is a header.

    It is one if it contains no number, or if a cell that is not a number is above a number.
    """
    if not any(map(_is_number, first)):
        return True
    return second is not None and any(
        name.lower() not in MISSING and not _is_number(name) and _is_number(cell)
        for name, cell in zip(first, second, strict=False)
    )


def _numbers(cells: list[str]) -> list[float] | None:
    """Return the numbers in the cells, or None if a cell is not a number.

    "2021_1" is not a number, although Python reads it as 20211.
    """
    try:
        return None if "_" in "".join(cells) else list(map(float, cells))
    except ValueError:
        return None


def _is_number(cell: str) -> bool:
    return _numbers([cell]) is not None and cell.lower() not in MISSING


def _target_column(path: Path, columns: list[str], target: str | None) -> int:
    """Return the index of the target column: `target` is its name or index, by default the last."""
    if target is None:
        return len(columns) - 1
    if target in columns:
        return columns.index(target)
    try:
        if "_" in target:
            raise ValueError
        return range(len(columns))[int(target)]
    except (ValueError, IndexError):
        raise FastoptError(
            f"{path}: --target is {target!r}; allowed: an index from {-len(columns)} to "
            f"{len(columns) - 1}, or a name: {some_of(columns)}"
        ) from None


def _first_bad_cell(names: list[str], cells: list[str]) -> str:
    """Return what is wrong with the first cell that is not a finite number."""
    for name, cell in zip(names, cells, strict=True):
        if cell.lower() in MISSING:
            return f"column {name!r} is missing ({cell!r}); missing values are not allowed"
        if not _is_number(cell) or not math.isfinite(float(cell)):
            return f"column {name!r} is {cell!r}; features must be finite numbers"
    raise AssertionError(cells)


def _numbers_or_text(labels: list[str]) -> Array:
    """Return the labels as numbers if all of them are numbers, otherwise as text."""
    numbers = _numbers(labels)
    return np.array(labels if numbers is None else numbers)
