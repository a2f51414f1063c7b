"""The arguments of `fastopt bench`, and the order in which the command does its work."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastopt import _core
from fastopt._checks import default_threads
from fastopt._errors import FastoptError
from fastopt.cli.arguments import chosen, whole, wholes
from fastopt.cli.bench.steps import (
    DEFAULT_RULES,
    DTYPES,
    RULES,
    bound,
    fastest,
    limits,
    moved,
    scale,
    together,
)

if TYPE_CHECKING:
    from fastopt.cli.bench.result import Result

_DESCRIPTION = """\
Measure the memory limit of this machine and the share of it that each update
rule reaches: a table on stdout, and a picture, bench.png.

The limit is the time of the fastest of six C loops that move the same bytes as
the step of the rule: they read as much as the gradient, and read and write as
much as the parameter and the states, with one addition per element. They differ
in the order of loads and stores and in the alignment of the arrays. Loops and
step run alternately, round by round. The share is the median over rounds of the
loop's time divided by the step's.

Some rules need sums before the update, for which they read arrays twice; their
limit is the time of the loop multiplied by the ratio of the bytes. Rules for
which no such loop is a fair limit are left out: Muon computes products of
matrices, and Adafactor and SM3 need passes over rows and columns.
"""
_EXAMPLES = """\
examples:
  fastopt bench
  fastopt bench --rules all
  fastopt bench --rules adam,adamw --size 5e7 --threads 1,2,4
  fastopt bench --dtype bfloat16 --json
"""
_MOST_ARRAYS = 13  # gradient; parameter, four states and zeros, and aligned copies of these


def add_parser(commands: argparse._SubParsersAction[Any]) -> None:
    """Add the parser of the command."""
    parser = commands.add_parser(
        "bench",
        help="measure the memory limit and the share of it that each rule reaches",
        description=_DESCRIPTION,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(run=run)
    add = parser.add_argument
    add("--rules", metavar="A,B,...", help="the rules to measure, or all; default: some")
    add("--size", type=whole(1), default=10**7, metavar="N", help="elements of the tensor (1e7)")
    add("--threads", type=wholes(1), metavar="N,M,...", help="default: 1, and that of steps")
    add("--dtype", choices=DTYPES, default="float32", help="of parameter and gradient (float32)")
    add("--rounds", type=whole(1), default=11, metavar="N", help="rounds of loop and step (11)")
    add("--out", type=Path, default=Path(), metavar="DIR", help="folder of the picture (.)")
    add("--json", action="store_true", help="print one JSON object instead of the table")


def run(args: argparse.Namespace) -> int:
    """Measure the rules and show the result.

    The modules that need the extra `race` are imported first, so that a missing one is reported
    before the measurement.
    """
    from rich.console import Console
    from rich.progress import Progress

    from fastopt.cli.bench.picture import NAME, SIGNATURE
    from fastopt.cli.bench.result import Result
    from fastopt.cli.machine import cpus
    from fastopt.cli.picture import claim

    rules = DEFAULT_RULES if args.rules is None else chosen(args.rules, RULES)
    threads = args.threads or tuple(
        sorted({1, min(default_threads() or _core.max_threads(), cpus())})
    )
    if max(threads) > cpus():
        raise FastoptError(
            f"--threads has {max(threads)}; allowed: at most {cpus()}, the CPUs that are "
            "available to this process, since threads that share a CPU compare nothing"
        )
    path = claim(args.out, NAME, SIGNATURE)
    settings = {"size": args.size, "dtype": args.dtype, "rounds": args.rounds}
    planned = [(rule, count) for count in threads for rule in rules]
    results: list[Result] = []
    progress = Progress(
        console=Console(stderr=True),
        auto_refresh=False,  # a thread that redraws would compete with the steps for the CPU
        disable=not sys.stderr.isatty(),
        transient=True,
    )
    interrupted = False
    try:
        with progress:
            task = progress.add_task("", total=len(planned))
            for rule, count, n_bytes, rounds in _measured(planned, settings):
                results.append(Result(rule, count, n_bytes, rounds))
                progress.update(task, advance=1, description=rule, refresh=True)
    except KeyboardInterrupt:
        interrupted = True
        missing = ", ".join(f"{rule} x {count}" for rule, count in planned[len(results) :])
        print(f"Interrupted; not measured (rule x threads): {missing}", file=sys.stderr)
    if results:
        _show(args, path, results, settings, interrupted)
    return 130 if interrupted else 0


def _show(
    args: argparse.Namespace,
    path: Path,
    results: list[Result],
    settings: dict[str, Any],
    interrupted: bool,
) -> None:
    """Print the results as a table or as JSON, and draw them."""
    from rich.console import Console

    from fastopt.cli.bench.picture import draw
    from fastopt.cli.bench.report import print_report
    from fastopt.cli.bench.summary import summary

    # Printed before the picture is written, which may fail.
    if args.json:
        print(json.dumps(summary(results, settings, interrupted, str(path))))
    else:
        print_report(Console(), results, settings)
    draw(path, results, settings)
    if not args.json:
        print(f"Picture: {path}")


def _measured(
    planned: list[tuple[str, int]], settings: dict[str, Any]
) -> Iterator[tuple[str, int, int, list[tuple[float, float]]]]:
    """Yield rule, threads, bytes per step, and the seconds of the best loop and of the step."""
    size = settings["size"]
    times = max(1, 2_000_000 // size)  # calls per round: enough to be timed
    try:
        for rule, count in planned:
            opt, arrays = bound(rule, size, count, settings["dtype"])
            times_of = together((*limits(arrays, count), opt.step), settings["rounds"], times)
            best = fastest([found[:-1] for found in times_of])
            longer = scale(rule, arrays)
            rounds = [(longer * found[best], found[-1]) for found in times_of]
            yield rule, count, moved(rule, arrays), rounds
    except (MemoryError, ValueError) as error:
        if isinstance(error, FastoptError):
            raise
        raise FastoptError(
            f"--size is {size:,}; {_MOST_ARRAYS} arrays of as many {settings['dtype']} elements "
            "do not fit into memory"
        ) from None
