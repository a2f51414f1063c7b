"""Rows of a memory-mapped array."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from fastopt._errors import FastoptError
from fastopt.estimators.sources.block import Array, Block
from fastopt.estimators.sources.pages import give_back, mapping_of
from fastopt.estimators.sources.roles import Roles, Target

__all__ = ["MemoryMap"]

NUMBERS = 2**19  # elements of X in a block: 4 MiB as float64


@dataclass(frozen=True)
class MemoryMap:
    """A `Source` of the rows of `numpy.memmap`, such as ``numpy.load(path, mmap_mode="r")``.

    The memory of a block is released when the next block is read.

    Parameters
    ----------
    x : array of shape (n, p)
        Of numbers of any type.  Blocks are float32 or float64.
    roles : Roles

    Raises
    ------
    FastoptError
        x is no matrix, or an array of another length belongs to it.
    TypeError
        x has no real numbers.
    """

    x: Array
    roles: Roles

    def __post_init__(self) -> None:
        if self.x.ndim != 2:
            raise FastoptError(f"X has shape {self.x.shape}; (n, p) is needed")
        if self.x.dtype.kind not in "fiub":
            raise TypeError(f"X has dtype {self.x.dtype}; real numbers are needed")
        self.roles.require(None, len(self.x))

    @property
    def n_features(self) -> int:
        """The number of columns."""
        return int(self.x.shape[1])

    @property
    def feature_names(self) -> Sequence[str] | None:
        """None."""
        return None

    @property
    def n_rows(self) -> int:
        """The number of rows."""
        return len(self.x)

    def with_target(self, target: Target) -> MemoryMap:
        """Return a source that converts observations by `target`.

        Parameters
        ----------
        target : callable

        Returns
        -------
        MemoryMap
        """
        return replace(self, roles=replace(self.roles, target=target))

    def _slices(
        self, arrays: list[Array], start: int = 0, end: int | None = None, number: int = 1
    ) -> Iterator[tuple[int, int]]:
        """Yield (first row, number of rows); the pages of `arrays` are given back after each.

        `number` iterators are used at once, so that slices are smaller in proportion.
        """
        end = len(self.x) if end is None else end
        rows = max(16 if number > 1 else 1, NUMBERS // (number * max(1, self.n_features)))
        mapped = [(mapping, array) for array in arrays if (mapping := mapping_of(array))]
        for first in range(start, end, rows):
            n = min(rows, end - first)
            yield first, n
            for mapping, array in mapped:
                give_back(mapping, array[first : first + n])

    def _arrays(self) -> list[Array]:
        return [value for value in self.roles.given.values() if isinstance(value, np.ndarray)]

    def observations(self) -> Iterator[Array]:
        """Yield the observations of rows of a positive weight, as they were given.

        Yields
        ------
        array of shape (n,)
        """
        for first, n in self._slices(self._arrays()):
            yield self.roles.used_observations(first, n)

    def blocks(self) -> Iterator[Block]:
        """Return the rows, some thousand at a time.

        Returns
        -------
        iterator of Block
        """
        return self._blocks(0, len(self.x), 1)

    def places(self, number: int) -> list[Iterator[Block]]:
        """Return iterators that read parts of the rows, which follow one another.

        Parameters
        ----------
        number : int
            The most places.

        Returns
        -------
        list of iterator of Block
            With small blocks, so that one of each fits into memory.
        """
        ends = np.linspace(0, len(self.x), min(number, len(self.x)) + 1).astype(int).tolist()
        return [self._blocks(a, b, len(ends) - 1) for a, b in pairwise(ends)]

    def _blocks(self, start: int, end: int, number: int) -> Iterator[Block]:
        for first, n in self._slices([self.x, *self._arrays()], start, end, number):
            rows = self.x[first : first + n]
            is_plain = rows.dtype in (np.float32, np.float64) and rows.dtype.isnative
            yield self.roles.block(np.asarray(rows if is_plain else rows.astype(np.float64)), first)
