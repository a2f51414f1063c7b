"""The columns of a data file: features, target, weights and the like."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from fastopt._errors import FastoptError
from fastopt.cli.race.data.table import some_of
from fastopt.cli.rows.encoding import Column, Encoding
from fastopt.cli.rows.filled import Fill, FilledReader, FilledTable
from fastopt.cli.rows.formulas import columns_in, require_safe
from fastopt.cli.rows.opening import Input, open_input
from fastopt.cli.rows.scan import Found, replacements, scan
from fastopt.cli.rows.stored import StoredReader, StoredTable
from fastopt.cli.text import counted
from fastopt.estimators.sources.formula import Formula
from fastopt.estimators.sources.opening import FIRST_ROWS
from fastopt.estimators.sources.roles import Roles
from fastopt.estimators.sources.table_rows import TableRows

# The options that name a column, and the arguments of `fit` to which they belong.
ROLES = {
    "target": "y",
    "weight": "sample_weight",
    "freq_weight": "freq_weight",
    "offset": "offset",
    "exposure": "exposure",
    "groups": "groups",
}
_LOWEST = {"weight": 0.0, "freq_weight": 0.0, "exposure": np.nextafter(0.0, 1.0)}
KEPT_NUMBERS = 2**24  # rows in memory, of at most 128 MiB, are encoded once, not in each pass


@dataclass(frozen=True)
class Prepared:
    """Rows that an estimator can read, and how a file is read in the same way later."""

    data: Input
    rows: TableRows
    target: str
    roles: dict[str, Any]
    features: Encoding | Formula
    fills: dict[str, Fill]
    means: dict[str, float]  # of columns of numbers that a formula uses
    notes: list[str] = field(default_factory=list)


def prepare(path: Path, args: argparse.Namespace) -> Prepared:
    """Open a file, and find its levels and its missing values.

    Raises
    ------
    FastoptError
        There is no such column, or its values cannot be used.
    """
    formula = None
    if args.formula is not None:
        formula = Formula(args.formula)
        require_safe(formula)
    data = open_input(path, lambda names: _needed(path, names, args, formula))
    names = list(data.kinds)
    named = _roles(path, names, args, formula)
    roles: dict[str, Any] = {ROLES[option]: name for option, name in named.items()}
    if formula is not None and "target" not in named:
        roles["y"] = formula
    own = [name for name in names if name not in named.values()]
    if formula is not None:
        own = [name for name in columns_in(formula, own) if name not in formula.response_columns]
    _require_readable(data, own, named)
    is_checked = args.impute or formula is not None
    checked = [name for name in own if is_checked or data.kinds[name] == "text"]
    found = scan(data, checked, args.impute)
    _require_roles(data, named)
    notes = list(data.notes)
    fills = replacements(data, found, notes) if args.impute else {}
    reader = FilledReader(data.reader, fills) if fills else data.reader
    features: Encoding | Formula
    if formula is None:
        features = Encoding(_columns(data, own, found, notes), data.place)
    else:
        _begin(formula, data, reader, fills)
        features = formula
    is_small = reader.n_rows * len(features.names) <= KEPT_NUMBERS
    keep = isinstance(data.reader, StoredReader) and is_small
    rows = TableRows(reader, features, Roles(roles, "log"), keep)
    means = {name: f.total / f.n for name, f in found.items() if f.n and not f.texts}
    target = named.get("target") or str(formula.response if formula else "y")
    return Prepared(data, rows, target, roles, features, fills, means, notes)


def _needed(
    path: Path, names: list[str], args: argparse.Namespace, formula: Formula | None
) -> Sequence[str]:
    """Return the columns that are read, after a check of those that are named."""
    for name in args.drop:
        if name not in names:
            raise _no_column(path, "--drop", name, names)
    named = set(_roles(path, names, args, formula).values())
    for name in args.drop:
        if name in named:
            raise FastoptError(f"{path}: --drop names {name!r}, which another option uses")
    if formula is None:
        return [name for name in names if name not in args.drop]
    for name in [*formula.columns, *formula.response_columns]:
        if name not in names:
            raise _no_column(path, "--formula", name, names)
    used = columns_in(formula, names)
    return [name for name in names if name in used or name in named]


def _roles(
    path: Path, names: Sequence[str], args: argparse.Namespace, formula: Formula | None
) -> dict[str, str]:
    """Return the column of each option that names one; the last column is the target."""
    named = {option: value for option in ROLES if (value := getattr(args, option)) is not None}
    if formula is not None and formula.response is not None:
        if "target" in named:
            raise FastoptError(
                f"--target is {named['target']!r}, and --formula has the response "
                f"{formula.response!r}; one is needed"
            )
        if formula.response in formula.response_columns:
            named["target"] = formula.response
    elif "target" not in named:
        free = [name for name in names if name not in named.values() and name not in args.drop]
        if path.suffix.lower() == ".npz" and "y" not in free:
            raise _no_column(path, "--target", "y", names)
        if not free:
            raise FastoptError(f"{path}: no column is left for the target")
        named["target"] = "y" if path.suffix.lower() == ".npz" else free[-1]
    for option, name in named.items():
        if name not in names:
            raise _no_column(path, "--" + option.replace("_", "-"), name, names)
        others = [other for other, value in named.items() if value == name and other != option]
        if others:
            raise FastoptError(f"{path}: {name!r} is both --{option} and --{others[0]}")
    return named


def _no_column(path: Path, option: str, name: str, names: Sequence[str]) -> FastoptError:
    return FastoptError(
        f"{path}: {option} is {name!r}; the columns are {some_of([*map(repr, names)])}"
    )


def _require_readable(data: Input, own: Sequence[str], named: dict[str, str]) -> None:
    """Raise an error if a column is neither numbers nor text, or a weight is text."""
    for name in [*own, *named.values()]:
        if data.kinds[name] not in ("number", "bool", "text"):
            raise FastoptError(
                f"{data.name}: column {name!r} has type {data.kinds[name]}; numbers or text are "
                "needed; --drop leaves the column out"
            )
    for option, name in named.items():
        if option not in ("target", "groups") and data.kinds[name] == "text":
            shown = option.replace("_", "-")
            raise FastoptError(f"{data.name}: --{shown} is {name!r}, a column of text")


def _require_roles(data: Input, named: dict[str, str]) -> None:
    """Raise an error that names the row where a target, weight or the like cannot be used."""
    first = 0
    for table in data.reader.tables(list(named.values()), 2**15):
        for option, name in named.items():
            values, missing = table.labels(name)
            if missing is None and values.dtype.kind == "f" and not np.isfinite(values).all():
                missing = ~np.isfinite(values)
            if missing is not None:
                row = int(np.argmax(missing))
                raise FastoptError(
                    f"{data.place(first + row)}: column {name!r} (--{option.replace('_', '-')}) "
                    "is missing or infinite; such rows cannot be used"
                )
            low = _LOWEST.get(option)
            if low is not None and not (values >= low).all():
                row = int(np.argmin(values >= low))
                raise FastoptError(
                    f"{data.place(first + row)}: column {name!r} (--{option.replace('_', '-')}) is "
                    f"{values[row]}; allowed: {'> 0' if low else '>= 0'}"
                )
        first += len(table)


def _columns(
    data: Input, own: Sequence[str], found: dict[str, Found], notes: list[str]
) -> list[Column]:
    columns = []
    for name in own:
        if data.kinds[name] != "text":
            columns.append(Column(name))
            continue
        levels = found[name].levels
        columns.append(Column(name, levels))
        if len(levels) < 2:
            notes.append(f"Column {name!r} has the same text in all rows; it has no effect.")
        else:
            notes.append(
                f"Column {name!r} is text: {counted(len(levels), 'level')}, baseline {levels[0]!r}."
            )
    if not any(column.names for column in columns):
        notes.append("There are no features: the model has an intercept only.")
    return columns


def _begin(formula: Formula, data: Input, reader: Any, fills: dict[str, Fill]) -> None:
    whole: StoredTable | FilledTable | None = None
    if isinstance(data.reader, StoredReader):
        whole = FilledTable(data.reader.table, fills) if fills else data.reader.table
    formula.begin(
        lambda columns: reader.tables(columns or list(data.kinds), FIRST_ROWS),
        whole,
    )
