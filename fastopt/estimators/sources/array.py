"""Rows in a NumPy array."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from fastopt.estimators.sources.block import Block

__all__ = ["ArraySource"]


@dataclass(frozen=True)
class ArraySource:
    """A `Source` of one block: arrays in memory.

    Parameters
    ----------
    block : Block
    feature_names : sequence of str, optional

    Examples
    --------
    >>> import numpy as np
    >>> source = ArraySource(Block(np.ones((3, 2)), np.zeros(3)))
    >>> source.n_features, [block.n for block in source.blocks()]
    (2, [3])
    """

    block: Block
    feature_names: Sequence[str] | None = None

    @property
    def n_features(self) -> int:
        """The number of columns."""
        return int(self.block.x.shape[1])

    def blocks(self) -> Iterator[Block]:
        """Yield the block.

        Yields
        ------
        Block
        """
        yield self.block
