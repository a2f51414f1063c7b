"""`DaskRows`: blocks of rows of which Dask computes the sums."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from copy import copy, deepcopy
from dataclasses import dataclass, replace
from functools import cached_property, reduce
from typing import Any

import dask
import numpy as np
from dask.sizeof import sizeof
from threadpoolctl import threadpool_limits

from fastopt._errors import FastoptError
from fastopt.estimators.dask.chunks import Chunks
from fastopt.estimators.inference.robust import is_missing
from fastopt.estimators.sources.block import Array, Block
from fastopt.estimators.sources.features import Features, text_only
from fastopt.estimators.sources.iterable import matrix_of, parts_of
from fastopt.estimators.sources.labels import MOST
from fastopt.estimators.sources.roles import Roles, Target, plain_numbers
from fastopt.estimators.sources.tables import Table, cut, is_table, table_of

__all__ = ["DaskRows", "first_and_distinct_rows", "in_block"]

SPLIT_EVERY = 8  # sums that one task adds up
FIRST_ROWS = 8192  # from which a formula takes the state of its transforms


@sizeof.register(Block)  # type: ignore[untyped-decorator]
def _size(block: Block) -> int:
    """Return the bytes of a block, which tell Dask when a worker's memory is full."""
    arrays = (block.x, block.y, block.weight, block.offset, block.frequency, block.groups)
    return 200 + sum(int(sizeof(array)) for array in arrays if array is not None)


def in_block(index: int, function: Callable[..., Any], *arguments: Any) -> Any:
    """Return a function of arguments; its errors name the block."""
    try:
        return function(*arguments)
    except (FastoptError, TypeError) as error:
        kind = FastoptError if isinstance(error, FastoptError) else TypeError
        raise kind(f"in block {index} of X, counted from 0: {error}") from error


@dataclass
class DaskRows:
    """A `Source` of blocks that stay in the workers of Dask, or in its threads.

    Blocks are converted and kept in the memory of the workers when they are first needed, unless
    Dask's configuration has ``fastopt.persist = False``; then they are computed in each round.  A
    block that is lost with a worker is computed again by Dask.

    Parameters
    ----------
    chunks : Chunks
    roles : Roles
        The columns that are y, weights and the like.
    features : Features or None
        The columns that are the features, if they have names.

    Examples
    --------
    >>> import dask.array as da
    >>> from fastopt.estimators.dask.chunks import chunks_of
    >>> x = da.ones((100, 2), chunks=(10, 2))
    >>> rows = DaskRows(chunks_of(x, {"y": x[:, 0]}), Roles({}))
    >>> rows.reduced(lambda block: block.n, lambda a, b: a + b)
    100
    """

    chunks: Chunks
    roles: Roles
    features: Features | None = None
    target: Target | None = None

    @property
    def n_features(self) -> int:
        """The number of columns of a block."""
        return self.chunks.width if self.features is None else len(self.features.names)

    @property
    def feature_names(self) -> Sequence[str] | None:
        """The names of the columns; None for arrays."""
        return None if self.features is None else text_only(self.features.names)

    @property
    def intercept_name(self) -> str:
        """What the intercept is called in results."""
        return "const" if self.features is None else self.features.intercept_name

    @property
    def n_rows(self) -> int | None:
        """The number of rows, if it is known."""
        return self.chunks.n_rows

    def with_target(self, target: Target) -> DaskRows:
        """Return a source that converts observations by `target`.

        Parameters
        ----------
        target : callable

        Returns
        -------
        DaskRows
        """
        other = copy(self)
        other.target = target
        return other

    def _converted(self, target: Target) -> list[Any]:
        convert = dask.delayed(in_block, pure=False)
        roles = replace(self.roles, target=target)
        how = dask.delayed((roles, self.features, self.n_features), traverse=False, pure=False)
        items = enumerate(self.chunks.items)
        return _kept([convert(i, _block, item, how) for i, item in items])

    @cached_property
    def _as_given(self) -> list[Any]:
        """The blocks, with observations as they were given."""
        return self._converted(_unchanged)

    @cached_property
    def _blocks(self) -> list[Any]:
        if self.target is None:
            return self._converted(plain_numbers)
        convert = dask.delayed(in_block, pure=False)
        return _kept(
            [convert(i, _with_target, block, self.target) for i, block in enumerate(self._as_given)]
        )

    def reduced(self, function: Callable[[Block], Any], combine: Callable[[Any, Any], Any]) -> Any:
        """Return a function of each block, combined over all blocks by a tree of tasks.

        Parameters
        ----------
        function, combine : callable

        Returns
        -------
        object
            The same bits for any number of workers.
        """
        of_block = dask.delayed(in_block, pure=False)
        combined = dask.delayed(_combined, pure=False)
        shared = dask.delayed(_Function(function), traverse=False, pure=False)
        results = [of_block(i, shared, block) for i, block in enumerate(self._blocks)]
        while len(results) > 1:
            results = [
                combined(combine, results[i : i + SPLIT_EVERY])
                for i in range(0, len(results), SPLIT_EVERY)
            ]
        # Threads of BLAS in each thread of Dask would compete for the cores: on two cores, a fit of
        # 20000 x 100 took 13 s instead of 0.6 s.  Worker processes have a separate limit.
        with threadpool_limits(1, "blas"):
            return results[0].compute()

    def observations(self) -> Iterator[Array]:
        """Yield the distinct observations of each block, as they were given.

        Yields
        ------
        array of shape (at most n,)
        """
        distinct = dask.delayed(in_block, pure=False)
        blocks = enumerate(self._as_given)
        for found in dask.compute(*[distinct(i, _distinct, block) for i, block in blocks]):
            if len(found):
                yield found

    def blocks(self) -> Iterator[Block]:
        """Yield the blocks, each of which is copied to this process.

        Yields
        ------
        Block
        """
        for block in self._blocks:
            yield block.compute()


