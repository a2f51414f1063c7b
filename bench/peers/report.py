"""bench/RESULTS.md and its picture, from the times of bench.peers.

Every sentence with a figure, the list of cells in which another library is faster included, is
computed from the rows.  docs/benchmarks.md includes the file.
"""

from __future__ import annotations

import datetime
import importlib.metadata
import os
import platform
import statistics
import textwrap
from collections.abc import Iterable, Sequence
from itertools import chain
from pathlib import Path

import matplotlib.style
from matplotlib.figure import Figure

import fastopt
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
from bench.peers.results import STYLES, Row, lines
from fastopt.cli.machine import cpu, instruction_set
from fastopt.cli.text import counted

REPORT, PICTURE = (Path(__file__).parents[1] / name for name in ("RESULTS.md", "results.png"))
PACKAGES = ("numpy", "scipy", "torch", "jax", "optax", "deepspeed", "padasip",
            "statsmodels", "scikit-learn", "glum", "river")  # fmt: skip
OURS = {FASTOPT, FASTOPT_COARSE, FASTOPT_PARTIAL, STOCHASTIC, TORCH_DOOR, TORCH_DOOR_PARAM}
BOUNDS = {LIMIT, "C loop"}  # they do less than a step
TORCH = {"torch", "torch foreach", "torch fused"}
# The libraries that each of ours is compared with where it may be slower; None stands for all.
# Those of TORCH_DOOR update PyTorch's tensors, and torch's state is as small as TORCH_DOOR_PARAM's.
COMPARED = {FASTOPT: None, TORCH_DOOR: TORCH | {"DeepSpeed"}, TORCH_DOOR_PARAM: TORCH}

SUMMARY = f"""\
Time of a step, or of a fit, of {FASTOPT} and of other libraries, on the CPU. Each library has a
separate process with as many CPUs as threads, and is called as its documentation says: NumPy with
`out=`; torch in its three variants; optax jitted, with donated buffers; CPUAdam of DeepSpeed.
Rounds are interleaved. Before the clock starts, the parameters of all libraries are compared."""

RATIOS = f"""\
In the tables, the column {FASTOPT} has the median time. The other columns have the median over
rounds of the time of a library divided by that of {FASTOPT} in the same round: above 1, {FASTOPT}
is faster. The limit is the time of a loop that moves the bytes of {FASTOPT}'s step with trivial
arithmetic; there is none below 1e5 elements. "All figures" has the quartiles, too.

`{TORCH_DOOR}` stands for the optimizers for PyTorch, which read the addresses of all tensors again
in each step. NumPy's elementwise loops use one thread, and so does a step of {FASTOPT} below a
million elements of Adam or 2.3 million of SGD.

The allocator keeps memory that was freed, so that temporaries are not on new pages. With the
default settings of many allocators they would be, which takes time: libraries without temporaries
would then look better than they do here."""

# By group or, for tables, by task: the heading of a section, and what is measured.
SECTIONS = {
    "one": ("One array", "The step of a float32 array."),
    "many": ("Many arrays", "The step of many small arrays, and of the arrays of two networks."),
    "rules": (
        "Other rules",
        "The arrays of two networks. Torch has no fused RMSprop, Adadelta, NAdam or Adamax. NumPy, "
        "optax and DeepSpeed are not measured.",
    ),
    "whole": (
        "Clipping, step and clearing",
        "The norm of all gradients is limited, AdamW steps, and the gradients are set to 0, which "
        "optax does not do.",
    ),
    "bfloat16": (
        "Parameters in bfloat16",
        "Parameters and gradients are bfloat16. The moments of torch, optax and "
        f'"{TORCH_DOOR_PARAM}" (`state_dtype="param"`) are bfloat16, half as large as the float32 '
        f'moments of {FASTOPT}, {TORCH_DOOR} and DeepSpeed. Only "{STOCHASTIC}" rounds '
        "parameters stochastically.",
    ),
    "sparse": (
        "Sparse gradients",
        "The gradient has some rows of a matrix, of which a tenth occurs twice. The C loop is a "
        "plain one, with one thread and distinct rows.",
    ),
    "ksgd": (
        "Rows of kSGD",
        f"Gaussian rows, one at a time except for `partial_fit` of {FASTOPT}. The limit is the "
        "time of its floating-point operations at the rate of a matrix product.",
    ),
    "fit": (
        "Fits of tables",
        "A fit of float64 rows with the default tolerance, and the standard errors if the library "
        'has them; "glum" is without and "glum, errors" with them, and scikit-learn has none. Its '
        'solver is "newton-cholesky", or LinearRegression for the gaussian; statsmodels is GLM, or '
        f'OLS. "{FASTOPT_COARSE}" ends when the next step is at most 0.01 standard errors long. '
        f"All coefficients are within 0.01 standard errors of those of {FASTOPT}, or the table "
        'says "differs". Memory: the most that was resident during a fit, without the rows '
        "themselves.",
    ),
    "epoch": (
        "Epochs of SGD",
        "One epoch in the order of the rows, with coefficients that are equal to 1e-6; "
        f"scikit-learn is SGDClassifier. A dense fit by {FASTOPT} standardises the columns, which "
        f'"{FASTOPT_PARTIAL}" does not.',
    ),
    "online": (
        "Rows one at a time",
        f"Each row is a call; {FASTOPT} is KalmanClassifier or KalmanRegressor, which know "
        "standard errors after every row. scikit-learn and river take an SGD step without, and "
        '"river Bayesian" is BayesianLinearRegression.',
    ),
}


