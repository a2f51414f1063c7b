"""What a fit reads: blocks of rows, once for each round, and sums over them."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import reduce
from typing import Any, Protocol, TypeVar

from fastopt._errors import FastoptError
from fastopt.estimators.sources.block import Block

__all__ = ["Source", "reading", "reduced"]

Item = TypeVar("Item")


class Source(Protocol):
    """Data that can be read again for each round of a fit.

    Attributes
    ----------
    n_features : int
    feature_names : sequence of str or None
    """

    @property
    def n_features(self) -> int:
        """The number of columns of each block."""

    @property
    def feature_names(self) -> Sequence[str] | None:
        """The names of the columns, or None."""

    def blocks(self) -> Iterator[Block]:
        """Return a new iterator over all blocks, in the same order each time.

        Returns
        -------
        iterator of Block
        """


@contextmanager
def reading(items: Iterable[Item]) -> Iterator[Iterator[Item]]:
    """Iterate in a `with` block, and close the iterator at its end if it has a method ``close``.

    A generator that is read in part, or whose reader fails, is otherwise closed only when nothing
    refers to it any more, and a traceback does.

    Parameters
    ----------
    items : iterable

    Yields
    ------
    iterator

    Examples
    --------
    >>> with reading(i**2 for i in range(3)) as squares:
    ...     next(squares)
    0
    >>> list(squares)
    []
    """
    iterator = iter(items)
    try:
        yield iterator
    finally:
        close = getattr(iterator, "close", None)
        if close is not None:
            close()


def reduced(
    source: Source,
    function: Callable[[Block], Any],
    combine: Callable[[Any, Any], Any] = operator.iadd,
) -> Any:
    """Return a function of each block, combined over all blocks.

    Parameters
    ----------
    source : Source
        If it has a method of this name, as that of Dask does, this is called instead.
    function : callable
        Is pickled for such a source.
    combine : callable
        Of two results; may change the first.  Default: their sum.

    Returns
    -------
    object

    Raises
    ------
    FastoptError
        The source has no blocks.

    Examples
    --------
    >>> import numpy as np
    >>> from fastopt.estimators.sources.array import ArraySource
    >>> reduced(ArraySource(Block(np.ones((3, 2)), np.zeros(3))), lambda block: block.n)
    3
    """
    own = getattr(source, "reduced", None)
    if own is not None:
        return own(function, combine)
    with reading(source.blocks()) as blocks:
        results = map(function, blocks)
        try:
            first = next(results)
        except StopIteration:
            raise FastoptError("the source has no rows") from None
        return reduce(combine, results, first)
