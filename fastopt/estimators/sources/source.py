"""What a fit reads: blocks of rows, once for each round, and sums over them."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Sequence
from functools import reduce
from typing import Any, Protocol

from fastopt._errors import FastoptError
from fastopt.estimators.sources.block import Block

__all__ = ["Source", "reduced"]


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
    results = map(function, source.blocks())
    try:
        first = next(results)
    except StopIteration:
        raise FastoptError("the source has no rows") from None
    return reduce(combine, results, first)
