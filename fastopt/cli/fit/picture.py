"""The picture of a fit: coefficients with intervals, and calibration or residuals."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib.style
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fastopt.cli.fit.diagnostics import Calibration, Residuals
from fastopt.cli.fit.summary import Coefficient

SIGNATURE = "fastopt fit"
_MOST = 30  # coefficients that fit into the picture
_COLOURS = ("#008df9", "#ff6e3a", "#009f81", "#8400cd", "#e20134", "#c99700", "#00c2f9", "#5c3a00")


def draw(
    path: Path,
    title: str,
    coefficients: list[Coefficient],
    deviations: np.ndarray[Any, Any],
    found: Calibration | Residuals,
) -> None:
    """Write the picture.

    Parameters
    ----------
    path : Path
    title : str
    coefficients : list of Coefficient
        Without intercepts.
    deviations : array of shape (n_features,)
        Standard deviations of the columns.
    found : Calibration or Residuals
    """
    with matplotlib.style.context("default"):
        rows = min(len(coefficients), _MOST)
        figure = Figure(figsize=(12, max(4.5, 1.5 + 0.22 * rows)), dpi=150, layout="constrained")
        left, right = figure.subplots(1, 2)
        _draw_coefficients(left, coefficients, deviations)
        if isinstance(found, Calibration):
            _draw_calibration(right, found)
        else:
            _draw_residuals(right, found)
        for axes in (left, right):
            axes.grid(color="#dddddd", linewidth=0.6)
            axes.set_axisbelow(True)
            axes.spines[["top", "right"]].set_visible(False)
        figure.suptitle(title, parse_math=False)
        figure.savefig(path, metadata={"Software": SIGNATURE})


def _draw_coefficients(
    axes: Axes, coefficients: list[Coefficient], deviations: np.ndarray[Any, Any]
) -> None:
    """Draw the largest effects of one standard deviation of a column, the largest on top."""
    scaled = [
        (deviations[i % len(deviations)], own)
        for i, own in enumerate(coefficients)
        if np.isfinite(own.coef)
    ]
    largest = sorted(scaled, key=lambda pair: -abs(pair[0] * pair[1].coef))[:_MOST][::-1]
    at = np.arange(len(largest))
    values = np.array([scale * own.coef for scale, own in largest])
    errors = [
        (scale * (own.coef - own.lower), scale * (own.upper - own.coef))
        if own.lower is not None and own.upper is not None
        else (0.0, 0.0)
        for scale, own in largest
    ]
    has_intervals = any(own.lower is not None for _, own in largest)
    if largest:
        bars = np.array(errors).T if has_intervals else None
        axes.errorbar(values, at, xerr=bars, fmt="o", ms=4, lw=1.5, capsize=2, color=_COLOURS[0])
    axes.axvline(0.0, color="#000000", lw=0.8)
    axes.set_yticks(at, [_short(own.label) for _, own in largest], parse_math=False)
    axes.set_ylim(-0.7, max(len(largest) - 0.3, 0.7))
    intervals = " (95 % interval)" if has_intervals else ""
    axes.set_xlabel(f"effect of one standard deviation on the linear predictor{intervals}")
    left_out = len(coefficients) - len(largest)
    axes.set_title(
        f"the {len(largest)} largest of {len(coefficients)} coefficients"
        if left_out
        else "coefficients",
        fontsize=10,
    )


def _short(label: str) -> str:
    return label if len(label) <= 32 else label[:29] + "..."


def _draw_calibration(axes: Axes, found: Calibration) -> None:
    axes.plot([0, 1], [0, 1], color="#7a7a7a", lw=1, ls="--")
    n_classes = len(found.labels)
    shown = range(1, 2) if n_classes == 2 else range(min(n_classes, len(_COLOURS)))
    for index, colour in zip(shown, _COLOURS, strict=False):
        weight = found.weight[index]
        own = weight > 0
        predicted, observed = (
            s[index][own] / weight[own] for s in (found.predicted, found.observed)
        )
        error = np.sqrt(np.maximum(observed * (1 - observed), 0.0) / weight[own])
        axes.errorbar(
            predicted, observed, yerr=error, fmt="o-", ms=4, lw=1, color=colour,
            label=_short(found.labels[index]),
        )  # fmt: skip
    axes.set_xlim(-0.03, 1.03)
    axes.set_ylim(-0.03, 1.03)
    axes.set_xlabel("predicted probability (mean of each bin)")
    axes.set_ylabel("share of the rows (with standard error)")
    axes.set_title("calibration on the rows of the fit", fontsize=10)
    legend = axes.legend(title="class", frameon=False, loc="upper left")
    for text in legend.get_texts():
        text.set_parse_math(False)


def _draw_residuals(axes: Axes, found: Residuals) -> None:
    means, residuals = np.concatenate(found.means), np.concatenate(found.residuals)
    own = np.isfinite(means) & np.isfinite(residuals)
    means, residuals = means[own], residuals[own]
    size = 8 if len(means) < 1000 else 3
    axes.scatter(means, residuals, s=size, alpha=0.5, color=_COLOURS[0], linewidths=0)
    axes.axhline(0.0, color="#000000", lw=0.8)
    if len(means) >= 100 and (means > 0).all() and means.max() > 100 * means.min():
        axes.set_xscale("log")
    axes.set_xlabel("predicted mean")
    axes.set_ylabel("Pearson residual, in standard deviations")
    axes.set_title(f"residuals of {len(means):,} rows of the fit", fontsize=10)
