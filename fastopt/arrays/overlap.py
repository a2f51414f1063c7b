"""Which arrays share memory."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable, Iterator

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


def residues(array: Array) -> tuple[int, int, int]:
    """Return (modulus, begin, length), the range of an array's addresses modulo one of its strides.

    For a column of a C-ordered matrix, the modulus is the row stride, and `begin` depends on the
    column.  Two arrays with the same modulus and disjoint ranges share no memory.  The modulus is
    the stride for which length / modulus is smallest; it is 1 if no stride leaves gaps.
    """
    axes = [(n, abs(s)) for n, s in zip(array.shape, array.strides, strict=True) if n > 1 and s]
    modulus, length = 1, 1
    for _, stride in axes:
        extent = array.itemsize + sum((n - 1) * s for n, s in axes if s % stride)
        if extent * modulus < length * stride:
            modulus, length = stride, extent
    return modulus, byte_bounds(array)[0] % modulus if modulus > 1 else 0, length


class Interleaved:
    """Named arrays within one interval of addresses, searched by their residues.

    Comparing each with all others would take seconds for thousands of columns of a matrix.
    Residues are computed when a second array needs them: most intervals have one array.
    """

    __slots__ = ("_arrays", "_residues")

    def __init__(self) -> None:
        # By modulus: (first residue, number of the array), sorted; and the largest length.
        self._residues: dict[int, tuple[list[tuple[int, int]], int]] | None = None
        self._arrays: list[tuple[int, int, str, Array]] = []  # start, end, name, array

    def add(self, start: int, end: int, name: str, array: Array) -> None:
        """Add an array, with the address of its first byte and the address after its last."""
        if self._residues is not None:
            self._index(len(self._arrays), array)
        self._arrays.append((start, end, name, array))

    def _index(self, number: int, array: Array) -> None:
        assert self._residues is not None
        modulus, begin, length = residues(array)
        found, longest = self._residues.get(modulus, ([], 0))
        insort(found, (begin, number))
        self._residues[modulus] = found, max(longest, length)

    def sharing(self, array: Array) -> str | None:
        """Return the name of an added array that shares an element with `array`, or None."""
        start, end = byte_bounds(array)
        for number in self._candidates(array):
            own_start, own_end, name, own = self._arrays[number]
            if own_start < end and start < own_end and share_memory(array, own):
                return name
        return None

    def _candidates(self, array: Array) -> Iterator[int]:
        """Yield the numbers of the arrays whose residues may overlap those of another array."""
        if len(self._arrays) == 1:
            yield 0
            return
        if self._residues is None:
            self._residues = {}
            for number, (*_, own) in enumerate(self._arrays):
                self._index(number, own)
        own_modulus, begin, length = residues(array)
        for modulus, (found, longest) in self._residues.items():
            if modulus != own_modulus:
                yield from (number for _, number in found)
                continue
            seen: set[int] = set()
            for shift in (-modulus, 0, modulus):  # residues may wrap around
                low = bisect_left(found, (begin + shift - longest + 1, 0))
                high = bisect_left(found, (begin + shift + length, 0))
                seen.update(number for _, number in found[low:high])
            yield from seen


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
        self._arrays: list[Interleaved] = []  # one for each interval
        for start, end, _, name, array in found:
            if not intervals or start >= intervals[-1][1]:
                intervals.append((start, end))
                self._arrays.append(Interleaved())
            elif other := self._arrays[-1].sharing(array):
                raise FastoptError(f"{other} and {name} share memory; each needs separate memory")
            intervals[-1] = (intervals[-1][0], max(end, intervals[-1][1]))
            self._arrays[-1].add(start, end, name, array)
        self.starts = np.array([start for start, _ in intervals], dtype=np.uintp)
        self.ends = np.array([end for _, end in intervals], dtype=np.uintp)

    def require_apart(self, what: str, array: Array) -> None:
        """Raise an error if an array shares an element with one of these arrays."""
        start, end = byte_bounds(array)
        for i in range(int(np.searchsorted(self.ends, start, "right")), len(self._arrays)):
            if self.starts[i] >= end:
                break
            if name := self._arrays[i].sharing(array):
                raise FastoptError(f"{what} shares memory with {name}")
