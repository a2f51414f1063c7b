"""Rows that come in chunks, from a function or a list of the user."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.sparse import issparse  # type: ignore[import-untyped]

from fastopt._errors import FastoptError
from fastopt.arrays.accepted import refuse_masked
from fastopt.estimators.sources.block import Array, Block
from fastopt.estimators.sources.features import Features, NumericColumns, text_only
from fastopt.estimators.sources.indices import require_valid
from fastopt.estimators.sources.roles import NAMES, Roles, Target
from fastopt.estimators.sources.source import reading
from fastopt.estimators.sources.tables import Table, cut, is_table, table_of

__all__ = ["Chunks", "is_chunk", "matrix_of", "parts_of", "tables_of"]


def is_chunk(item: object) -> bool:
    """Return whether an element of a list is a chunk of rows, and not a row itself."""
    if isinstance(item, dict):
        return "X" in item
    X = item[0] if isinstance(item, tuple) and item else item
    return is_table(X) or getattr(X, "ndim", 0) == 2


def parts_of(item: Any) -> tuple[Any, dict[str, Any]]:
    """Return X and the other arguments of a chunk.

    Parameters
    ----------
    item : tuple, dict, table or array
        (X, y), (X, y, sample_weight); a dict with the names of the arguments of `fit`; or X alone.

    Returns
    -------
    tuple of X and dict

    Raises
    ------
    FastoptError
        The tuple is too long, or the dict has other keys.
    """
    if isinstance(item, Mapping):
        rest = dict(item)
        unknown = [key for key in rest if key not in {"X", *NAMES}]
        if unknown or "X" not in rest:
            problem = f"the key {unknown[0]!r}" if unknown else "no key 'X'"
            raise FastoptError(
                f"a chunk is a dict with {problem}; allowed: 'X', {', '.join(map(repr, NAMES))}"
            )
        return rest.pop("X"), rest
    if isinstance(item, tuple):
        if not 1 <= len(item) <= 3:
            raise FastoptError(
                f"a chunk is a tuple of {len(item)}; (X, y), (X, y, sample_weight) or a dict with "
                "the names of the arguments is needed"
            )
        return item[0], dict(zip(NAMES, item[1:], strict=False))
    return item, {}


def _given(rest: dict[str, Any]) -> list[str]:
    """Return the names of what a chunk has beside X."""
    return sorted(name for name, value in rest.items() if value is not None)


def tables_of(chunks: Callable[[], Iterable[Any]]) -> Iterator[Table]:
    """Yield the tables of chunks.

    Parameters
    ----------
    chunks : callable

    Yields
    ------
    Table

    Raises
    ------
    TypeError
        A chunk is no table.
    """
    with reading(chunks()) as items:
        for item in items:
            X, _ = parts_of(item)
            if not is_table(X):
                raise TypeError(
                    f"formula= needs tables with named columns; a chunk is a {type(X).__name__}"
                )
            yield table_of(X)


@dataclass
class Chunks:
    """A `Source` of the chunks that a function returns.

    Parameters
    ----------
    chunks : callable
        Returns an iterable of chunks; it is called once for each round.
    roles : Roles
        Names of columns, for chunks that are tables.  Arrays come with each chunk.
    features : Features, optional
        For chunks that are tables.  Default: all columns without a role.
    with_y : bool
        False leaves y out, to predict.  Default True.
    without : set of str
        Further columns that are no features.

    Attributes
    ----------
    header : object
        The first chunk, with the columns that are the features only.

    Raises
    ------
    FastoptError
        There are no chunks, or a chunk has no y.
    """

    chunks: Callable[[], Iterable[Any]]
    roles: Roles
    features: Features | None = None
    with_y: bool = True
    without: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        self._n: int | None = None
        self._iterator: object = None
        with reading(self._iterate()) as items:
            first = next(items, None)
        if first is None:
            raise FastoptError("X gave no chunks; at least one is needed")
        X, rest = parts_of(first)
        self.header, self._given = X, _given(rest)
        if self.with_y and "y" not in self.roles.given and rest.get("y") is None:
            raise FastoptError("a chunk has no y; (X, y), or y='column' for tables, is needed")
        if is_table(X):
            table = table_of(X)
            self.roles.require(table.names, None)
            if self.features is None:
                own = self.without | {*self.roles.columns.values(), *table.index_columns}
                self.features = NumericColumns([name for name in table.names if name not in own])
            self.header = table.header(self.features.columns)
            self._width = len(self.features.names)
        else:
            shape = X.shape if hasattr(X, "shape") else np.shape(X)
            if len(shape) != 2:
                raise FastoptError(f"the first chunk has shape {shape}; (n, p) is needed")
            self._width = int(shape[1])

    @property
    def n_features(self) -> int:
        """The number of columns of a block."""
        return self._width

    @property
    def feature_names(self) -> Sequence[str] | None:
        """The names of the columns; None for arrays, or if not all are text."""
        return None if self.features is None else text_only(self.features.names)

    @property
    def intercept_name(self) -> str:
        """What the intercept is called in results."""
        return "const" if self.features is None else self.features.intercept_name

    @property
    def n_rows(self) -> int | None:
        """The number of rows; None before they were read."""
        return self._n

    def with_target(self, target: Target) -> Chunks:
        """Return a source that converts observations by `target`.

        Parameters
        ----------
        target : callable

        Returns
        -------
        Chunks
        """
        other = copy(self)
        other.roles = replace(self.roles, target=target)
        return other

    def _iterate(self) -> Iterator[Any]:
        found = self.chunks()
        if found is self._iterator and hasattr(found, "__next__"):
            raise FastoptError(
                f"X() returned the same {type(found).__name__} twice, which can be read only once; "
                "the function must return a new iterator at each call"
            )
        self._iterator = found
        return iter(found)

    def _items(self) -> Iterator[tuple[int, Any, Table | None, Roles]]:
        """Yield (index of the first row, X, X as a table or None, roles) of each chunk."""
        first = 0
        with reading(self._iterate()) as items:
            for item in items:
                X, table, roles = self._checked(item, first)
                yield first, X, table, roles
                first += X.shape[0] if table is None else len(table)
        if self._n is not None and first != self._n:
            raise FastoptError(
                f"X gave {first} rows in this round and {self._n} before; the function must return "
                "a new iterator over the same rows at each call"
            )
        self._n = first

    def _checked(self, item: Any, first: int) -> tuple[Any, Table | None, Roles]:
        """Return X, X as a table or None, and roles of the chunk that begins with this row."""
        X, rest = parts_of(item)
        if _given(rest) != self._given:
            raise FastoptError(
                f"the chunk that begins with row {first} has {', '.join(_given(rest)) or 'X'}, "
                f"and the first chunk has {', '.join(self._given) or 'X'}; all need the same"
            )
        given = {**self.roles.given, **rest}
        if not self.with_y:
            given.pop("y", None)
        roles = replace(self.roles, given=given, origin=first)
        table = table_of(X) if is_table(X) else None
        if table is None:
            X = matrix_of(X, self._width, first)
        roles.require(
            None if table is None else table.names, X.shape[0] if table is None else len(table)
        )
        return X, table, roles

    def observations(self) -> Iterator[Array]:
        """Yield the observations of rows of a positive weight, as they were given.

        Yields
        ------
        array of shape (n,)
        """
        for first, X, table, roles in self._items():
            n = X.shape[0] if table is None else len(table)
            yield roles.used_observations(first, n, table)

    def blocks(self) -> Iterator[Block]:
        """Yield the rows of each chunk.

        Yields
        ------
        Block
        """
        for first, X, whole, roles in self._items():
            if whole is None:
                yield roles.block(X, first)
                continue
            assert self.features is not None
            absent = [name for name in self.features.columns if name not in whole.names]
            if absent:
                raise FastoptError(
                    f"the chunk that begins with row {first} has no column {absent[0]!r}, which "
                    "the first chunk has"
                )
            row = first
            for table in cut(whole, self.features.most_rows):
                yield roles.block(self.features.rows(table, row), row, table)
                row += len(table)


def matrix_of(X: Any, width: int, first: int) -> Any:
    """Return a chunk that is no table as an array or a CSR matrix of float32 or float64.

    Parameters
    ----------
    X : array or sparse matrix of shape (n, width)
    width : int
    first : int
        The index of the first row, for messages.

    Returns
    -------
    array or CSR matrix

    Raises
    ------
    FastoptError
        The chunk has another width.
    TypeError
        The chunk has no real numbers.
    """
    refuse_masked("X", X)
    if issparse(X):
        require_valid(X)
    x = X.tocsr() if issparse(X) else np.asarray(X)
    if x.ndim != 2 or x.shape[1] != width:
        raise FastoptError(
            f"the chunk that begins with row {first} has shape {x.shape}; (n, {width}) is needed"
        )
    if x.dtype.kind not in "fiub":
        raise TypeError(f"a chunk has dtype {x.dtype}; real numbers are needed")
    is_plain = x.dtype in (np.float32, np.float64) and x.dtype.isnative
    return x if is_plain else x.astype(np.float64)
