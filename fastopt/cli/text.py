"""Human-readable text: counted nouns, times, and tables that fit the terminal."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table


def counted(n: int, noun: str, plural: str = "") -> str:
    """Return the number with its noun: "1 row", "1,000 rows"."""
    return f"{n:,} {noun if n == 1 else plural or noun + 's'}"


def notice(text: str) -> None:
    """Print a message about the preparation to stderr, if stderr is a terminal."""
    if sys.stderr.isatty():
        print(text, file=sys.stderr)


def milliseconds(quartiles: tuple[float, float, float]) -> str:
    """Return the median of times in seconds, in milliseconds, with the quartiles in brackets.

    Times of a second or more are in seconds, with the unit: "12.3 s (11.2-13.5)".
    """
    scale, unit = (1e3, "") if quartiles[-1] < 1.0 else (1.0, " s")
    low, median, high = (_three_digits(scale * seconds) for seconds in quartiles)
    return f"{median}{unit} ({low}-{high})"


def _three_digits(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


@dataclass(frozen=True)
class Column:
    """A column of a printed table."""

    head: str
    cells: list[str]
    justify: Literal["left", "right"] = "right"


def print_columns(
    console: Console,
    columns: Sequence[Column],
    n_keys: int,
    bold_first: bool = False,
    **style: Any,
) -> None:
    """Print a table; columns that do not fit the width follow in further tables below.

    Each table begins with the first `n_keys` columns. `style` are arguments of rich's Table.
    """
    keys, rest = list(columns[:n_keys]), list(columns[n_keys:])
    unlimited = console.options.update(max_width=10_000)
    while rest:
        count = len(rest)
        table = _table(keys + rest, bold_first, style)
        while count > 1 and console.measure(table, options=unlimited).maximum > console.width:
            count -= 1
            table = _table(keys + rest[:count], bold_first, style)
        console.print(table)
        rest = rest[count:]


def _table(columns: list[Column], bold_first: bool, style: dict[str, Any]) -> Table:
    from rich.table import Table

    table = Table(**style)
    for column in columns:
        table.add_column(column.head, justify=column.justify, no_wrap=True)
    for i, cells in enumerate(zip(*(column.cells for column in columns), strict=True)):
        table.add_row(*cells, style="bold" if bold_first and i == 0 else "")
    return table
