"""What each rule reaches of the memory limit: a table, a picture, an object for JSON."""

from __future__ import annotations

import platform
import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib.style
import numpy as np
from matplotlib.figure import Figure
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

import fastopt
from fastopt.cli.machine import cpu, instruction_set

SIGNATURE = "fastopt bench"
_COLOURS = ("#4b5d8f", "#d9480f", "#009f81", "#8400cd", "#c99700", "#00c2f9")
_CUT = 1.5  # a share above is noise, and would leave no room for the others


@dataclass(frozen=True)
class Result:
    """A rule's step beside the loop that moves the same bytes."""

    rule: str
    threads: int
    n_bytes: int
    rounds: list[tuple[float, float]]  # seconds of the loop, and of the step after it

    @property
    def seconds(self) -> float:
        """The median time of a step."""
        return statistics.median(step for _, step in self.rounds)

    @property
    def limit_seconds(self) -> float:
        """The median time of the loop."""
        return statistics.median(loop for loop, _ in self.rounds)

    @property
    def shares(self) -> tuple[float, float, float]:
        """The quartiles of the loop's time over the step's."""
        low, median, high = np.percentile([loop / step for loop, step in self.rounds], (25, 50, 75))
        return float(low), float(median), float(high)

    @property
    def rate(self) -> float:
        """Gigabytes a second of a step."""
        return self.n_bytes / self.seconds / 1e9

    @property
    def limit_rate(self) -> float:
        """Gigabytes a second of the loop."""
        return self.n_bytes / self.limit_seconds / 1e9


def print_report(console: Console, results: list[Result], settings: dict[str, Any]) -> None:
    """Print it all, for people."""
    lines = [
        f"fastopt {fastopt.__version__}, {instruction_set()}; {cpu()}",
        f"one tensor of {settings['size']:,} elements, {settings['dtype']}",
    ]
    console.print("\n".join(lines), highlight=False, markup=False)
    for n in _counts(results):
        console.print(f"\nMemory limit, {_limit(results, n)}", highlight=False)
        console.print(_table([result for result in results if result.threads == n]))
    lines = [
        f"Medians of {settings['rounds']} rounds. GB/s counts the gradient read, the parameter and "
        "the states read and written; limit: a loop that moves the same bytes, in turn with the "
        "step; share: the loop's time over the step's, with its quartiles. A share above 1 is "
        "noise, or the loop's luck with the addresses of its arrays."
    ]
    if settings["size"] < fastopt._core.SERIAL_BELOW:
        lines.append(
            f"A step of fewer than {fastopt._core.SERIAL_BELOW:,} elements is one thread's "
            "(FASTOPT_SERIAL_BELOW); the loop takes all."
        )
    console.print("\n".join(lines), highlight=False, markup=False)


def _counts(results: list[Result]) -> list[int]:
    return list(dict.fromkeys(result.threads for result in results))


def _threads(n: int) -> str:
    return f"{n} thread{'s' if n > 1 else ''}"


def _limit(results: list[Result], threads: int) -> str:
    rates = [result.limit_rate for result in results if result.threads == threads]
    return f"{_threads(threads)}: {statistics.median(rates):.1f} GB/s"


def _table(results: list[Result]) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for head in ("rule", "ms", "GB/s", "limit", "share", "quartiles"):
        table.add_column(head, justify="left" if head == "rule" else "right", no_wrap=True)
    for result in results:
        low, share, high = result.shares
        table.add_row(
            result.rule,
            f"{1e3 * result.seconds:.3g}",
            f"{result.rate:.1f}",
            f"{result.limit_rate:.1f}",
            f"{share:.2f}",
            f"{low:.2f}-{high:.2f}",
        )
    return table


def draw(path: Path, results: list[Result], settings: dict[str, Any]) -> None:
    """Write the picture: a bar for each rule and number of threads, and the limit."""
    rules, counts = list(dict.fromkeys(result.rule for result in results)), _counts(results)
    height = 0.8 / len(counts)
    with matplotlib.style.context("default"):
        size = (9, 2.0 + 0.24 * len(rules) * max(2, len(counts)))
        figure = Figure(figsize=size, dpi=130, layout="constrained")
        axes = figure.subplots()
        for i, n in enumerate(counts):
            found = [result for result in results if result.threads == n]
            colour = _COLOURS[i % len(_COLOURS)]
            shares = np.array([result.shares for result in found])
            places = [rules.index(result.rule) + (i - (len(counts) - 1) / 2) * height
                      for result in found]  # fmt: skip
            axes.barh(
                places,
                shares[:, 1],
                height,
                xerr=(shares[:, 1] - shares[:, 0], shares[:, 2] - shares[:, 1]),
                error_kw={"elinewidth": 0.8, "ecolor": "#333333"},
                color=colour,
                label=f"{_limit(results, n)} is the limit",
            )
            for place, result in zip(places, found, strict=True):
                shown = f"{1e3 * result.seconds:.3g} ms, {result.rate:.1f} GB/s"
                axes.text(1.01, place, shown, va="center", fontsize=7, color=colour,
                          transform=axes.get_yaxis_transform())  # fmt: skip
        axes.axvline(1.0, color="#000000", linewidth=1.0)
        highest = 1.03 * max(result.shares[2] for result in results)
        axes.set_xlim(0.0, min(max(highest, 1.05), _CUT))
        axes.set_yticks(range(len(rules)), rules)
        axes.invert_yaxis()
        axes.set_xlabel("share of the memory limit: median and quartiles")
        axes.spines[["top", "right"]].set_visible(False)
        axes.set_title(
            f"{settings['size']:,} elements, {settings['dtype']}; {cpu()}, {instruction_set()}",
            fontsize="medium",
            parse_math=False,
        )
        figure.legend(loc="outside lower center", ncols=2, frameon=False)
        figure.savefig(path, metadata={"Software": SIGNATURE})


def summary(results: list[Result], settings: dict[str, Any], picture: str) -> dict[str, Any]:
    """Return it all, for programs."""
    return {
        "settings": settings,
        "results": [
            {
                "rule": result.rule,
                "threads": result.threads,
                "bytes": result.n_bytes,
                "seconds": result.seconds,
                "gigabytes_per_second": result.rate,
                "limit_seconds": result.limit_seconds,
                "limit_gigabytes_per_second": result.limit_rate,
                "share": result.shares[1],
                "share_quartiles": [result.shares[0], result.shares[2]],
                "rounds": [{"limit": loop, "step": step} for loop, step in result.rounds],
            }
            for result in results
        ],
        "picture": picture,
        "machine": {"cpu": cpu(), "system": f"{platform.system()} {platform.machine()}"},
        "versions": {
            "fastopt": fastopt.__version__,
            "python": platform.python_version(),
            "numpy": np.__version__,
            "instruction_set": fastopt._core.isa(),
        },
    }
