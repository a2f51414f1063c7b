"""Columns of a table as rows of a matrix: numbers as they are, text as columns of 0 and 1."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastopt._errors import FastoptError
from fastopt.cli.race.data.table import some_of
from fastopt.estimators.sources.tables import Table

Floats = np.ndarray[Any, np.dtype[np.float64]]
Place = Callable[[int], str]  # describes a row by its index: "line 7"


@dataclass(frozen=True)
class Column:
    """A column of numbers, or of text with these levels, of which the first is the baseline."""

    name: str
    levels: tuple[str, ...] | None = None

    @property
    def names(self) -> list[str]:
        """The names of its columns of the matrix."""
        if self.levels is None:
            return [_on_one_line(self.name)]
        return [_on_one_line(f"{self.name}={level}") for level in self.levels[1:]]


def _on_one_line(name: str) -> str:
    return name.replace("\n", "\\n").replace("\r", "\\r")


class Encoding:
    """`Features` of these columns.

    Parameters
    ----------
    columns : sequence of Column
    place : callable
        Describes a row in an error, given its index.
    """

    intercept_name = "const"
    most_rows = 4096

    def __init__(self, columns: Sequence[Column], place: Place) -> None:
        self.encoded = tuple(columns)
        self.columns = [column.name for column in columns]
        self.names = [name for column in columns for name in column.names]
        self._place = place

    def rows(self, table: Table, first: int) -> Floats:
        """Return the matrix of a table, whose first row has the index `first`."""
        x = np.zeros((len(table), len(self.names)), order="F")
        at = 0
        for column in self.encoded:
            if column.levels is None:
                x[:, at] = table.numbers(column.name)
            else:
                codes = self._codes(table, column, first)
                rows = np.flatnonzero(codes)
                x[rows, at + codes[rows] - 1] = 1.0
            at += len(column.names)
        self._require_finite(x, first)
        return x

    def _codes(self, table: Table, column: Column, first: int) -> np.ndarray[Any, Any]:
        labels, missing = table.labels(column.name)
        if missing is not None:
            raise missing_value(column.name, self._place(first + int(np.argmax(missing))))
        assert column.levels is not None
        levels = np.array(column.levels)
        texts = labels.astype(str)
        codes = np.minimum(np.searchsorted(levels, texts), len(levels) - 1)
        is_new = levels[codes] != texts
        if is_new.any():
            row = int(np.argmax(is_new))
            raise FastoptError(
                f"{self._place(first + row)}: column {column.name!r} is {str(texts[row])!r}, which "
                f"does not occur in the data of the fit: {some_of(list(column.levels))}"
            )
        return codes

    def _require_finite(self, x: Floats, first: int) -> None:
        if np.isfinite(x).all():
            return
        row, j = map(int, np.argwhere(~np.isfinite(x))[0])
        place = self._place(first + row)
        if np.isnan(x[row, j]):
            raise missing_value(self.names[j], place)
        raise FastoptError(f"{place}: column {self.names[j]!r} is {x[row, j]}; finite is needed")


def missing_value(name: str, place: str) -> FastoptError:
    """Return the error for a missing value."""
    return FastoptError(
        f"{place}: column {name!r} is missing; `fastopt fit --impute` replaces missing values by "
        "the mean of a column, or by the most frequent text, and --drop leaves the column out"
    )
