"""The picture of `fastopt race --torch`: losses, their differences, and seconds per step."""

from __future__ import annotations

from pathlib import Path

import matplotlib.style
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fastopt.cli.transformer.trainings import REFERENCE, Training, quartiles

NAME, SIGNATURE = "transformer.png", "fastopt race"
# Colour, line style and width. The curves coincide, so a thinner one is drawn over each of them.
_STYLES = {
    REFERENCE: ("#e20134", "-", 4.5),
    "torch fused": ("#8400cd", "-", 2.5),
    "fastopt.torch": ("#000000", "--", 1.2),
}


def draw(path: Path, title: list[str], runs: list[Training]) -> None:
    """Draw the results of all trainings, and write the picture to `path`."""
    with matplotlib.style.context("default"):
        figure = Figure(figsize=(13, 4.5), dpi=150, layout="constrained")
        losses, differences, times = figure.subplots(1, 3)
        _draw_losses(losses, runs)
        _draw_differences(differences, runs)
        _draw_times(times, runs)
        for axes in (losses, differences, times):
            axes.grid(color="#dddddd", linewidth=0.6)
            axes.set_axisbelow(True)
            axes.spines[["top", "right"]].set_visible(False)
        figure.suptitle(
            "\n".join([title[0], ", ".join(title[1:])]), fontsize="medium", parse_math=False
        )
        figure.savefig(path, metadata={"Software": SIGNATURE})


def _draw_losses(axes: Axes, runs: list[Training]) -> None:
    for run in runs:
        colour, dashes, width = _STYLES[run.name]
        axes.plot(run.losses, color=colour, linestyle=dashes, linewidth=width, label=run.name)
    axes.set_xlabel("step")
    axes.set_ylabel("training loss (cross-entropy of a character, nats)")
    axes.legend(title="AdamW of", alignment="left", frameon=False, handlelength=3.2)


def _draw_differences(axes: Axes, runs: list[Training]) -> None:
    reference = next(run for run in runs if run.name == REFERENCE)
    for run in runs:
        if run is not reference:
            label = f"{run.name}, at most {run.difference(reference):.2g}"
            colour = _STYLES[run.name][0]
            axes.plot(run.differences(reference), ".", color=colour, label=label, clip_on=False)
    axes.set_yscale("symlog", linthresh=1e-7)  # about the spacing of float32 numbers here
    axes.set_ylim(0.0, max(1e-4, axes.get_ylim()[1]))
    axes.set_xlabel("step")
    axes.set_ylabel(f"absolute difference from the loss of {REFERENCE}")
    axes.legend(loc="upper left", frameon=False)


def _draw_times(axes: Axes, runs: list[Training]) -> None:
    """Draw the medians of a whole step and of its update, with the quartiles."""
    for label, face in (("whole step", ""), ("update", "white")):
        for row, run in enumerate(runs):
            low, median, high = (
                1e3 * seconds for seconds in quartiles(run.update_seconds if face else run.seconds)
            )
            colour = _STYLES[run.name][0]
            axes.errorbar(
                median,
                row,
                xerr=[[median - low], [high - median]],
                fmt="o",
                color=colour,
                markerfacecolor=face or colour,
                capsize=4,
            )
            axes.annotate(
                f"{label}\n{median:.3g} ms",
                (median, row),
                xytext=(0, 8),
                textcoords="offset points",
                horizontalalignment="center",
                fontsize="small",
            )
    axes.set_yticks(range(len(runs)), [run.name for run in runs])
    axes.set_ylim(len(runs) - 0.5, -0.6)
    axes.set_xscale("log")
    axes.margins(x=0.15)
    axes.set_xlabel("milliseconds (median and quartiles)")
