"""The features of a text file: cells of numbers, and cells of text that are encoded."""

from __future__ import annotations

import math
from array import array

import numpy as np

from fastopt._errors import FastoptError
from fastopt.arrays.dtypes import Array
from fastopt.cli.delimited import COMMA_IN_NUMBER, MISSING, is_number, numbers
from fastopt.cli.text import counted

_MOST_TEXTS = 100  # in an encoded column; with more, they are likely names or identifiers
_WAYS_OUT = (
    "features must be finite numbers; --drop leaves the column out, --encode makes a column of 0 "
    "and 1 of each of its texts"
)


class Features:
    """Collects the cells of rows, all of which must be finite numbers."""

    def __init__(self, names: list[str]) -> None:
        self.names = names
        self._values = array("d")

    def add(self, cells: list[str]) -> None:
        """Add a row; raise an error that names the first bad cell."""
        row = numbers(cells)
        if row is None or not all(map(math.isfinite, row)):
            for name, cell in zip(self.names, cells, strict=True):
                _require_present(name, cell)
                if not is_number(cell) or not math.isfinite(float(cell)):
                    _refuse_comma(name, cell)
                    raise FastoptError(f"column {name!r} is {cell!r}; {_WAYS_OUT}")
        self._values.extend(row or ())

    def finish(self) -> tuple[Array, list[str], list[str]]:
        """Return the rows (n, d), the names of their columns, and notes for the report."""
        if not self.names:
            return np.empty((0, 0)), [], []
        return np.asarray(self._values).reshape(-1, len(self.names)), self.names, []


class EncodedFeatures(Features):
    """Collects the cells of rows; each text in a column of text becomes a column of 0 and 1."""

    def __init__(self, names: list[str]) -> None:
        super().__init__(names)
        self._rows: list[list[str]] = []

    def add(self, cells: list[str]) -> None:
        """Add a row; raise an error that names the first missing cell."""
        for name, cell in zip(self.names, cells, strict=True):
            _require_present(name, cell)
            _refuse_comma(name, cell)
        self._rows.append(cells)

    def finish(self) -> tuple[Array, list[str], list[str]]:
        """Return the rows (n, d), the names of their columns, and notes for the report."""
        parts: list[Array] = [np.empty((len(self._rows), 0))]
        names: list[str] = []
        n_encoded = 0
        for name, column in zip(self.names, zip(*self._rows, strict=True), strict=False):
            values = numbers(list(column))
            if values is not None:
                parts.append(np.array(values)[:, None])
                names.append(name)
                continue
            texts, codes = np.unique(column, return_inverse=True)
            if len(texts) > _MOST_TEXTS:
                raise FastoptError(
                    f"column {name!r} has {len(texts):,} different texts, such as "
                    f"{str(texts[0])!r}; --encode allows {_MOST_TEXTS}, and --drop leaves the "
                    "column out"
                )
            parts.append(codes[:, None] == np.arange(len(texts)))
            names += [f"{name}={text}" for text in texts]
            n_encoded += 1
        notes = []
        if n_encoded:
            added = len(names) - (len(self.names) - n_encoded)
            verb = "is" if n_encoded == 1 else "are"
            notes.append(
                f"{counted(n_encoded, 'column')} of text {verb} encoded as "
                f"{counted(added, 'column')} of 0 and 1."
            )
        return np.concatenate(parts, axis=1, dtype=np.float64), names, notes


def _require_present(name: str, cell: str) -> None:
    if cell.lower() in MISSING:
        raise FastoptError(
            f"column {name!r} is missing ({cell!r}); missing values are not allowed; --drop "
            "leaves the column out"
        )


def _refuse_comma(name: str, cell: str) -> None:
    if COMMA_IN_NUMBER.fullmatch(cell):
        raise FastoptError(
            f"column {name!r} is {cell!r}; a number must have a decimal point and no comma"
        )
