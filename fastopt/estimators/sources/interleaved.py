"""Blocks with rows from many places of the data, for a fit that reads them once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from fastopt.estimators.sources.block import Block

__all__ = ["interleaved", "joined"]


def interleaved(source: Any, number: int, random: np.random.RandomState) -> Iterator[Block]:
    """Yield blocks with rows from several places of the data, in random order.

    A block has the next rows of each place.  Files that are sorted are not sorted in this order.

    Parameters
    ----------
    source : Source
        Its method ``places`` returns the places; without it, the rows of each block are shuffled.
    number : int
        The most places.
    random : numpy.random.RandomState

    Yields
    ------
    Block

    Examples
    --------
    >>> import numpy as np
    >>> from fastopt.estimators import Block
    >>> class Sorted:
    ...     def places(self, number):
    ...         rows = np.array_split(np.arange(6.0), number)
    ...         return [iter([Block(part[:, None], part)]) for part in rows]
    >>> [block.y for block in interleaved(Sorted(), 3, np.random.RandomState(0))]
    [array([5., 2., 1., 3., 0., 4.])]
    """
    places = source.places(number) if hasattr(source, "places") else [source.blocks()]
    while places:
        found = [(place, next(place, None)) for place in places]
        places = [place for place, block in found if block is not None]
        blocks = [_dense(block) for _, block in found if block is not None]
        if blocks:
            pool = joined(blocks)
            yield pool.part(random.permutation(pool.n))


def _dense(block: Block) -> Block:
    if not hasattr(block.x, "toarray"):
        return block
    return Block(block.x.toarray(), block.y, block.total_weight(), block.offset)


def joined(blocks: list[Block]) -> Block:
    """Return blocks after one another, without their groups.

    Parameters
    ----------
    blocks : list of Block

    Returns
    -------
    Block
        ``weight`` is the product of weight and frequency.
    """
    if len(blocks) == 1:
        return blocks[0]

    def all_of(arrays: list[Any], fill: float) -> Any:
        if all(array is None for array in arrays):
            return None
        return np.concatenate(
            [
                np.full(block.n, fill) if array is None else array
                for block, array in zip(blocks, arrays, strict=True)
            ]
        )

    return Block(
        np.concatenate([block.x for block in blocks]),
        np.concatenate([block.y for block in blocks]),
        all_of([block.total_weight() for block in blocks], 1.0),
        all_of([block.offset for block in blocks], 0.0),
    )