def section_of(case: Case) -> str:
    """Return the key in SECTIONS of a case."""
    return case.task or case.group


def others(rows: Iterable[Row]) -> list[Row]:
    """Return the rows of other libraries that have times."""
    return [row for row in rows if row.library not in OURS | BOUNDS and row.over(FASTOPT)]


def shown(ratio: float) -> str:
    """Return a ratio as text."""
    return f"{ratio:.2f}" if ratio < 10 else f"{ratio:.0f}"


def table(heads: Sequence[str], body: Iterable[Sequence[str]], left: int = 1) -> str:
    """Return a Markdown table whose first columns are aligned to the left."""
    rule = ["---"] * left + ["---:"] * (len(heads) - left)
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (heads, rule, *body))


def fastest(rows: list[Row], threads: int) -> list[float]:
    """Return the smallest ratio of another library to fastopt for each case, in ascending order."""
    best: dict[Case, float] = {}
    for row in others(rows):
        ratio = row.over(FASTOPT)
        if row.threads == threads and ratio:
            best[row.case] = min(ratio, best.get(row.case, ratio))
    return sorted(best.values())


def summary(rows: list[Row], counts: list[int]) -> str:
    """Return the table of sections: how the fastest other library compares."""
    body = []
    for key, (title, _) in SECTIONS.items():
        found = [fastest([row for row in rows if section_of(row.case) == key], n) for n in counts]
        if any(found):
            threes = [(of[0], statistics.median(of), of[-1]) if of else () for of in found]
            cells = [[shown(x) for x in three] or ["-"] * 3 for three in threes]
            body.append([f"[{title}](#{title.lower().replace(',', '').replace(' ', '-')})",
                         *chain(*cells)])  # fmt: skip
    heads = [f"{n}t {what}" for n in counts for what in ("least", "median", "most")]
    return table(["section", *heads], body)


def compared(rows: list[Row], ours: str) -> list[list[str]]:
    """Return case, threads, library and ratio for each library that ours is compared with."""
    libraries = COMPARED[ours]
    return [
        [row.case.name, str(row.threads), row.library, f"{ratio:.2f}"]
        for row in others(rows)
        if (libraries is None or row.library in libraries) and (ratio := row.over(ours))
    ]


def slower(rows: list[Row], ours: str) -> list[list[str]]:
    """Return those of `compared` whose ratio is printed as less than 1."""
    return [cells for cells in compared(rows, ours) if float(cells[-1]) < 1.0]


def where_slower(rows: list[Row]) -> str:
    """Return the section that lists every cell in which another library is faster."""
    parts = [
        "## Where fastopt is slower",
        "All cells in which another library takes less time. Ratio: its time divided by ours.\n"
        f'"{STOCHASTIC}" is not compared: no other library rounds stochastically. Nor are '
        f'"{FASTOPT_COARSE}" and "{FASTOPT_PARTIAL}", variants of {FASTOPT}. "{TORCH_DOOR_PARAM}" '
        "is compared with torch only, whose state is as small; that of DeepSpeed is float32.",
    ]
    for ours in COMPARED:
        n_cells = len(compared(rows, ours))
        found = slower(rows, ours)
        heads = ["case", "threads", "library", "ratio"]
        parts += [
            f"### Cells of {ours}",
            f"{len(found)} of {n_cells} cells." + ("" if found else " There is none."),
            *([table(heads, found, 3)] if found else []),
        ]
    return "\n\n".join(parts)


def ratios(rows: list[Row], threads: int) -> str:
    """Return the table of a section for a number of threads: a line for each case."""
    found = {(row.case, row.library): row for row in rows if row.threads == threads}
    names = {library for _, library in found}
    libraries = [name for name in STYLES if name in names and name != LIMIT]
    libraries += [LIMIT] * (LIMIT in names)
    body = []
    for case in dict.fromkeys(case for case, _ in found):
        own = found[case, FASTOPT].cells()[0]
        cells = []
        for library in libraries:
            row = found.get((case, library))
            ratio = row.over(FASTOPT) if row else None
            cells.append(shown(ratio) if ratio else (row and row.failure) or "-")
        body.append([case.name, own, *cells])
    return table([counted(threads, "thread"), FASTOPT, *libraries], body)


def memory(rows: list[Row]) -> str:
    """Return the table of the memory of fits."""
    found = {(row.case, row.library): row.memory for row in rows if row.memory is not None}
    names = {library for _, library in found}
    libraries = [FASTOPT, *(name for name in STYLES if name in names)]
    body = [
        [case.name, *("-" if (x := found.get((case, name))) is None else f"{x / 1e6:.0f}"
                      for name in libraries)]
        for case in dict.fromkeys(case for case, _ in found)
    ]  # fmt: skip
    return table(["memory, MB", *libraries], body)


