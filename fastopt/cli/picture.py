"""The picture of the race: training loss against epochs and against seconds."""

from __future__ import annotations

import math
import os
from pathlib import Path

import matplotlib.style
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from fastopt._errors import FastoptError
from fastopt.cli.problem import Problem
from fastopt.cli.rivals import Rival

SIGNATURE = "fastopt race"  # written into the file, so that no other picture is overwritten

# Colours after Krzywinski's 12 for colour-blind readers (mk.bcgsc.ca/colorblind), the palest
# darkened for a white ground. Kin often run on top of each other, so their dashes differ.
STYLES = {
    "gd": ("#000000", "-"),
    "sgd": ("#008df9", "-"),
    "momentum": ("#ff6e3a", "-"),
    "nesterov": ("#009f81", "--"),
    "adagrad": ("#8400cd", "-"),
    "adadelta": ("#a40122", "--"),
    "rmsprop": ("#c99700", "-."),
    "adam": ("#e20134", "-"),
    "amsgrad": ("#00c2f9", "--"),
    "adamw": ("#5c3a00", ":"),
    "adamax": ("#ff5aaf", "-"),
    "nadam": ("#4b5d8f", "-."),
    "ksgd": ("#000000", "--"),
    "ksgd_full": ("#7a7a7a", "--"),
    "ksgd qr": ("#00c2f9", ":"),
}


def claim(folder: Path, name: str = "race.png", signature: str = SIGNATURE) -> Path:
    """Return the path of a picture, having made sure that it may be written."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    if path.exists() and signature.encode() not in path.read_bytes()[:1000]:
        raise FastoptError(f"{path} was not drawn by {signature}; choose another --out")
    if not os.access(path if path.exists() else folder, os.W_OK):
        raise FastoptError(f"{path} can not be written; choose another --out")
    return path


def draw(path: Path, problem: Problem, rivals: list[Rival]) -> None:
    """Write the picture; the legend is in the order of `rivals`."""
    with matplotlib.style.context("default"):
        figure = Figure(figsize=(11, 5), dpi=150, layout="constrained")
        by_epoch, by_second = figure.subplots(1, 2, sharey=True)
        totals = [rival.last.seconds for rival in rivals if rival.epochs_done]
        log_seconds = bool(totals) and max(totals) > 10.0 * min(totals)
        first = 1 if log_seconds else 0  # the start is at 0 seconds
        for rival in rivals:
            colour, dashes = STYLES[rival.rule]
            style = {
                "color": colour,
                "linestyle": dashes,
                "linewidth": 1.8,
                "zorder": 2 + list(STYLES).index(rival.rule) / 100,
            }
            losses = [lap.train_loss for lap in rival.laps]
            label = rival.rule + (" (diverged)" if rival.diverged else "")
            by_epoch.plot(losses, label=label, **style)
            seconds = [lap.seconds for lap in rival.laps]
            by_second.plot(seconds[first:], losses[first:], **style)
        if log_seconds:
            by_second.set_xscale("log")
        _scale_loss(by_epoch, rivals)
        by_epoch.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
        by_epoch.set_xlabel("epochs (passes over the training rows)")
        by_second.set_xlabel("seconds of training")
        by_epoch.set_ylabel(f"training loss ({problem.model.loss})")
        for axes in (by_epoch, by_second):
            axes.grid(color="#dddddd", linewidth=0.6)
            axes.spines[["top", "right"]].set_visible(False)
        figure.suptitle(f"{problem.name}: {problem.description}", parse_math=False)
        figure.legend(
            loc="outside right center",
            title="lowest loss first",
            alignment="left",
            frameon=False,
            handlelength=3.2,
        )
        figure.savefig(path, metadata={"Software": SIGNATURE})


def _scale_loss(axes: Axes, rivals: list[Rival]) -> None:
    """Choose a logarithm where losses span decades, and cut off what shot into the sky."""
    losses = [lap.train_loss for r in rivals for lap in r.laps if math.isfinite(lap.train_loss)]
    start, low = losses[0], min(losses)
    if low > 0.0 and start > 10.0 * low:
        axes.set_yscale("log")
        axes.set_ylim(low / 1.5, start * 1.5)
    else:
        margin = 0.05 * (start - low)
        axes.set_ylim(low - margin, start + 4.0 * margin)
