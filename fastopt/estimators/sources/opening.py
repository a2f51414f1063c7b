"""Which source reads the data that a user gives to `fit` or `predict`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

from fastopt._errors import FastoptError
from fastopt.estimators.sources.block import Array
from fastopt.estimators.sources.features import NumericColumns
from fastopt.estimators.sources.formula import Formula
from fastopt.estimators.sources.frame import FrameReader
from fastopt.estimators.sources.iterable import Chunks, is_chunk, tables_of
from fastopt.estimators.sources.memory_map import MemoryMap
from fastopt.estimators.sources.pages import mapping_of
from fastopt.estimators.sources.parquet import ParquetReader, is_parquet
from fastopt.estimators.sources.roles import Roles, Target
from fastopt.estimators.sources.source import Source
from fastopt.estimators.sources.table_rows import Reader, TableRows
from fastopt.estimators.sources.tables import is_table, table_of

__all__ = ["Opened", "Rows", "open_rows", "with_response"]


KEPT_NUMBERS = 2**25  # a table in memory of at most 256 MiB is converted once, not in each round
FIRST_ROWS = 8192  # from which a formula takes the state of its transforms


class Rows(Source, Protocol):
    """A source that this module opens."""

    @property
    def n_rows(self) -> int | None:
        """The number of rows, if it is known."""

    def with_target(self, target: Target) -> Rows:
        """Return a source that converts observations by `target`."""

    def observations(self) -> Iterator[Array]:
        """Return the observations of rows of a positive weight, as they were given."""


class Opened(NamedTuple):
    """A source, and what an estimator needs to know of it.

    ``header`` is an object whose columns are the features, for scikit-learn's checks;
    ``role_columns`` are the names of the columns that are y, a weight and the like.
    """

    rows: Rows
    header: Any
    role_columns: tuple[str, ...] = ()


def open_rows(
    X: Any,
    given: Mapping[str, Any],
    formula: Formula | None = None,
    without: Iterable[str] = (),
    with_y: bool = True,
    link: str = "log",
) -> Opened | None:
    """Return a source for data that is not an array in memory, and None for arrays.

    Parameters
    ----------
    X : table, path, memory-mapped array, function or list of chunks, array, or Opened
        What is opened already is returned as it is.
    given : mapping
        The other arguments of `fit`: arrays or names of columns.
    formula : Formula, optional
        Which columns of tables are features.  Default: all without a role.
    without : iterable of str
        Columns that are no features where they exist: those with a role when the model was fitted.
    with_y : bool
        Whether y is needed.  Default True.
    link : str
        The link of the model; an exposure needs "log".

    Returns
    -------
    Opened or None

    Raises
    ------
    FastoptError
        There is no such file or column, or lengths differ.
    TypeError
        X can be read only once, or has no columns with names and there is a formula.
    """
    if isinstance(X, Opened):
        return X
    if hasattr(X, "__next__"):
        raise TypeError(
            f"X is a {type(X).__name__}, which can be read only once, and a fit reads the data "
            "several times; give a function that returns a new one, as in fit(lambda: chunks()), "
            "or use partial_fit"
        )
    _refuse_rows_of_dask(X, given)
    given = with_response(given, formula) if with_y else dict(given)
    chunks = _chunks(X)
    if chunks is not None:
        return _open_chunks(chunks, Roles(given, link), formula, frozenset(without), with_y)
    is_named = is_table(X) or is_parquet(X)
    is_mapped = mapping_of(X) is not None
    if with_y and given.get("y") is None and (is_named or is_mapped):
        raise FastoptError("y is None; y='column', an array or a formula with a response is needed")
    if is_named:
        return _open_table(X, Roles(given, link), formula, frozenset(without))
    if formula is not None:
        raise TypeError(f"formula= needs a table with named columns; X is a {type(X).__name__}")
    if is_mapped:
        return Opened(MemoryMap(X, Roles(given, link)), X)
    names = {name: value for name, value in given.items() if isinstance(value, str)}
    Roles(names, link).require(None, None)
    return None


def with_response(given: Mapping[str, Any], formula: Formula | None) -> dict[str, Any]:
    """Return the arguments with y from the left side of a formula, if it has one.

    Parameters
    ----------
    given : mapping
    formula : Formula or None

    Returns
    -------
    dict
        y is the name of a column, or the formula if its left side is an expression.

    Raises
    ------
    FastoptError
        y is given too.
    """
    found = dict(given)
    if formula is not None and formula.response is not None:
        if found.get("y") is not None:
            raise FastoptError(
                f"y is given, and the formula has the response {formula.response!r}; one is needed"
            )
        is_column = formula.response in formula.response_columns
        found["y"] = formula.response if is_column else formula
    return found


def _refuse_rows_of_dask(X: Any, given: Mapping[str, Any]) -> None:
    """Raise an error if X is a list of delayed blocks, or of Dask with another argument."""
    first = X[0] if isinstance(X, list | tuple) and X else None
    parts = [*first] if isinstance(first, tuple) else [first]
    has_others = any(value is not None and not isinstance(value, str) for value in given.values())
    for part in (X, *parts):
        kind = type(part)
        is_delayed = kind.__module__ == "dask.delayed"
        if is_delayed or (has_others and hasattr(part, "__dask_graph__")):
            raise TypeError(
                f"X {'is' if part is X else 'contains'} a {kind.__module__}.{kind.__name__}; "
                "GLMRegressor and GLMClassifier of fastopt.estimators.dask take it"
            )


def _chunks(X: Any) -> Callable[[], Iterable[Any]] | None:
    """Return a function that returns the chunks of X; None if X is no collection of chunks."""
    if is_table(X) or hasattr(X, "__array_interface__") or is_parquet(X):
        return None
    if callable(X):
        found: Callable[[], Iterable[Any]] = X
        return found
    if hasattr(X, "partitions") and hasattr(X, "npartitions") and hasattr(X, "compute"):
        return lambda: (X.partitions[i].compute() for i in range(X.npartitions))
    if isinstance(X, Sequence) and len(X) and is_chunk(X[0]):
        return lambda: X
    return None


def _open_chunks(
    chunks: Callable[[], Iterable[Any]],
    roles: Roles,
    formula: Formula | None,
    without: frozenset[str],
    with_y: bool,
) -> Opened:
    for argument, value in roles.given.items():
        if isinstance(value, np.ndarray):
            raise TypeError(
                f"{argument} is an array, and X consists of chunks; each chunk brings its own: "
                "(X, y), (X, y, sample_weight) or a dict with the names of the arguments"
            )
    if formula is not None and not formula.has_begun:
        formula.begin(lambda _: tables_of(chunks))
    source = Chunks(chunks, roles, formula, with_y, without)
    return Opened(source, source.header, tuple(roles.read))


def _open_table(X: Any, roles: Roles, formula: Formula | None, without: frozenset[str]) -> Opened:
    reader: Reader = FrameReader(X) if is_table(X) else ParquetReader(X)
    roles.require(reader.names, reader.n_rows)
    if formula is None:
        own = without | {*roles.columns.values(), *reader.index_columns}
        features = NumericColumns([name for name in reader.names if name not in own])
        header = reader.header(features.columns)
        keep = is_table(X) and reader.n_rows * len(features.columns) <= KEPT_NUMBERS
        return Opened(TableRows(reader, features, roles, keep), header, tuple(roles.read))
    formula.require_columns(reader.names, with_response=False)
    if not formula.has_begun:
        formula.begin(
            lambda columns: reader.tables(columns or reader.names, FIRST_ROWS),
            table_of(X) if is_table(X) else None,
        )
    header = reader.header(formula.columns)
    keep = is_table(X) and reader.n_rows * len(formula.names) <= KEPT_NUMBERS
    return Opened(TableRows(reader, formula, roles, keep), header, tuple(roles.read))