def all_figures(rows: list[Row]) -> str:
    """Return all figures of a section, closed until a reader opens them."""
    heads, found = lines(rows)
    body, last = [], None
    for case, library, cells in found:
        body.append([f"**{case.name}**" if case != last else "", library, *chain(*cells)])
        last = case
    return f"<details>\n<summary>All figures</summary>\n\n{table(heads, body, 2)}\n\n</details>"


def machine() -> list[str]:
    """Return facts about the machine that the figures depend on."""
    available = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    pages = Path("/sys/kernel/mm/transparent_hugepage/enabled")
    huge = pages.read_text().partition("[")[2].partition("]")[0] if pages.exists() else "unknown"
    return [
        f"{cpu()}, {os.cpu_count()} CPUs, {available:.0f} GiB, transparent huge pages: {huge}",
        f"{platform.system()} {platform.release()}, Python {platform.python_version()}, "
        f"instruction set {instruction_set()}",
    ]


def versions() -> str:
    """Return the versions of the libraries."""
    found = [f"fastopt {fastopt.__version__}"]
    for name in PACKAGES:
        try:
            found.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            found.append(f"{name} not installed")
    return ", ".join(found)


def report(rows: list[Row], command: str, facts: list[str]) -> str:
    """Return the text of bench/RESULTS.md."""
    counts = list(dict.fromkeys(row.threads for row in rows))
    text = [
        "# fastopt compared with other libraries",
        f"The output of `{command}`, not to be edited by hand.",
        SUMMARY,
        f"![Time of each library divided by that of fastopt, by section]({PICTURE.name})",
        textwrap.fill(
            f"The time of the fastest other library divided by that of {FASTOPT}: the least, the "
            "median and the most over the cases of a section. 1t: one thread.",
            100,
        ),
        summary(rows, counts),
        "Measured:",
        "\n".join(textwrap.fill(f"- {fact}", 100, subsequent_indent="  ") for fact in facts),
        where_slower(rows),
        "## How to read the tables",
        RATIOS,
    ]
    for key, (title, about) in SECTIONS.items():
        own = [row for row in rows if section_of(row.case) == key]
        if own:
            text += [f"## {title}", textwrap.fill(about, 100), *(ratios(own, n) for n in counts)]
            text += [memory(own)] * any(row.memory is not None for row in own)
            text.append(all_figures(own))
    return "\n\n".join(text) + "\n"


def write(rows: list[Row], command: str, seconds: float) -> None:
    """Write bench/RESULTS.md and its picture."""
    draw(rows)
    now = datetime.datetime.now(datetime.UTC)
    facts = [f"{now:%Y-%m-%d %H:%M} UTC, in {seconds / 60:.0f} minutes", *machine(), versions()]
    REPORT.write_text(report(rows, command, facts), encoding="utf-8")


def draw(rows: list[Row]) -> None:
    """Draw the time of each other library divided by that of fastopt, by section."""
    counts = list(dict.fromkeys(row.threads for row in rows))
    keys = [key for key in SECTIONS if any(section_of(row.case) == key for row in rows)]
    libraries = [name for name in STYLES if any(row.library == name for row in others(rows))]
    with matplotlib.style.context("default"):
        height = 1.2 + len(counts) * (0.6 + 0.3 * len(keys))
        figure = Figure(figsize=(4.8, height), dpi=150, layout="constrained")
        panels = figure.subplots(len(counts), 1, sharex=True, squeeze=False)[:, 0]
        for axes, n in zip(panels, counts, strict=True):
            for i, library in enumerate(libraries):
                points = [
                    (row.over(FASTOPT), keys.index(section_of(row.case)) + 0.6 * i / len(libraries))
                    for row in others(rows)
                    if row.threads == n and row.library == library
                ]
                if points:
                    colour, marker = STYLES[library]
                    axes.scatter(*zip(*points, strict=True), c=colour, marker=marker, s=12,
                                 linewidths=0.8, label=library, zorder=3)  # fmt: skip
            axes.axvline(1.0, color="#888888", linewidth=1.0)
            axes.set_xscale("log")
            axes.xaxis.set_major_formatter("{x:g}")
            axes.set_title(counted(n, "thread"), fontsize="medium")
            axes.set_yticks([k + 0.25 for k in range(len(keys))], [SECTIONS[k][0] for k in keys],
                            fontsize="small")  # fmt: skip
            axes.grid(axis="x", color="#dddddd", linewidth=0.6)
            axes.tick_params(axis="y", length=0)
            axes.spines[["top", "right"]].set_visible(False)
            axes.set_ylim(len(keys) - 0.2, -0.3)
        panels[-1].set_xlabel(f"time divided by that of {FASTOPT}")
        handles = {
            label: handle
            for axes in figure.axes
            for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
        }
        figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=3,
                      frameon=False, fontsize="small")  # fmt: skip
        figure.savefig(PICTURE, metadata={"Software": "bench.peers"})
