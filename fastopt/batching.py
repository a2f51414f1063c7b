"""Batches: mini-batches of the rows of arrays, in an order that a seed determines."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

import fastopt._core as _core
from fastopt._checks import Whole, default_threads, flag
from fastopt._errors import FastoptError
from fastopt.arrays.accepted import refuse_masked
from fastopt.arrays.dtypes import Array

__all__ = ["Batches"]


class Batches:
    """Iterate over the rows of arrays in batches; each iteration is an epoch.

    A batch is a tuple with one array for each of ``*arrays``.

    Let r_e be the order of epoch e = 0, 1, ...: a permutation that depends on ``seed`` and e only,
    or 0, 1, ... without ``shuffle``. Batch k of b rows has the rows r_e[k*b], ..., r_e[k*b + b - 1]
    of each array. The last batch of an epoch may have fewer rows.

    Parameters
    ----------
    *arrays : numpy.ndarray
        At least one array, of any dtype and layout. Each has the same number of rows (its first
        axis), at least one. They are not copied: later changes of their values appear in later
        batches. Memory-mapped arrays are read one batch at a time. Contiguous rows are copied in
        parallel.
    batch_size : int, at least 1, optional
        The number of rows in a batch. None, the default, is the full batch (gradient descent), 1
        gives stochastic gradient descent, other numbers mini-batches. A number larger than the
        number of rows gives one batch of all rows.
    shuffle : bool
        Whether the rows are in a different random order in each epoch. Default True. The full batch
        is never shuffled.
    seed : int, at least 0, optional
        By default, a random seed is drawn at construction: see ``state_dict()["seed"]``.
    drop_last : bool
        Whether the last batch of an epoch is left out if it has fewer rows. Default False.
    reuse_buffers : bool
        Whether a batch's arrays are overwritten by the next batch. By default each batch has new
        arrays, which may be kept and written to.

    Attributes
    ----------
    n_rows : int
        The number of rows of each array.
    epoch : int
        The number of complete epochs. An epoch is complete once its last batch has been returned.
    position : int
        The number of batches of the current epoch that have been returned.

    Raises
    ------
    FastoptError, TypeError
        Arrays without rows or of different lengths, no arrays, or an option outside its range.

    Notes
    -----
    The full batch, ``batch_size=None``, consists of read-only views, not of copies. In contrast, a
    ``batch_size`` equal to the number of rows or larger gives a shuffled copy.

    Iteration resumes the current epoch: after a ``break`` or `load_state_dict`, also in another
    process, the next iteration returns the remaining batches. Pickles and deep copies contain the
    position and a copy of the data, including that of memory-mapped arrays.

    ``len(batches)`` is the number of batches of an epoch.

    References
    ----------
    The order is ``numpy.random.default_rng([seed, e]).permutation(n_rows)``.

    Examples
    --------
    >>> import numpy as np
    >>> from fastopt import Batches
    >>> X, y = np.arange(10.0).reshape(5, 2), np.arange(5)
    >>> batches = Batches(X, y, batch_size=2, seed=0)
    >>> for epoch in range(2):
    ...     print([y_batch.tolist() for X_batch, y_batch in batches])
    [[2, 4], [3, 0], [1]]
    [[1, 4], [3, 0], [2]]
    """

    def __init__(
        self,
        *arrays: Array,
        batch_size: int | None = None,
        shuffle: bool = True,
        seed: int | None = None,
        drop_last: bool = False,
        reuse_buffers: bool = False,
    ) -> None:
        if not arrays:
            raise FastoptError("arrays is (); at least one array is needed")
        self.arrays = tuple(_with_rows(f"arrays[{i}]", array) for i, array in enumerate(arrays))
        self.n_rows = len(self.arrays[0])
        for i, array in enumerate(self.arrays):
            if len(array) != self.n_rows:
                raise FastoptError(
                    f"arrays[{i}] has {len(array)} rows; arrays[0] has {self.n_rows}, and all "
                    "must have the same number"
                )
        self.batch_size = None if batch_size is None else Whole(1)("batch_size", batch_size)
        self.shuffle = flag("shuffle", shuffle)
        self._seed_drawn = seed is None
        self.seed = Whole(0)("seed", secrets.randbits(64) if seed is None else seed)
        self.drop_last = flag("drop_last", drop_last)
        self.reuse_buffers = flag("reuse_buffers", reuse_buffers)
        if len(self) == 0:
            raise FastoptError(
                f"batch_size is {batch_size}, with drop_last=True and {self.n_rows} rows, "
                f"so that no batch is full; allowed: 1 to {self.n_rows}"
            )
        self.epoch = 0
        self.position = 0
        self._loads = 0  # number of states loaded
        self._shapes = [array.shape for array in self.arrays]
        self._in_c = [
            array[:1].flags.c_contiguous and array.dtype.isnative and not array.dtype.hasobject
            for array in self.arrays
        ]
        self._buffers: tuple[Array, ...] | None = None

    def __len__(self) -> int:
        if self.batch_size is None:
            return 1
        full, rest = divmod(self.n_rows, self.batch_size)
        return full + (rest > 0 and not self.drop_last)

    def __iter__(self) -> Iterator[tuple[Array, ...]]:
        epoch = self.epoch
        order = self._order()
        threads = default_threads()
        n_batches = len(self)
        loads = self._loads
        while True:
            if self._loads != loads:
                raise FastoptError("a state was loaded during this iteration; begin another one")
            if self.epoch != epoch:
                return
            batch = (
                self._full_batch() if self.batch_size is None else self._gathered(order, threads)
            )
            # The position changes before the batch is yielded, so that a state saved in the loop's
            # body counts this batch as done.  There is no function call between here and the yield,
            # because KeyboardInterrupt may be raised after a call.
            if self.position == n_batches - 1:
                self.epoch, self.position = epoch + 1, 0
            else:
                self.position += 1
            yield batch

    def _order(self) -> npt.NDArray[np.int64] | None:
        """Return the order of the current epoch, or None for the order of the arrays."""
        if self.batch_size is None or not self.shuffle:
            return None
        order = np.random.default_rng([self.seed, self.epoch]).permutation(self.n_rows)
        return order.astype(np.int64, copy=False)  # NumPy's default integer may have 32 bits

    def _full_batch(self) -> tuple[Array, ...]:
        """Return read-only views of the arrays."""
        self._require_unchanged()
        views = tuple(array.view() for array in self.arrays)
        for view in views:
            view.flags.writeable = False
        return views

    def _gathered(self, order: npt.NDArray[np.int64] | None, threads: int) -> tuple[Array, ...]:
        """Return copies of the rows of the next batch."""
        assert self.batch_size is not None
        self._require_unchanged()
        start = self.position * self.batch_size
        stop = min(start + self.batch_size, self.n_rows)
        rows = np.arange(start, stop, dtype=np.int64) if order is None else order[start:stop]
        batch = self._empty(stop - start)
        for array, part, contiguous in zip(self.arrays, batch, self._in_c, strict=True):
            if contiguous:
                _core.gather(array, rows, part, threads)
            else:
                # The shape was checked, so indices are valid; mode="raise" would buffer the output.
                array.take(rows, axis=0, out=part, mode="clip")
        return batch

    def _require_unchanged(self) -> None:
        """Raise an error if the caller resized an array in place."""
        for i, (array, shape) in enumerate(zip(self.arrays, self._shapes, strict=True)):
            if array.shape != shape:
                raise FastoptError(
                    f"arrays[{i}] has shape {array.shape}; it had {shape} when the batches were "
                    "made, and must keep it"
                )

    def _empty(self, n: int) -> tuple[Array, ...]:
        """Return uninitialised arrays of n rows."""
        if self._buffers is not None:
            return tuple(buffer[:n] for buffer in self._buffers)
        arrays = tuple(np.empty((n, *array.shape[1:]), array.dtype) for array in self.arrays)
        if self.reuse_buffers and n == min(self.batch_size or n, self.n_rows):
            self._buffers = arrays
        return arrays

    def state_dict(self) -> dict[str, Any]:
        """Return the position in the epoch as plain numbers, for `load_state_dict`.

        In the body of a loop over the batches, the current batch counts as done.

        Returns
        -------
        dict
            seed, epoch, position, n_rows, batch_size, shuffle and drop_last.
        """
        return {
            "seed": self.seed,
            "epoch": self.epoch,
            "position": self.position,
            "n_rows": self.n_rows,
            "batch_size": self.batch_size,
            "shuffle": self.shuffle,
            "drop_last": self.drop_last,
        }

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Resume from a saved position: the next iteration returns the remaining batches.

        A seed given to the constructor must equal the saved one; a drawn seed is replaced.
        An iteration that is in progress raises an error at its next batch.

        Parameters
        ----------
        state_dict : dict
            As returned by `state_dict`.

        Raises
        ------
        FastoptError, TypeError
            The dict is damaged, or was saved with another number of rows, other options or another
            seed. Nothing is changed then.

        Examples
        --------
        >>> import numpy as np
        >>> from fastopt import Batches
        >>> batches = Batches(np.arange(6), batch_size=2)
        >>> epoch = iter(batches)
        >>> _ = next(epoch)
        >>> resumed = Batches(np.arange(6), batch_size=2)
        >>> resumed.load_state_dict(batches.state_dict())
        >>> [rows.tolist() for (rows,) in resumed] == [rows.tolist() for (rows,) in epoch]
        True
        """
        _core.assign_all([], self.attributes_at(state_dict))

    def attributes_at(self, state_dict: object) -> list[tuple[object, str, Any]]:
        """Return (self, name, value) of each attribute that loading must set; all are checked."""
        own = self.state_dict()
        if not isinstance(state_dict, Mapping) or state_dict.keys() != own.keys():
            raise FastoptError(f"the state dict is {state_dict!r}; keys needed: {list(own)}")
        free = {"epoch", "position"} | ({"seed"} if self._seed_drawn else set())
        for name, value in own.items():
            if name not in free and state_dict[name] != value:
                raise FastoptError(
                    f"the state dict has {name} {state_dict[name]!r}; here it is {value!r}"
                )
        seed, epoch, position = (
            Whole(0)(f"the state dict's {name}", state_dict[name])
            for name in ("seed", "epoch", "position")
        )
        if position >= len(self):
            raise FastoptError(
                f"the state dict's position is {position}; allowed: 0 to {len(self) - 1}"
            )
        return [
            (self, "seed", seed),
            (self, "epoch", epoch),
            (self, "position", position),
            (self, "_loads", self._loads + 1),
        ]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_buffers": None}

    def __repr__(self) -> str:
        rows = ", ".join(f"{array.shape[1:]} {array.dtype}" for array in self.arrays)
        options = ("batch_size", "shuffle", "seed", "drop_last", "reuse_buffers")
        shown = ", ".join(f"{name}={getattr(self, name)!r}" for name in options)
        return (
            f"Batches: {self.n_rows:,} rows of {rows}; {self.epoch:,} epochs and "
            f"{self.position:,} of {len(self):,} batches done\n  {shown}"
        )


def _with_rows(name: str, array: object) -> Array:
    """Return the array as an instance of ndarray itself; a memory-mapped array is not read."""
    if not isinstance(array, np.ndarray):
        raise TypeError(f"{name} is a {type(array).__name__}; a numpy.ndarray is needed")
    refuse_masked(name, array)
    if array.ndim == 0 or len(array) == 0:
        raise FastoptError(f"{name} has shape {array.shape}; at least one row is needed")
    return np.asarray(array)
