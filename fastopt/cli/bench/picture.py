"""The picture of `fastopt bench`: the share of the memory limit that each rule reaches."""

from __future__ import annotations

from pathlib import Path
from textwrap import fill
from typing import Any

import matplotlib.style
import numpy as np
from matplotlib.figure import Figure

from fastopt.cli.bench.result import MEANING, Result, memory_limit, thread_counts
from fastopt.cli.machine import cpu, instruction_set

NAME, SIGNATURE = "bench.png", "fastopt bench"
_COLOURS = ("#4b5d8f", "#d9480f", "#009f81", "#8400cd", "#c99700", "#00c2f9")  # per thread count
_CUT = 1.5  # the axis ends here: a larger share is noise and would shorten the other bars


def draw(path: Path, results: list[Result], settings: dict[str, Any]) -> None:
    """Write the picture: one bar per rule and number of threads, and a line at the limit."""
    rules, counts = list(dict.fromkeys(result.rule for result in results)), thread_counts(results)
    height = 0.8 / len(counts)
    with matplotlib.style.context("default"):
        size = (9, 2.0 + 0.24 * len(rules) * max(2, len(counts)))
        figure = Figure(figsize=size, dpi=130, layout="constrained")
        axes = figure.subplots()
        for i, n in enumerate(counts):
            found = [result for result in results if result.threads == n]
            colour = _COLOURS[i % len(_COLOURS)]
            shares = np.array([result.shares for result in found])
            positions = [rules.index(result.rule) + (i - (len(counts) - 1) / 2) * height
                      for result in found]  # fmt: skip
            axes.barh(
                positions,
                shares[:, 1],
                height,
                xerr=(shares[:, 1] - shares[:, 0], shares[:, 2] - shares[:, 1]),
                error_kw={"elinewidth": 0.8, "ecolor": "#333333"},
                color=colour,
                label=f"{memory_limit(results, n)} is the memory limit",
            )
            for position, result in zip(positions, found, strict=True):
                shown = f"{1e3 * result.seconds:.3g} ms, {result.rate:.1f} GB/s"
                if result.shares[1] > _CUT:
                    axes.text(0.99, position, f"cut off: {result.shares[1]:.2f}", ha="right",
                              va="center", fontsize=7, color="#ffffff",
                              transform=axes.get_yaxis_transform())  # fmt: skip
                axes.text(1.01, position, shown, va="center", fontsize=7, color=colour,
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
        figure.legend(
            loc="outside lower center",
            ncols=2,
            frameon=False,
            title=fill(MEANING, 100),
            title_fontsize="small",
        )
        figure.savefig(path, metadata={"Software": SIGNATURE})