class _Function:
    """A function as a constant of a graph, which holds it once."""

    def __init__(self, function: Callable[[Block], Any]) -> None:
        self.function = function

    def __call__(self, block: Block) -> Any:
        return self.function(block)


def _kept(blocks: list[Any]) -> list[Any]:
    """Return the blocks, whose computation has begun in the workers."""
    if not dask.config.get("fastopt.persist", True):
        return blocks
    return list(dask.persist(*blocks))


def _combined(combine: Callable[[Any, Any], Any], results: list[Any]) -> Any:
    # `combine` may change its first argument, which belongs to another task.
    return reduce(combine, results[1:], deepcopy(results[0]))


def _unchanged(values: Array, rows: Sequence[int]) -> Array:  # noqa: ARG001
    return values


def _with_target(block: Block, target: Target) -> Block:
    return block.with_y(target(block.y, range(block.n)))


def _block(item: Any, how: tuple[Roles, Features | None, int]) -> Block:
    """Return the rows of a chunk."""
    roles, features, width = how
    X, rest = parts_of(item)
    if rest:
        roles = replace(roles, given={**roles.given, **rest})
    if features is None:
        x = matrix_of(X, width, 0)
        roles.require(None, x.shape[0])
        return roles.block(x, 0)
    if not is_table(X):
        raise TypeError(f"a table is needed; it is a {type(X).__name__}")
    table = table_of(X)
    roles.require(table.names, len(table))
    return roles.block(_matrix(table, features), 0, table)


def _matrix(table: Table, features: Features) -> Array:
    absent = [name for name in features.columns if name not in table.names]
    if absent:
        raise FastoptError(f"there is no column {absent[0]!r}, which the first block has")
    x = np.empty((len(table), len(features.names)))
    first = 0
    for part in cut(table, features.most_rows):
        x[first : first + len(part)] = features.rows(part, first)
        first += len(part)
    return x


def _distinct(block: Block) -> Array:
    """Return the distinct observations, all of which must be there."""
    y = np.asarray(block.y)
    missing = np.isnan(y) if y.dtype.kind == "f" else np.zeros(len(y), dtype=bool)
    if y.dtype.kind == "O":
        missing = np.array([is_missing(label) for label in y], dtype=bool)
    if missing.any():
        raise FastoptError(f"y is missing in row {int(np.argmax(missing))}, counted from 0")
    found = np.unique(y)
    if len(found) > MOST:
        raise FastoptError(f"y has more than {MOST} different values; labels are needed")
    return found


def first_and_distinct_rows(
    items: list[Any],
) -> Callable[[Sequence[str] | None], Iterator[Table]]:
    """Return what a formula reads of tables that are elsewhere.

    Parameters
    ----------
    items : list
        Chunks.

    Returns
    -------
    callable
        Of None: yields the first rows of the first table that has rows.  Of names of columns:
        yields these columns of each table, with each combination of values once.
    """
    head, distinct = (dask.delayed(f, pure=False) for f in (_head, _distinct_rows))

    def tables(columns: Sequence[str] | None) -> Iterator[Table]:
        if columns is not None:
            parts = dask.compute(*[distinct(item, list(columns)) for item in items])
            yield from (table_of(part) for part in parts if len(part))
            return
        for item in items:
            first = head(item).compute()
            if len(first):
                yield table_of(first)

    return tables


def _head(item: Any) -> Any:
    return table_of(parts_of(item)[0]).rows(slice(0, FIRST_ROWS)).to_pandas()


def _distinct_rows(item: Any, columns: list[str]) -> Any:
    frame = table_of(parts_of(item)[0]).to_pandas()
    # The conversion of the block names the row of a missing value.
    return frame[list(dict.fromkeys(columns))].drop_duplicates().dropna()
