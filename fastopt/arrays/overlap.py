"""Which arrays share memory."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.lib.array_utils import byte_bounds

from fastopt._errors import FastoptError
from fastopt.arrays.dtypes import Array

MAX_WORK = 1_000_000  # argument of numpy.shares_memory; about ten milliseconds


def share_memory(one: Array, other: Array) -> bool:
    """Return whether two arrays share an element; True if deciding it would take too long."""
    try:
        return np.shares_memory(one, other, MAX_WORK)  # type: ignore[arg-type]
    except np.exceptions.TooHardError:
        return True


def may_overlap_itself(array: Array) -> bool:
    """Return whether two elements of an array may have the same address.

    False is certain: each stride then exceeds the extent of all axes with smaller strides.
    """
    extent = array.itemsize
    for n, stride in sorted(
        ((n, abs(stride)) for n, stride in zip(array.shape, array.strides, strict=True) if n > 1),
        key=lambda axis: axis[1],
    ):
        if stride < extent:
            return array.size > 0
        extent += (n - 1) * stride
    return False


class Spans:
    """The memory of the arrays that a step writes, as disjoint intervals of addresses.

    Arrays whose elements are interleaved share an interval.

    Parameters
    ----------
    named
        Names, for error messages, and arrays.

    Attributes
    ----------
    starts, ends
        The first address of each interval, in ascending order, and the address after its last.

    Raises
    ------
    FastoptError
        Two arrays share an element, or may share one.
    """

    def __init__(self, named: Iterable[tuple[str, Array]]) -> None:
        found = sorted(
            ((*byte_bounds(array), i, name, array)
             for i, (name, subclass) in enumerate(named)
             if (array := np.asarray(subclass)).nbytes),
            key=lambda span: span[:3],
        )  # fmt: skip
        intervals: list[tuple[int, int]] = []
        self._arrays: list[list[tuple[str, Array]]] = []  # the arrays in each interval
        for start, end, _, name, array in found:
            if not intervals or start >= intervals[-1][1]:
                intervals.append((start, end))
                self._arrays.append([(name, array)])
                continue
            for other, neighbour in self._arrays[-1]:
                if share_memory(array, neighbour):
                    raise FastoptError(
                        f"{other} and {name} share memory; each needs separate memory"
                    )
            intervals[-1] = (intervals[-1][0], max(end, intervals[-1][1]))
            self._arrays[-1].append((name, array))
        self.starts = np.array([start for start, _ in intervals], dtype=np.uintp)
        self.ends = np.array([end for _, end in intervals], dtype=np.uintp)

    def require_apart(self, what: str, array: Array) -> None:
        """Raise an error if an array shares an element with one of these arrays."""
        start, end = byte_bounds(array)
        for i in range(int(np.searchsorted(self.ends, start, "right")), len(self._arrays)):
            if self.starts[i] >= end:
                break
            for name, own in self._arrays[i]:
                if share_memory(array, own):
                    raise FastoptError(f"{what} shares memory with {name}")
