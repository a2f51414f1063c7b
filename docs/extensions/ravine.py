"""The picture of the path of a rule on a ravine."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import matplotlib as mpl
import numpy as np

import fastopt
from fastopt.arrays.dtypes import Array

mpl.use("Agg")
import matplotlib.pyplot as plt

STEPS = 60
STEEPNESS = np.array([1.0, 20.0])
START = np.array([-4.0, 1.2])
RATES = [k * 10.0**e for e in range(-3, 1) for k in (1, 2, 5)]
WITHOUT_RATE = {"Adadelta", "Prodigy", "DoG"}  # the default, 1, is a factor


def torch_names() -> ModuleType:
    """Return the module whose names are PyTorch's optimizers, if it is installed."""
    try:
        import torch.optim
    except ImportError:
        return fastopt.optimizers
    return torch.optim


def path(cls: type[fastopt.Optimizer], lr: float) -> Array:
    """Return the points of a run, of shape (STEPS + 1, 2)."""
    w = START.reshape(1, 2).copy() if cls is fastopt.Muon else START.copy()
    opt = cls(w, lr=lr)
    points = [START]
    for _ in range(STEPS):
        opt.step(STEEPNESS * w)
        points.append(w.reshape(2).copy())
    return np.array(points)


def loss(points: Array) -> float:
    """Return the mean of the loss over the last 20 points."""
    return float(np.nan_to_num(points[-20:] ** 2 @ STEEPNESS, nan=np.inf).mean())


def draw(cls: type[fastopt.Optimizer], file: Path) -> str:
    """Draw the path with the best learning rate, and say which it is."""
    rates = [1.0] if cls.__name__ in WITHOUT_RATE else RATES
    with np.errstate(all="ignore"):
        paths = {lr: path(cls, lr) for lr in rates}
        best = min(rates, key=lambda lr: loss(paths[lr]))
    if not file.exists():
        figure, axes = plt.subplots(figsize=(4, 2.2), dpi=150, layout="constrained")
        x, y = np.meshgrid(np.linspace(-5, 2, 140), np.linspace(-2, 2, 80))
        axes.contour(
            x, y, (x**2 + 20 * y**2) / 2, levels=np.geomspace(0.05, 60, 12), cmap="Blues_r",
            linewidths=0.7,
        )  # fmt: skip
        axes.plot(*paths[best].T, "o-", color="#e20134", markersize=2.5, linewidth=1)
        axes.plot(0, 0, "k+")
        axes.set(xlim=(-5, 2), ylim=(-2, 2), xticks=[], yticks=[])
        figure.savefig(file)
        plt.close(figure)
    return "without a learning rate" if len(rates) == 1 else f"with lr={best:g}, the best of a grid"
