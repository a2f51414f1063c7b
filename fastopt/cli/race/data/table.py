"""A table of features and a target, and the check that it can be used."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fastopt._errors import FastoptError
from fastopt.arrays.dtypes import Array
from fastopt.cli.text import counted


@dataclass(frozen=True)
class Table:
    """Features X (n, d), float64 and finite; target y (n,), finite numbers or text."""

    name: str
    X: Array
    y: Array
    columns: list[str]
    expected_accuracy: float | None = None
    notes: tuple[str, ...] = ()  # sentences on what was left out


def require_usable(table: Table) -> None:
    """Raise an error if the table has too few rows or columns, or a value that is not finite."""
    n, d = table.X.shape
    if n < 10 or d < 1:
        raise FastoptError(
            f"{table.name}: {counted(n, 'row')} of {counted(d, 'feature')}; 10 rows and "
            "1 feature are needed"
        )
    bad = np.argwhere(~np.isfinite(table.X))
    if len(bad):
        row, column = map(int, bad[0])
        value = table.X[row, column]
        raise FastoptError(
            f"{table.name}: row {row}, column {table.columns[column]} (from 0) is {value}; "
            "only finite values are allowed"
        )
    if table.y.dtype.kind != "U" and not np.isfinite(table.y).all():
        row = int(np.argmin(np.isfinite(table.y)))
        raise FastoptError(f"{table.name}: the target of row {row} (from 0) is {table.y[row]}")


def some_of(names: list[str]) -> str:
    """Return the first eight names, separated by commas."""
    return ", ".join(names[:8]) + (", ..." if len(names) > 8 else "")
