"""Which arrays share memory."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
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
    Residues are computed when a second array needs them.
    """

    __slots__ = ("_arrays", "_residues")

    def __init__(self) -> None:
        # By modulus: (first residue, number of the array), sorted; and the largest length.
        self._residues: dict[int, tuple[list[tuple[int, int]], int]] | None = None
        self._arrays: list[tuple[int, int, str, Array]] = []  # start, end, name, array

    def __len__(self) -> int:
        return len(self._arrays)

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
    """The memory of arrays that share no element, as disjoint intervals of addresses.

    A new object is empty; `with_arrays` adds arrays.  Interleaved arrays share an interval.

    Attributes
    ----------
    starts, ends
        The first address of each interval, in ascending order, and the address after its last.
    """

    def __init__(self) -> None:
        self._names: list[str] = []
        self._arrays: list[Array] = []
        # For each array with elements: start, end and number, sorted by start.
        self._table: npt.NDArray[np.uintp] = np.empty((3, 0), dtype=np.uintp)
        # For each interval: start, end and the number of the array with the lowest address.
        self.starts, self.ends, self._firsts = self._table
        # By this number; an interval of one array is missing until a gradient overlaps it.
        self._intervals: dict[int, Interleaved] = {}

    def with_arrays(
        self, names: Sequence[str], arrays: Sequence[Array], bounds: npt.NDArray[np.uintp]
    ) -> Spans:
        """Return the memory of these arrays and others; this object is unchanged.

        Only arrays in the same interval as a new one are looked at.

        Parameters
        ----------
        names, arrays
            Names, for error messages, and arrays, which are not of a subclass.
        bounds
            The result of `fastopt._core.byte_bounds` for the arrays.

        Raises
        ------
        FastoptError
            A new array shares an element with any other array, or may share one.
        """
        result, n_old = Spans(), len(self._arrays)
        result._names, result._arrays = [*self._names, *names], [*self._arrays, *arrays]
        numbers = np.arange(n_old, len(result._arrays), dtype=np.uintp)
        new = np.vstack([bounds, numbers])[:, bounds[0] < bounds[1]]
        table = np.hstack([self._table, new])
        result._table = table[:, np.argsort(table[0], kind="stable")]  # fast if most are in order
        starts, ends, numbers = result._table
        reached = np.append(np.uintp(0), np.maximum.accumulate(ends)[:-1])
        first = np.flatnonzero(starts >= reached)
        result.starts, result.ends = starts[first], np.maximum.reduceat(ends, first)
        result._firsts = numbers[first]
        last = np.append(first[1:], starts.size)
        for i in np.flatnonzero(last - first > 1):
            members = numbers[first[i] : last[i]]
            interval = self._intervals.get(int(members[0]))
            if interval is None or len(interval) < len(members):
                interval = result._compared(members, n_old)
            result._intervals[int(members[0])] = interval
        return result

    def _compared(self, numbers: npt.NDArray[np.uintp], n_old: int) -> Interleaved:
        """Return the arrays of an interval, after comparing those from number n_old with all."""
        together = Interleaved()
        for number in np.sort(numbers).tolist():
            name, array = self._names[number], self._arrays[number]
            if number >= n_old and (other := together.sharing(array)):
                raise FastoptError(f"{other} and {name} share memory; each needs separate memory")
            together.add(*byte_bounds(array), name, array)
        return together

    def require_apart(self, what: str, array: Array) -> None:
        """Raise an error if an array shares an element with one of these arrays."""
        start, end = byte_bounds(array)
        for i in range(int(np.searchsorted(self.ends, start, "right")), len(self.starts)):
            if self.starts[i] >= end:
                break
            if name := self._interval(i).sharing(array):
                raise FastoptError(f"{what} shares memory with {name}")

    def _interval(self, i: int) -> Interleaved:
        first = self._firsts[i : i + 1]
        found = self._intervals.get(int(first[0]))
        if found is None:  # it has one array
            found = self._intervals[int(first[0])] = self._compared(first, len(self._arrays))
        return found
