"""The parts of X, y, weights and offsets that belong together, one for each block of rows."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import dask
import dask.array as da
import numpy as np
from dask.delayed import Delayed

from fastopt._errors import FastoptError
from fastopt.estimators.sources.iterable import parts_of
from fastopt.estimators.sources.tables import Table, is_table, table_of

__all__ = ["Chunks", "chunks_of", "is_dask"]


@dataclass(frozen=True)
class Chunks:
    """Blocks of rows that Dask holds or computes.

    Attributes
    ----------
    items : list
        For each block what `fastopt.estimators.sources.iterable.parts_of` takes, or a `Delayed` of
        it, or a dict with `Delayed` values.
    names : dict
        The arguments of `fit` that are names of columns.
    table : Table or None
        The columns of X, without rows, if they have names.
    width : int
        The number of columns of X.
    lengths : tuple of float
        The number of rows of each block; NaN where it is unknown.
    has_y : bool
    """

    items: list[Any]
    names: dict[str, str]
    table: Table | None
    width: int
    lengths: tuple[float, ...]
    has_y: bool

    @property
    def n_rows(self) -> int | None:
        """The number of rows, if it is known."""
        total = sum(self.lengths)
        return None if math.isnan(total) else int(total)


def is_dask(X: object) -> bool:
    """Return whether X is a collection of Dask, or a list with a delayed block."""
    if isinstance(X, list | tuple):
        return any(map(_is_delayed, X))
    return _is_delayed(X) or bool(dask.is_dask_collection(X))


def _is_delayed(item: object) -> bool:
    """Return whether an item is a delayed block of rows, or has a delayed part."""
    if isinstance(item, tuple | dict):
        values = item.values() if isinstance(item, dict) else item
        return any(map(_is_delayed, values))
    distributed = sys.modules.get("distributed")
    is_future = distributed is not None and isinstance(item, distributed.Future)
    return is_future or isinstance(item, Delayed)


def _is_frame(X: object) -> bool:
    return dask.is_dask_collection(X) and is_table(getattr(X, "_meta", None))


def chunks_of(X: Any, given: Mapping[str, Any]) -> Chunks:
    """Return the blocks of X with those of the other arguments.

    Parameters
    ----------
    X : dask.array.Array, dask.dataframe.DataFrame, Delayed or list of Delayed
    given : mapping
        The other arguments of `fit`: names of columns, arrays, collections of Dask or None.

    Returns
    -------
    Chunks

    Raises
    ------
    FastoptError
        An argument has other blocks than X, or other lengths.
    TypeError
        X has no numbers, or is of another type.
    """
    names = {name: value for name, value in given.items() if isinstance(value, str)}
    rest = {
        name: value
        for name, value in given.items()
        if value is not None and not isinstance(value, str)
    }
    if isinstance(X, da.Array):
        if X.ndim != 2:
            raise FastoptError(f"X has shape {X.shape}; (n, p) is needed")
        if X.dtype.kind not in "fiub":
            raise TypeError(f"X has dtype {X.dtype}; real numbers are needed")
        X = X.rechunk({1: -1}) if X.numblocks[1] > 1 else X
        table, width, lengths = None, int(X.shape[1]), X.chunks[0]
        blocks = X.to_delayed().ravel().tolist()
    elif _is_frame(X):
        table = table_of(X._meta)
        width, lengths = len(table.names), (math.nan,) * X.npartitions
        blocks = X.to_delayed()
    elif isinstance(X, list | tuple) or _is_delayed(X):
        blocks = list(X) if isinstance(X, list | tuple) else [X]
        table, width, has_y = _header(blocks[0])
        lengths = (math.nan,) * len(blocks)
        if not rest:
            return Chunks(blocks, names, table, width, lengths, has_y or "y" in names)
    else:
        raise TypeError(
            f"X is a {type(X).__module__}.{type(X).__name__}; a dask.array.Array, a "
            "dask.dataframe.DataFrame or a list of delayed blocks is needed"
        )
    arrays = {name: _split(name, value, lengths) for name, value in rest.items()}
    items = [
        {"X": block, **{name: parts[i] for name, parts in arrays.items()}}
        for i, block in enumerate(blocks)
    ]
    return Chunks(items, names, table, width, tuple(lengths), given.get("y") is not None)


def _header(block: Any) -> tuple[Table | None, int, bool]:
    """Return the columns of the first block, their number, and whether it has a y."""
    header, width, has_y = dask.delayed(_header_of)(block).compute()
    return None if header is None else table_of(header), width, has_y


def _header_of(item: Any) -> tuple[Any, int, bool]:
    X, rest = parts_of(item)
    if is_table(X):
        table = table_of(X)
        return table.header(table.names), len(table.names), "y" in rest
    shape = np.shape(X)
    if len(shape) != 2:
        raise FastoptError(f"the first block has shape {shape}; (n, p) is needed")
    return None, int(shape[1]), "y" in rest


def _split(name: str, value: Any, lengths: Sequence[float]) -> Sequence[Any]:
    """Return the parts of y, weights, ..., one for each block of X."""
    n, is_known = len(lengths), not any(map(math.isnan, lengths))
    if isinstance(value, list | tuple) and value and all(map(_is_delayed, value)):
        parts: Sequence[Any] = value
    elif isinstance(value, da.Array):
        value = _column(name, value)
        own = value.chunks[0]
        if is_known and not any(map(math.isnan, own)):
            _require_length(name, int(sum(own)), lengths)
            value = value.rechunk({0: tuple(map(int, lengths))})
        parts = value.to_delayed().tolist()
    elif dask.is_dask_collection(value):
        if getattr(value, "ndim", 0) == 2:  # a frame of one column
            raise FastoptError(f"{name} is a DataFrame; a Series or the name of a column is needed")
        parts = value.to_delayed()
    elif not is_known:
        raise FastoptError(
            f"{name} is a {type(value).__name__}, and the number of rows in each block of X is "
            f"unknown; give {name} as a Dask collection with the blocks of X, or as the name of a "
            "column, or call X.compute_chunk_sizes() of a Dask array first"
        )
    else:
        array = _column(name, np.asarray(value))
        _require_length(name, len(array), lengths)
        parts = np.split(array, np.cumsum(np.asarray(lengths[:-1], dtype=int)))
    if len(parts) != n:
        raise FastoptError(
            f"{name} has {len(parts)} blocks and X has {n}; they need the same. Select rows of "
            f"both in the same way, or call compute_chunk_sizes() of both"
        )
    return parts


def _column(name: str, value: Any) -> Any:
    if value.ndim == 2 and value.shape[1] == 1:
        return value[:, 0]
    if value.ndim != 1:
        raise FastoptError(f"{name} has shape {value.shape}; a number for each row is needed")
    return value


def _require_length(name: str, length: int, lengths: Sequence[float]) -> None:
    total = int(sum(lengths))
    if length != total:
        raise FastoptError(f"{name} has {length} rows and X has {total}; they need the same")
