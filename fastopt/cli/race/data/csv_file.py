"""The table in a text file with a delimiter."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, islice
from pathlib import Path

import numpy as np

from fastopt._errors import FastoptError
from fastopt.arrays.dtypes import Array
from fastopt.cli.delimited import MISSING, is_number, lines_of, numbers
from fastopt.cli.race.data.features import EncodedFeatures, Features
from fastopt.cli.race.data.options import DataOptions
from fastopt.cli.race.data.table import Table, some_of
from fastopt.cli.text import counted


def read_csv(path: Path, options: DataOptions) -> Table:
    """Return features and target of a table with or without a header.

    The delimiter is a comma, semicolon or tab: the most frequent one in the first line.
    """
    return _read(path, options, ",;\t")


def read_tsv(path: Path, options: DataOptions) -> Table:
    """Return features and target of a table with or without a header, separated by tabs."""
    return _read(path, options, "\t")


def _read(path: Path, options: DataOptions, delimiters: str) -> Table:
    with lines_of(path, delimiters) as lines:
        return _parse(path, lines, options)


def _parse(path: Path, lines: Iterator[tuple[int, list[str]]], options: DataOptions) -> Table:
    head = list(islice(lines, 2))
    if not head:
        raise FastoptError(f"{path}: no rows")
    has_header = options.header
    if has_header is None:
        has_header = _is_header(*(cells for _, cells in head))
    columns = head[0][1] if has_header else [str(i) for i in range(len(head[0][1]))]
    at = _column(path, columns, "--target", "-1" if options.target is None else options.target)
    dropped = {_column(path, columns, "--drop", name) for name in options.drop}
    if at in dropped:
        raise FastoptError(f"{path}: --drop names {columns[at]!r}, which is the target")
    kept = [i for i in range(len(columns)) if i != at and i not in dropped]

    features = (EncodedFeatures if options.encode else Features)([columns[i] for i in kept])
    labels = []
    for line, cells in chain(head[has_header:], lines):
        if len(cells) != len(columns):
            raise FastoptError(
                f"{path}, line {line}: {counted(len(cells), 'cell')}; the first line has "
                f"{len(columns)}"
            )
        if cells[at].lower() in MISSING:
            raise FastoptError(f"{path}, line {line}: target {columns[at]!r} is missing")
        labels.append(cells[at])
        try:
            features.add([cells[i] for i in kept])
        except FastoptError as error:
            raise FastoptError(f"{path}, line {line}: {error}") from None
    try:
        X, names, notes = features.finish()
    except FastoptError as error:
        raise FastoptError(f"{path}: {error}") from None
    X = X.reshape(len(labels), len(names))
    if names and kept[0] == 0 and _numbers_rows(columns[0], X[:, 0]):
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
    if not any(map(is_number, first)):
        return True
    return second is not None and any(
        name.lower() not in MISSING and not is_number(name) and is_number(cell)
        for name, cell in zip(first, second, strict=False)
    )


def _column(path: Path, columns: list[str], option: str, value: str) -> int:
    """Return the index of a column; the value of the option is its name or index."""
    if value in columns:
        return columns.index(value)
    try:
        if "_" in value:
            raise ValueError
        return range(len(columns))[int(value)]
    except (ValueError, IndexError):
        raise FastoptError(
            f"{path}: {option} is {value!r}; allowed: an index from {-len(columns)} to "
            f"{len(columns) - 1}, or a name: {some_of(columns)}"
        ) from None


def _numbers_or_text(labels: list[str]) -> Array:
    """Return the labels as numbers if all of them are numbers, otherwise as text."""
    values = numbers(labels)
    return np.array(labels if values is None else values)
