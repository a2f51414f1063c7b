"""The columns of a text file with a delimiter and a header."""

from __future__ import annotations

import math
from array import array
from collections.abc import Callable, Collection, Iterator, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import NamedTuple

import numpy as np

from fastopt._errors import FastoptError
from fastopt.cli.delimited import COMMA_IN_NUMBER, MISSING, is_number, lines_of, numbers
from fastopt.cli.rows.stored import Array, StoredTable, Texts
from fastopt.cli.text import counted

_ROWS = 4096  # that are converted at a time

Choice = Callable[[list[str]], Collection[str]]


class TextFile(NamedTuple):
    """The columns of a file; the number of each row's line; sentences on what was left out."""

    table: StoredTable
    lines: array[int]
    notes: list[str]


def read_text(path: Path, delimiters: str, choose: Choice, texts: Collection[str]) -> TextFile:
    """Return columns of a file whose first line has their names.

    A column is one of text if a cell is neither a number nor missing.

    Parameters
    ----------
    path : Path
    delimiters : str
    choose : callable
        Returns the names of the columns that are kept, given all of them.
    texts : collection of str
        Columns that are text even if all cells are numbers.
    """
    known = set(texts)
    while True:
        # A column of numbers whose later cells are text is read again, because its first cells
        # were not kept.
        columns, lines, late = _read(path, delimiters, choose, known)
        if not late:
            break
        known |= late
    n = len(lines)
    stored = {name: column.finish() for name, column in columns.items()}
    notes: list[str] = []
    _leave_out_names(stored, notes)
    return TextFile(StoredTable(stored, n), lines, notes)


def _read(
    path: Path, delimiters: str, choose: Choice, known: Collection[str]
) -> tuple[dict[str, _Column], array[int], set[str]]:
    with lines_of(path, delimiters) as rows:
        head = next(rows, None)
        if head is None:
            raise FastoptError(f"{path}: the file is empty; a line with the names is needed")
        names = head[1]
        _require_names(path, names)
        kept = set(choose(names))
        columns = {name: _Column(name, name in known) for name in names if name in kept}
        at = [i for i, name in enumerate(names) if name in kept]
        lines = array("q")
        for chunk in _chunks(rows):
            for line, cells in chunk:
                if len(cells) != len(names):
                    raise FastoptError(
                        f"{path}, line {line}: {counted(len(cells), 'cell')}; the first line has "
                        f"{len(names)}"
                    )
            lines.extend(line for line, _ in chunk)
            for i, column in zip(at, columns.values(), strict=True):
                bad = column.add([cells[i] for _, cells in chunk])
                if bad is not None:
                    raise FastoptError(
                        f"{path}, line {chunk[bad][0]}: column {column.name!r} is "
                        f"{chunk[bad][1][i]!r}; a number must have a decimal point and no comma"
                    )
        if not lines:
            raise FastoptError(f"{path}: no rows below the line with the names")
    return columns, lines, {name for name, column in columns.items() if column.is_late}


def _chunks(rows: Iterator[tuple[int, list[str]]]) -> Iterator[list[tuple[int, list[str]]]]:
    for first in rows:
        yield list(islice(chain([first], rows), _ROWS))


def _require_names(path: Path, names: list[str]) -> None:
    if all(map(is_number, names)):
        raise FastoptError(
            f"{path}: the first line has numbers only ({', '.join(names[:3])}); a line with the "
            "names of the columns is needed"
        )
    for i, name in enumerate(names):
        if not name and i:
            raise FastoptError(f"{path}: column {i + 1} has no name in the first line")
        if name in names[:i]:
            raise FastoptError(f"{path}: two columns are named {name!r}; names must be unique")


class _Column:
    """The cells of a column."""

    def __init__(self, name: str, is_text: bool) -> None:
        self.name, self.is_text, self.is_late = name, is_text, False
        self._values, self._codes = array("d"), array("i")
        self._index: dict[str, int] = {}

    def add(self, cells: list[str]) -> int | None:
        """Add the cells of some rows; return the index of one with a decimal comma, or None."""
        if self.is_late:
            return None
        if not self.is_text:
            values: Sequence[float | None] | None = numbers(cells)
            if values is None:
                values = [math.nan if cell.lower() in MISSING else _number(cell) for cell in cells]
            if None not in values:
                self._values.extend(values)  # type: ignore[arg-type]
                return None
            self.is_text, self.is_late = True, len(self._values) > 0
            for i, cell in enumerate(cells):
                if COMMA_IN_NUMBER.fullmatch(cell):
                    return i
            if self.is_late:
                return None
        index = self._index
        self._codes.extend(
            -1 if cell.lower() in MISSING else index.setdefault(cell, len(index)) for cell in cells
        )
        return None

    def finish(self) -> Array | Texts:
        """Return the column; whole numbers are integers."""
        if self.is_text:
            texts = np.array([*self._index, None], dtype=object)  # codes of -1 give the last
            return Texts(np.asarray(self._codes), texts)
        values = np.asarray(self._values)
        with np.errstate(invalid="ignore"):
            whole = values.astype(np.int64)
        is_whole = np.array_equal(whole, values) and bool((np.abs(values) < 2.0**53).all())
        return whole if is_whole else values


def _number(cell: str) -> float | None:
    found = numbers([cell])
    return None if found is None else found[0]


def _leave_out_names(columns: dict[str, Array | Texts], notes: list[str]) -> None:
    """Leave out a first column in which pandas or R has written the names of the rows."""
    first = next(iter(columns), None)
    if first == "":
        del columns[first]
        notes.append("The first column has no name; it is left out.")
    elif first == "Unnamed: 0" and not isinstance(columns[first], Texts):
        steps = columns[first] - np.arange(len(columns[first]))  # type: ignore[operator, arg-type]
        if (steps == 0).all() or (steps == 1).all():
            del columns[first]
            notes.append("The column 'Unnamed: 0' numbers the rows; it is left out.")
