"""The picture of the race: training loss against epochs and against seconds."""

from __future__ import annotations

import math
from pathlib import Path

import matplotlib.style
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from fastopt.cli.picture import STYLES
from fastopt.cli.race.problem import Problem
from fastopt.cli.race.run import Run

NAME, SIGNATURE = "race.png", "fastopt race"
_LONGEST_LEGEND = 22  # lines that fit beside the panels


def draw(path: Path, problem: Problem, runs: list[Run]) -> None:
    """Write the picture; the legend is in the order of `runs`."""
    with matplotlib.style.context("default"):
        n_columns = 1 if len(runs) <= _LONGEST_LEGEND else 2
        figure = Figure(figsize=(8.5 + 2.5 * n_columns, 5), dpi=150, layout="constrained")
        by_epoch, by_second = figure.subplots(1, 2, sharey=True)
        totals = [run.epochs_done * run.epoch_quartiles[1] for run in runs if run.epochs_done]
        log_seconds = bool(totals) and max(totals) > 10.0 * min(totals)
        first = 1 if log_seconds else 0  # the initial loss is at 0 seconds
        for run in runs:
            colour, dashes = STYLES[run.rule]
            style = {
                "color": colour,
                "linestyle": dashes,
                "linewidth": 1.8,
                "zorder": 2 + list(STYLES).index(run.rule) / 100,
            }
            losses = [evaluation.train_loss for evaluation in run.evaluations]
            if sum(map(math.isfinite, losses)) == 1:
                style["marker"] = "."  # a line needs two points
            label = run.rule + (" (diverged)" if run.diverged else "")
            by_epoch.plot(losses, label=label, **style)
            per_epoch = run.epoch_quartiles[1] if run.epochs_done else 0.0
            seconds = [per_epoch * epoch for epoch in range(len(losses))]
            by_second.plot(seconds[first:], losses[first:], **style)
        if log_seconds:
            by_second.set_xscale("log")
        _scale_loss(by_epoch, runs)
        by_epoch.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
        by_epoch.set_xlabel("epochs (passes over the training rows)")
        by_second.set_xlabel("seconds of training (epochs times the median of an epoch)")
        by_epoch.set_ylabel(f"training loss ({problem.model.loss})")
        for axes in (by_epoch, by_second):
            axes.grid(color="#dddddd", linewidth=0.6)
            axes.spines[["top", "right"]].set_visible(False)
        figure.suptitle(f"{problem.name}: {problem.description}", parse_math=False)
        figure.legend(
            loc="outside right center",
            ncols=n_columns,
            title="lowest loss first",
            alignment="left",
            frameon=False,
            handlelength=3.2,
        )
        figure.savefig(path, metadata={"Software": SIGNATURE})


def _scale_loss(axes: Axes, runs: list[Run]) -> None:
    """Use a logarithmic axis if losses span decades; cut off losses far above the initial one.

    If no loss is below the initial one, losses of more than about 1000 times it are cut off.
    """
    losses = [
        evaluation.train_loss
        for run in runs
        for evaluation in run.evaluations
        if math.isfinite(evaluation.train_loss)
    ]
    start, low = losses[0], min(losses)
    if low == start:
        high = min(max(losses), low + 1e3 * max(abs(low), 1.0))
        margin = 0.05 * (high - low) or 1.0
        axes.set_ylim(low - margin, high + margin)
    elif low > 0.0 and start > 10.0 * low:
        axes.set_yscale("log")
        axes.set_ylim(low / 1.5, start * 1.5)
    else:
        margin = 0.05 * (start - low)
        axes.set_ylim(low - margin, start + 4.0 * margin)
