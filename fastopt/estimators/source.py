"""What a fit reads: blocks of rows, once for each round."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

from fastopt.estimators.block import Block

__all__ = ["Source"]


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
