"""Which source reads the data that a user gives to an estimator of this package."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from fastopt._errors import FastoptError
from fastopt.estimators.dask.chunks import Chunks, chunks_of, is_dask
from fastopt.estimators.dask.rows import DaskRows, first_and_distinct_rows
from fastopt.estimators.sources.features import Features, NumericColumns
from fastopt.estimators.sources.formula import Formula
from fastopt.estimators.sources.opening import Opened, open_rows, with_response
from fastopt.estimators.sources.roles import Roles
from fastopt.estimators.sources.tables import Table

__all__ = ["open_any_rows"]


def open_any_rows(
    X: Any,
    given: Mapping[str, Any],
    formula: Formula | None = None,
    without: Iterable[str] = (),
    with_y: bool = True,
    link: str = "log",
) -> Opened | None:
    """Return a source for data of Dask, and what `open_rows` returns for all other.

    Parameters
    ----------
    X, given, formula, without, with_y, link
        As for `fastopt.estimators.sources.opening.open_rows`.

    Returns
    -------
    Opened or None

    Raises
    ------
    FastoptError
        There is no such column, or blocks differ.
    TypeError
        X has no numbers, or has no columns with names and there is a formula.
    """
    if not is_dask(X):
        return open_rows(X, given, formula, without, with_y, link)
    given = with_response(given, formula) if with_y else dict(given)
    expression = given.pop("y") if isinstance(given.get("y"), Formula) else None
    chunks = chunks_of(X, given)
    if with_y and not (chunks.has_y or expression):
        raise FastoptError("y is None; y='column', an array or a formula with a response is needed")
    table, names = chunks.table, chunks.names
    roles = Roles(names if expression is None else {**names, "y": expression}, link, codes=_as_is)
    roles.require(None if table is None else table.names, None)
    if "exposure" in given and given["exposure"] is not None:
        Roles({"exposure": np.ones(1)}, link)  # checks the link
    if table is None:
        if formula is not None:
            raise TypeError(f"formula= needs tables with named columns; X is a {type(X).__name__}")
        return Opened(DaskRows(chunks, roles), np.empty((0, chunks.width)))
    features = _features(chunks, table, roles, formula, without)
    rows = DaskRows(chunks, roles, features)
    return Opened(rows, table.header(features.columns), tuple(roles.read))


def _features(
    chunks: Chunks, table: Table, roles: Roles, formula: Formula | None, without: Iterable[str]
) -> Features:
    """Return how the columns of X become the columns of a matrix."""
    if formula is None:
        own = {*without, *roles.columns.values()}
        columns = NumericColumns([name for name in table.names if name not in own])
        columns.rows(table, 0)  # raises an error if one is not numeric
        return columns
    formula.require_columns(table.names, with_response="y" in roles.given)
    if not formula.has_begun:
        formula.begin(first_and_distinct_rows(chunks.items))
    return formula


def _as_is(groups: Any) -> Any:
    """Return labels, which are the same in all workers; numbers in order of appearance are not."""
    return groups
