"""The results of bench.peers: a table for the terminal, bench/RESULTS.md and its picture."""

from __future__ import annotations

import datetime
import importlib.metadata
import os
import platform
import statistics
import textwrap
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import matplotlib.style
import numpy as np
from matplotlib.figure import Figure
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
from fastopt.cli.machine import cpu, instruction_set

REPORT, PICTURE = (Path(__file__).parents[1] / name for name in ("RESULTS.md", "results.png"))
PACKAGES = ("fastopt", "numpy", "scipy", "torch", "jax", "optax", "deepspeed", "padasip",
            "statsmodels", "scikit-learn", "glum", "river")  # fmt: skip
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
NOTES = f"""\
Medians of interleaved rounds, with quartiles in brackets. x {FASTOPT}: the median over rounds
of the time of a library divided by that of {FASTOPT} in the same round. x limit: the same,
divided by the time of a loop that moves the bytes of fastopt's step with trivial arithmetic;
for kSGD, by the time of its floating-point operations at the rate of a matrix product. There is
no limit below 1e5 elements and for sparse rows. Sparse rows have instead a plain C loop, with
one thread and distinct rows.

Each library has a separate process with as many CPUs as threads. NumPy's elementwise loops use
one thread, and so does a {FASTOPT} step of fewer than a million elements. Cases that name only a
rule and tensors: the step only. clip+step+zero: the norm of all gradients is limited, AdamW
steps, and the gradients are set to 0, which optax does not do. bfloat16: parameters and
gradients; the moments of torch, optax and "{TORCH_DOOR_PARAM}" (state_dtype="param") are
bfloat16, half as large as the float32 moments of {FASTOPT}, {TORCH_DOOR} and DeepSpeed; only
"{STOCHASTIC}" uses stochastic rounding. Sparse rows: a tenth occurs twice. kSGD: Gaussian
rows, one at a time except for partial_fit of {FASTOPT}.

{TORCH_DOOR}: the optimizers for PyTorch, which read the addresses of all tensors again in each
step. torch has no fused RMSprop, Adadelta, NAdam or Adamax.

Tables (logit, Poisson, gaussian): float64, the time of a fit with its default tolerance, and the
standard errors if the library has them; "glum" is without and "glum, errors" with them, and
scikit-learn has none. Its solver is "newton-cholesky", or LinearRegression for the gaussian;
statsmodels is GLM, or OLS. "{FASTOPT_COARSE}" ends when the next step is at most 0.01 standard
errors long. All coefficients are within 0.01 standard errors of those of {FASTOPT}, or the table
says "differs". Memory: the most that was resident during a fit, without the rows themselves.
SGD epoch: one epoch of SGD in the order of the rows, with coefficients that are equal to 1e-6;
scikit-learn is SGDClassifier. A dense fit by {FASTOPT} standardises the columns, which
"{FASTOPT_PARTIAL}" does not. Online: each row is a call; {FASTOPT} is KalmanClassifier or
KalmanRegressor, which know standard errors after every row, scikit-learn and river take an SGD
step without, and "river Bayesian" is BayesianLinearRegression.

The allocator keeps memory that was freed, so that temporaries are not on new pages. With the
default settings of many allocators they would be, which takes time: libraries without
temporaries would then look better than they do here."""


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
    """Print the table and the notes on stdout."""
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
    console.print(NOTES, highlight=False, markup=False)


def machine() -> list[str]:
    """Return facts about the machine that the figures depend on."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    pages = Path("/sys/kernel/mm/transparent_hugepage/enabled")
    huge = pages.read_text().partition("[")[2].partition("]")[0] if pages.exists() else "unknown"
    return [
        f"{cpu()}, {os.cpu_count()} CPUs, {memory:.0f} GiB, transparent huge pages: {huge}",
        f"{platform.system()} {platform.release()}, Python {platform.python_version()}, "
        f"instruction set {instruction_set()}",
    ]


def versions() -> str:
    found = []
    for name in PACKAGES:
        try:
            found.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            found.append(f"{name} not installed")
    return ", ".join(found)


def write(rows: list[Row], command: str, seconds: float) -> None:
    """Write bench/RESULTS.md and its picture."""
    draw(rows)
    names, found = lines(rows)
    table = [
        f"| {' | '.join(names)} |",
        f"|{'|'.join(['---', '---'] + ['---:'] * (len(names) - 2))}|",
    ]
    last = None
    for case, library, cells in found:
        first = f"**{case.name}**" if case != last else ""
        table.append(f"| {' | '.join([first, library, *chain(*cells)])} |")
        last = case
    now = datetime.datetime.now(datetime.UTC)
    facts = [f"{now:%Y-%m-%d %H:%M} UTC, in {seconds / 60:.0f} minutes", *machine(), versions()]
    text = [
        "# fastopt compared with other libraries",
        f"The output of `{command}`, not to be edited by hand.",
        "\n".join(textwrap.fill(f"- {fact}", 100, subsequent_indent="  ") for fact in facts),
        f"![Time of each library divided by that of fastopt, by case]({PICTURE.name})",
        NOTES,
        "\n".join(table),
    ]
    REPORT.write_text("\n\n".join(text) + "\n", encoding="utf-8")


def draw(rows: list[Row]) -> None:
    """Draw the time of each library divided by that of fastopt, by case."""
    counts = list(dict.fromkeys(row.threads for row in rows))
    cases = list(dict.fromkeys(row.case for row in rows))
    with matplotlib.style.context("default"):
        width = 3.0 + 3.4 * len(counts)
        figure = Figure(figsize=(width, 1.6 + 0.27 * len(cases)), dpi=120, layout="constrained")
        panels = figure.subplots(1, len(counts), sharex=True, sharey=True, squeeze=False)[0]
        for axes, n in zip(panels, counts, strict=True):
            for library, (colour, marker) in STYLES.items():
                found = [row for row in rows if row.threads == n and row.library == library]
                points = [(x, cases.index(row.case)) for row in found if (x := row.over(FASTOPT))]
                if points:
                    axes.scatter(*zip(*points, strict=True), c=colour, marker=marker, s=24,
                                 linewidths=1.2, label=library, zorder=3)  # fmt: skip
            axes.axvline(1.0, color="#888888", linewidth=1.0)
            axes.set_xscale("log")
            noun = "thread" if n == 1 else "threads"
            axes.set_xlabel(f"time divided by that of {FASTOPT}, {n} {noun}")
            axes.set_yticks(range(len(cases)), [case.name for case in cases])
            axes.grid(color="#dddddd", linewidth=0.6)
            axes.spines[["top", "right"]].set_visible(False)
        axes.set_ylim(len(cases) - 0.5, -0.5)
        handles = {
            label: handle
            for axes in figure.axes
            for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
        }
        figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=5,
                      frameon=False)  # fmt: skip
        figure.savefig(PICTURE, metadata={"Software": "bench.peers"})
