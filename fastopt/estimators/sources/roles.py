"""The observation, weight, offset and cluster of each row, from columns or arrays."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from fastopt._errors import FastoptError
from fastopt.arrays.accepted import refuse_masked
from fastopt.estimators.sources.block import Array, Block, Floats
from fastopt.estimators.sources.tables import Table

__all__ = ["NAMES", "Codes", "Roles", "Target", "plain_numbers"]

NAMES = ("y", "sample_weight", "offset", "exposure", "freq_weight", "groups")  # as in `fit`

# Converts observations to numbers; the second argument has the numbers of the rows.
Target = Callable[[Array, Sequence[int]], Floats]


def _is_expression(value: object) -> bool:
    return hasattr(value, "response_columns")


def plain_numbers(values: Array, rows: Sequence[int]) -> Floats:
    """Return observations as float64.

    Parameters
    ----------
    values : array of shape (n,)
    rows : sequence of int, of length n
        The numbers of the rows, for messages.

    Returns
    -------
    array of shape (n,)

    Raises
    ------
    FastoptError
        A value is no finite number.
    """
    return finite("y", values, rows)


def finite(
    name: str, values: Array, rows: Sequence[int], low: float = -np.inf, positive: bool = False
) -> Floats:
    """Return finite numbers of at least `low` as float64, or raise an error that names a row."""
    if values.dtype.kind not in "fiub":
        try:
            values = np.asarray(values, np.float64)
        except (TypeError, ValueError):
            raise TypeError(
                f"{name} has dtype {values.dtype} (row {rows[0]} is {values[0]!r}); "
                "real numbers are needed"
            ) from None
    numbers = np.asarray(values, np.float64)
    allowed = np.isfinite(numbers) & ((numbers > 0) if positive else (numbers >= low))
    if not allowed.all():
        bad = int(np.argmin(allowed))
        bound = " > 0" if positive else "" if low == -np.inf else f" >= {low:g}"
        raise FastoptError(
            f"{name} is {numbers[bad]} in row {rows[bad]}, counted from 0; finite numbers{bound} "
            "are needed"
        )
    return numbers


class Codes:
    """Integers for the values of a column: 0, 1, ... in the order of their first rows."""

    def __init__(self) -> None:
        self._codes: dict[Any, int] = {}

    def __call__(self, values: Array) -> Array:
        """Return the integer of each value.

        Parameters
        ----------
        values : array of shape (n,)

        Returns
        -------
        array of shape (n,)
        """
        distinct, inverse = np.unique(values, return_inverse=True)
        codes = [self._codes.setdefault(value, len(self._codes)) for value in distinct.tolist()]
        return np.asarray(codes, np.int64)[inverse]


class Expression(Protocol):
    """A response that is computed from columns, such as ``log(y)`` in a formula."""

    response_columns: Sequence[str]

    def observations(self, table: Table, first: int) -> Array:
        """Return the response of some rows; `first` is the index of the first."""


@dataclass(frozen=True)
class Roles:
    """Which column or array each argument of `fit` other than X is.

    Parameters
    ----------
    given : mapping
        From "y", "sample_weight", "offset", "exposure", "freq_weight" or "groups" to the name of a
        column, an array with a number for each row, or None.  "y" may be an `Expression`.
    link : str
        The link of the model; an exposure needs "log".
    target : callable
        Converts observations to numbers.
    codes : callable
        Converts groups to numbers, by default as `Codes`.
    origin : int
        The index of the row to which the first element of each array belongs.
    """

    given: Mapping[str, Any]
    link: str = "log"
    target: Target = plain_numbers
    codes: Callable[[Array], Array] = field(default_factory=Codes)
    origin: int = 0

    def __post_init__(self) -> None:
        kept = {}
        for name, value in self.given.items():
            if value is None:
                continue
            if not isinstance(value, str) and not _is_expression(value):
                refuse_masked(name, value)
                value = np.asarray(value)
                if value.ndim == 2 and value.shape[1] == 1:
                    value = value[:, 0]
                if value.ndim != 1:
                    counts = "; for successes and failures, y is successes / trials and "
                    hint = counts + "sample_weight is trials" if name == "y" else ""
                    raise FastoptError(
                        f"{name} has shape {value.shape}; the name of a column, or an array with "
                        f"a number for each row, is needed{hint}"
                    )
            kept[name] = value
        if "exposure" in kept and self.link != "log":
            raise FastoptError(f"exposure needs the log link; the link is {self.link!r}")
        object.__setattr__(self, "given", kept)

    @property
    def columns(self) -> dict[str, str]:
        """The names of columns, by argument."""
        return {name: value for name, value in self.given.items() if isinstance(value, str)}

    @property
    def read(self) -> list[str]:
        """The names of all columns that are read."""
        y: Any = self.given.get("y")
        others = list(y.response_columns) if _is_expression(y) else []
        return [*self.columns.values(), *others]

    def require(self, names: Sequence[str] | None, n_rows: int | None) -> None:
        """Raise an error that names an argument without a column or of another length.

        Parameters
        ----------
        names : sequence of str or None
            The columns of X; None if they have no names.
        n_rows : int or None
            The number of rows of X, if it is known.

        Raises
        ------
        FastoptError
        """
        for argument, value in self.given.items():
            if isinstance(value, str):
                if names is None:
                    raise FastoptError(
                        f"{argument} is {value!r}, the name of a column, but the columns of X "
                        "have no names; an array with a number for each row is needed"
                    )
                if value not in names:
                    shown = ", ".join(map(repr, names[:20])) + (", ..." if names[20:] else "")
                    raise FastoptError(f"{argument} is {value!r}; X has the columns {shown}")
            elif isinstance(value, np.ndarray) and n_rows is not None and len(value) != n_rows:
                raise FastoptError(
                    f"{argument} has {len(value)} rows and X has {n_rows}; they need the same"
                )

    def observations(self, first: int, n: int, table: Table | None = None) -> Array:
        """Return y of some rows as it was given: numbers, or labels of classes.

        Parameters
        ----------
        first : int
            The index of the first row.
        n : int
            The number of rows.
        table : Table, optional
            The rows, if X has named columns.

        Returns
        -------
        array of shape (n,)
        """
        return self._values("y", first, n, table)

    def used_observations(self, first: int, n: int, table: Table | None = None) -> Array:
        """Return y of those rows that have a positive weight.

        Parameters
        ----------
        first, n, table
            As for `observations`.

        Returns
        -------
        array of shape (at most n,)
        """
        used = self._used(first, n, table)
        y = self.observations(first, n, table)
        return y if used is None else y[used]

    def _used(self, first: int, n: int, table: Table | None) -> Array | None:
        """Return which rows have a positive weight; None for all."""
        used = np.ones(n, dtype=bool)
        for argument in ("sample_weight", "freq_weight"):
            weight = self._numbers(argument, first, n, table, 0.0)
            if weight is not None:
                used &= weight > 0
        return None if used.all() else used

    def _numbers(
        self,
        argument: str,
        first: int,
        n: int,
        table: Table | None,
        low: float,
        positive: bool = False,
    ) -> Floats | None:
        if argument not in self.given:
            return None
        value = self.given[argument]
        shown = f"column {value!r} ({argument})" if isinstance(value, str) else argument
        values = self._values(argument, first, n, table)
        return finite(shown, values, range(first, first + n), low, positive)

    def _values(self, argument: str, first: int, n: int, table: Table | None) -> Array:
        value = self.given[argument]
        if isinstance(value, np.ndarray):
            return np.asarray(value[first - self.origin : first - self.origin + n])
        assert table is not None
        if not isinstance(value, str):
            return np.asarray(value.observations(table, first))
        values, missing = table.labels(value)
        if missing is not None:
            raise FastoptError(
                f"column {value!r} ({argument}) is missing in row "
                f"{first + int(np.argmax(missing))}, counted from 0; every row needs a value"
            )
        return values

    def block(self, x: Any, first: int, table: Table | None = None) -> Block:
        """Return a block of those rows that have a positive weight.

        Parameters
        ----------
        x : array or CSR matrix of shape (n, p)
        first : int
            The index of the first row.
        table : Table, optional
            The rows, if X has named columns.

        Returns
        -------
        Block

        Raises
        ------
        FastoptError
            A value is missing or outside its range.
        """
        n = x.shape[0]
        rows: Sequence[int] = range(first, first + n)
        offset = self._numbers("offset", first, n, table, -np.inf)
        exposure = self._numbers("exposure", first, n, table, 0.0, positive=True)
        if exposure is not None:
            offset = np.log(exposure) + (0.0 if offset is None else offset)
        groups = None
        if "groups" in self.given:
            groups = self.codes(self._values("groups", first, n, table))
        block = Block(
            x,
            np.zeros(n),
            self._numbers("sample_weight", first, n, table, 0.0),
            offset,
            self._numbers("freq_weight", first, n, table, 0.0),
            groups,
        )
        used = self._used(first, n, table)
        if used is not None:
            block, rows = block.part(used), np.flatnonzero(used) + first  # type: ignore[assignment]
        if "y" not in self.given:
            return block
        y = self.observations(first, n, table)
        return block.with_y(self.target(y if used is None else y[used], rows))
