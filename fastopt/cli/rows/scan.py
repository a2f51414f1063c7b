"""A pass over columns that finds the levels of text, and what replaces missing values."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fastopt._errors import FastoptError
from fastopt.cli.rows.encoding import missing_value
from fastopt.cli.rows.filled import Fill
from fastopt.cli.rows.opening import Input
from fastopt.cli.text import counted

_ROWS = 2**15  # that are read at a time
_MOST_LEVELS = 1000  # with more, texts are likely names or identifiers


@dataclass
class Found:
    """What a pass over a column has found."""

    n_missing: int = 0
    n: int = 0
    total: float = 0.0
    texts: Counter[str] = field(default_factory=Counter)

    @property
    def levels(self) -> tuple[str, ...]:
        """The texts, sorted."""
        return tuple(sorted(self.texts))


def scan(data: Input, columns: Sequence[str], impute: bool) -> dict[str, Found]:
    """Return what is in columns of numbers or text.

    Parameters
    ----------
    data : Input
    columns : sequence of str
    impute : bool
        False raises an error for the first missing value.

    Raises
    ------
    FastoptError
        A value is missing, or a column has too many different texts.
    """
    found = {name: Found() for name in columns}
    first = 0
    for table in data.reader.tables(columns, _ROWS) if columns else ():
        for name, own in found.items():
            is_text = data.kinds[name] == "text"
            values, missing = table.labels(name)
            if missing is not None:
                if not impute:
                    raise missing_value(name, data.place(first + int(np.argmax(missing))))
                own.n_missing += int(missing.sum())
                values = values[~missing]
            own.n += len(values)
            if not is_text:
                own.total += float(np.sum(values, dtype=np.float64))
                continue
            _count(own, values)
            if len(own.texts) > _MOST_LEVELS:
                raise FastoptError(
                    f"{data.name}: column {name!r} has more than {_MOST_LEVELS} different texts, "
                    f"such as {next(iter(own.texts))!r}; --drop leaves the column out"
                )
        first += len(table)
    return found


def _count(own: Found, values: np.ndarray[Any, Any]) -> None:
    if len(values):
        texts, counts = np.unique(values.astype(str), return_counts=True)
        own.texts.update(dict(zip(texts.tolist(), counts.tolist(), strict=True)))


def replacements(data: Input, found: dict[str, Found], notes: list[str]) -> dict[str, Fill]:
    """Return what replaces missing values: the mean, or the most frequent text, the first of them.

    All columns have a replacement, because other rows may be predicted later.
    """
    fills: dict[str, Fill] = {}
    for name, own in found.items():
        if not own.n:
            raise FastoptError(
                f"{data.name}: column {name!r} has no values, so that --impute cannot replace "
                "them; --drop leaves the column out"
            )
        if own.texts:
            fill: Fill = max(own.levels, key=own.texts.__getitem__)
            shown = f"the most frequent text {fill!r}"
        else:
            fill = own.total / own.n
            shown = f"the mean {fill:.6g}"
        fills[name] = fill
        if own.n_missing:
            values = counted(own.n_missing, "missing value")
            notes.append(f"{values} of column {name!r}: replaced by {shown}.")
    return fills
