"""Batches: rows of data, a few at a time, in an order that a seed fixes."""

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
    """Rows of arrays in batches: one epoch an iteration, tuples of arrays, again and again.

    With r_e the order of epoch e = 0, 1, ... (a permutation that is a function of ``seed`` and e
    alone, or 0, 1, ... without ``shuffle``), batch k of b rows is row r_e[k*b], ...,
    r_e[k*b + b - 1] of each array. The last batch of an epoch may have fewer rows.

    Parameters
    ----------
    *arrays : numpy.ndarray
        Of any dtype and any layout, each with the same number of rows (its first axis), at least
        one. They are not copied: what is written into them later shows in the batches to come.
        Memory-mapped arrays are read as far as batches need them. Rows that are contiguous are
        gathered in parallel.
    batch_size : int, at least 1, optional
        Rows a batch. None, the default, is the full batch (gradient descent), 1 gives
        stochastic gradient descent, other numbers mini-batches. A number above that of the rows
        gives one batch of them all.
    shuffle : bool
        Whether each epoch has an order of its own. Default True. The full batch is never
        shuffled: every row is in it.
    seed : int, at least 0, optional
        By default drawn once, here, and kept: see ``state_dict()["seed"]``.
    drop_last : bool
        Whether rows that do not fill a batch are left out of their epoch. Default False.
    reuse_buffers : bool
        Whether a batch's arrays are overwritten by the next batch. By default each batch is an
        array of its own, to keep or to write into.

    Attributes
    ----------
    n_rows : int
        Rows of each array.
    epoch : int
        Epochs done. An epoch is done once its last batch has been handed out.
    position : int
        Batches of the epoch in progress that have been handed out.

    Raises
    ------
    FastoptError, TypeError
        Arrays without rows or of different lengths, no arrays, or an option outside its range.

    Notes
    -----
    The full batch, ``batch_size=None``, is the one exception to arrays of their own: it consists
    of read-only views, since a copy of all data would gain nothing. A ``batch_size`` at or above
    the number of rows shuffles and copies as any other.

    An iteration goes on with the epoch in progress: after a ``break`` the next one hands out the
    batches that remain, and so it does after `load_state_dict`, in another process too. Pickles
    and deep copies hold the position and a copy of the data, mapped arrays included.

    ``len(batches)`` is the number of batches in a whole epoch.

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
                    f"arrays[{i}] has {len(array)} rows; arrays[0] has {self.n_rows}, and each "
                    "needs as many"
                )
        self.batch_size = None if batch_size is None else Whole(1)("batch_size", batch_size)
        self.shuffle = flag("shuffle", shuffle)
        self._seed_drawn = seed is None
        self.seed = Whole(0)("seed", secrets.randbits(64) if seed is None else seed)
        self.drop_last = flag("drop_last", drop_last)
        self.reuse_buffers = flag("reuse_buffers", reuse_buffers)
        if len(self) == 0:
            raise FastoptError(
                f"batch_size is {batch_size}, which drop_last=True never fills with "
                f"{self.n_rows} rows; allowed: 1 to {self.n_rows}"
            )
        self.epoch = 0
        self.position = 0
        self._in_c = [
            array[:1].flags.c_contiguous and array.dtype.isnative and not array.dtype.hasobject
            for array in self.arrays
        ]
        self._buffers: tuple[Array, ...] | None = None

    def __len__(self) -> int:
        if self.batch_size is None:
            return 1
        whole, rest = divmod(self.n_rows, self.batch_size)
        return whole + (rest > 0 and not self.drop_last)

    def __iter__(self) -> Iterator[tuple[Array, ...]]:
        epoch = self.epoch
        order = self._order()
        threads = default_threads()
        n_batches = len(self)
        while self.epoch == epoch:
            batch = self._whole() if self.batch_size is None else self._gathered(order, threads)
            # Before the loop's body, so that a state saved there leaves this batch out; and without
            # a call, after which Ctrl-C is heard.
            if self.position == n_batches - 1:
                self.epoch, self.position = epoch + 1, 0
            else:
                self.position += 1
            yield batch

    def _order(self) -> npt.NDArray[np.int64] | None:
        """Return the epoch's order; None is that of the arrays."""
        if self.batch_size is None or not self.shuffle:
            return None
        return np.random.default_rng([self.seed, self.epoch]).permutation(self.n_rows)

    def _whole(self) -> tuple[Array, ...]:
        """Return all rows of each array, not to be written."""
        views = tuple(array.view() for array in self.arrays)
        for view in views:
            view.flags.writeable = False
        return views

    def _gathered(self, order: npt.NDArray[np.int64] | None, threads: int) -> tuple[Array, ...]:
        """Return copies of the rows of the batch at hand."""
        assert self.batch_size is not None
        start = self.position * self.batch_size
        stop = min(start + self.batch_size, self.n_rows)
        rows = np.arange(start, stop) if order is None else order[start:stop]
        batch = self._room(stop - start)
        for array, part, contiguous in zip(self.arrays, batch, self._in_c, strict=True):
            if contiguous:
                _core.gather(array, rows, part, threads)
            else:
                # The rows exist, so nothing is clipped; checking them would take another buffer.
                array.take(rows, axis=0, out=part, mode="clip")
        return batch

    def _room(self, n: int) -> tuple[Array, ...]:
        """Return arrays for n rows, not filled."""
        if self._buffers is not None:
            return tuple(buffer[:n] for buffer in self._buffers)
        room = tuple(np.empty((n, *array.shape[1:]), array.dtype) for array in self.arrays)
        if self.reuse_buffers and n == min(self.batch_size or n, self.n_rows):
            self._buffers = room
        return room

    def state_dict(self) -> dict[str, Any]:
        """Return what `load_state_dict` needs to go on from here, as plain numbers.

        In the body of a loop over the batches, the batch at hand counts as done.

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
        """Go on where `state_dict` was called: the next iteration has the batches that remained.

        A seed that was given must be the saved one; one that was drawn becomes the saved one.

        Parameters
        ----------
        state_dict : dict
            As `state_dict` gives it.

        Raises
        ------
        FastoptError, TypeError
            A damaged dict, or one with other rows, batches or seed. Nothing has changed then.

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
        """Return (self, name, value) of what has to be set to go on there, checked."""
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
        return [(self, "seed", seed), (self, "epoch", epoch), (self, "position", position)]

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
    """Return the array as a plain one; a mapped array stays mapped."""
    if not isinstance(array, np.ndarray):
        raise TypeError(f"{name} is a {type(array).__name__}; a numpy.ndarray is needed")
    refuse_masked(name, array)
    if array.ndim == 0 or len(array) == 0:
        raise FastoptError(f"{name} has shape {array.shape}; at least one row is needed")
    return np.asarray(array)
