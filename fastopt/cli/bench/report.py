"""The printed result of `fastopt bench`: a table for each number of threads."""

from __future__ import annotations

from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console

import fastopt
from fastopt.cli.bench.result import MEANING, Result, memory_limit, thread_counts
from fastopt.cli.machine import cpu, instruction_set
from fastopt.cli.text import Column, counted, print_columns


def print_report(console: Console, results: list[Result], settings: dict[str, Any]) -> None:
    """Print the result."""
    lines = [
        f"fastopt {fastopt.__version__}, {instruction_set()}; {cpu()}",
        f"one tensor of {settings['size']:,} elements, {settings['dtype']}",
    ]
    console.print("\n".join(lines), highlight=False, markup=False)
    for n in thread_counts(results):
        console.print(f"\nMemory limit, {memory_limit(results, n)}", highlight=False)
        of_threads = [result for result in results if result.threads == n]
        columns = _columns(of_threads, settings["size"])
        print_columns(console, columns, n_keys=1, box=SIMPLE_HEAD, pad_edge=False)
    lines = [
        f"Medians of {counted(settings['rounds'], 'round')}. bytes, of an element, and GB/s count "
        "the gradient, which is read, and the parameter and states, which are read and written, "
        "and again what is read twice, for sums before the update. share: the time of the loop "
        f"divided by that of the step, with its quartiles. {MEANING}"
    ]
    if settings["size"] < 7 * fastopt._core.SERIAL_BELOW / 3:  # SGD's
        lines.append(
            f"A step that moves less memory than one of Adam of {fastopt._core.SERIAL_BELOW:,} "
            "elements uses one thread (FASTOPT_SERIAL_BELOW); the loop uses all."
        )
    console.print("\n".join(lines), highlight=False, markup=False)


def _columns(results: list[Result], size: int) -> list[Column]:
    shares = [result.shares for result in results]
    return [
        Column("rule", [result.rule for result in results], "left"),
        Column("bytes", [str(result.n_bytes // size) for result in results]),
        Column("ms", [f"{1e3 * result.seconds:.3g}" for result in results]),
        Column("GB/s", [f"{result.rate:.1f}" for result in results]),
        Column("limit", [f"{result.limit_rate:.1f}" for result in results]),
        Column("share", [f"{share:.2f}" for _, share, _ in shares]),
        Column("quartiles", [f"{low:.2f}-{high:.2f}" for low, _, high in shares]),
    ]
