"""The results of bench.peers: the times of a library in a case, and a table for the terminal."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from itertools import chain

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from bench.peers.cases import (
    FASTOPT,
    FASTOPT_COARSE,
    FASTOPT_PARTIAL,
    LIMIT,
    STOCHASTIC,
    TORCH_DOOR,
    TORCH_DOOR_PARAM,
    Case,
)

STYLES = {  # colours and markers; the colours are those of fastopt/cli/picture.py
    FASTOPT_COARSE: ("#008df9", "o"),
    FASTOPT_PARTIAL: ("#00c2f9", "o"),
    TORCH_DOOR: ("#008df9", "d"),
    TORCH_DOOR_PARAM: ("#00c2f9", "d"),
    "NumPy": ("#000000", "o"),
    "torch": ("#e20134", "^"),
    "torch foreach": ("#ff6e3a", "v"),
    "torch fused": ("#8400cd", "D"),
    "optax": ("#008df9", "s"),
    "DeepSpeed": ("#009f81", "P"),
    STOCHASTIC: ("#4b5d8f", "*"),
    "C loop": ("#7a7a7a", "x"),
    "SciPy's BLAS": ("#7a7a7a", "X"),
    "padasip": ("#c99700", "<"),
    "scikit-learn": ("#ff6e3a", "h"),
    "statsmodels": ("#ff5aaf", ">"),
    "glum": ("#009f81", "^"),
    "glum, errors": ("#009f81", "v"),
    "river": ("#c99700", "s"),
    "river Bayesian": ("#8400cd", "s"),
    LIMIT: ("#000000", "_"),
}


@dataclass(frozen=True)
class Row:
    """The times of a library and of the others in a case, or the reason why there are none."""

    case: Case
    library: str
    threads: int
    rounds: list[dict[str, float]]  # seconds by library, for all libraries of the case
    failure: str | None
    memory: float | None = None  # bytes that a call needs; for tables

    def over(self, other: str) -> float | None:
        """Return the median over rounds of the time divided by that of another library."""
        pairs = [(r[self.library], r[other]) for r in self.rounds if {self.library, other} <= {*r}]
        return statistics.median(a / b for a, b in pairs) if pairs and not self.failure else None

    def cells(self) -> list[str]:
        """Return time, quartiles, the ratios to fastopt and to the limit, and memory."""
        if self.failure:
            return [self.failure, "", "", "", ""]
        low, median, high = np.percentile([r[self.library] for r in self.rounds], (25, 50, 75))
        scale, unit = next(
            (s, u)
            for s, u in ((1e9, "ns"), (1e6, "us"), (1e3, "ms"))
            if s * median < 1e3 or s == 1e3
        )
        return [
            f"{scale * median:.3g} {unit}",
            f"[{scale * low:.3g}, {scale * high:.3g}]",
            *(f"{x:.2f}" if (x := self.over(name)) else "-" for name in (FASTOPT, LIMIT)),
            "-" if self.memory is None else f"{self.memory / 1e6:.0f} MB",
        ]


Line = tuple[Case, str, list[list[str]]]


def lines(rows: list[Row]) -> tuple[list[str], list[Line]]:
    """Return the heads of columns, and each case and library with its cells for each thread count.

    There is a column for memory if any row has it.
    """
    counts = list(dict.fromkeys(row.threads for row in rows))
    by_key = {(row.case, row.library, row.threads): row for row in rows}
    keys = dict.fromkeys((row.case, row.library) for row in rows)
    order = {case: i for i, case in enumerate(dict.fromkeys(row.case for row in rows))}
    rank = {name: i for i, name in enumerate([FASTOPT, *STYLES])}
    per_count = ["median", "quartiles", f"x {FASTOPT}", "x limit"]
    if any(row.memory is not None for row in rows):
        per_count.append("memory")
    found = []
    for case, library in sorted(keys, key=lambda key: (order[key[0]], rank[key[1]])):
        cells = [by_key[case, library, n].cells()[: len(per_count)] for n in counts]
        found.append((case, library, cells))
    heads = ["case", "library", *(f"{n}t {head}" for n in counts for head in per_count)]
    return heads, found


def print_table(rows: list[Row]) -> None:
    """Print the table on stdout."""
    heads, found = lines(rows)
    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=0)
    for i, head in enumerate(heads):
        table.add_column(
            head.replace(" ", "\n", 1), justify="left" if i < 2 else "right", no_wrap=True
        )
    last = None
    for case, library, cells in found:
        if last not in (None, case):
            table.add_section()
        table.add_row(case.name if case != last else "", library, *chain(*cells))
        last = case
    console = Console()
    if not console.is_terminal:
        console = Console(width=180)
    console.print(table)
    console.print("bench/peers/report.py says what is measured.", highlight=False)
