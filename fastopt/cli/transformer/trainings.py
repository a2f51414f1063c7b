"""Train copies of one model, each with one optimizer, on the same batches."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

import numpy as np
import torch
from torch import nn

import fastopt.torch
from fastopt.arrays.dtypes import Array
from fastopt.cli.transformer.model import loss

REFERENCE = "torch"  # the losses of the other trainings are compared with its losses


@dataclass
class Training:
    """A model, its optimizer, and the loss and times of each step."""

    name: str
    model: nn.ModuleDict
    optimizer: torch.optim.Optimizer
    losses: list[float] = field(default_factory=list)  # of each batch, before its step
    seconds: list[float] = field(default_factory=list)  # of loss, gradients and update
    update_seconds: list[float] = field(default_factory=list)  # of the call of `optimizer.step()`

    def step(self, inputs: torch.Tensor, targets: torch.Tensor) -> None:
        """Take a step, and append its loss and times to the lists."""
        start = perf_counter()
        self.optimizer.zero_grad()
        found = loss(self.model, inputs, targets)
        torch.autograd.backward(found)
        before = perf_counter()
        self.optimizer.step()
        end = perf_counter()
        self.losses.append(found.item())
        self.update_seconds.append(end - before)
        self.seconds.append(end - start)

    def forget_after(self, steps: int) -> None:
        """Remove the losses and times of all steps after the first `steps`."""
        for values in (self.losses, self.seconds, self.update_seconds):
            del values[steps:]

    def differences(self, other: Training) -> Array:
        """Return the absolute difference between the losses of two trainings, by step."""
        with np.errstate(invalid="ignore"):
            return np.asarray(np.abs(np.subtract(self.losses, other.losses)))

    def difference(self, other: Training) -> float:
        """Return the largest of the differences; NaN if one of them is NaN."""
        return float(self.differences(other).max())


def trainings(model: nn.ModuleDict, lr: float, threads: int | None) -> list[Training]:
    """Return one training for each optimizer, each with a separate copy of the model."""
    optimizers: dict[str, tuple[Any, dict[str, Any]]] = {
        REFERENCE: (torch.optim.AdamW, {}),
        "torch fused": (torch.optim.AdamW, {"fused": True}),
        "fastopt.torch": (fastopt.torch.AdamW, {"n_threads": threads}),
    }
    made = []
    for name, (cls, options) in optimizers.items():
        own = copy.deepcopy(model)
        made.append(Training(name, own, cls(own.parameters(), lr=lr, **options)))
    return made


def train(
    runs: list[Training], batches: Iterable[tuple[torch.Tensor, torch.Tensor]]
) -> Iterator[int]:
    """Take a step of each training with each batch; yield the number of batches so far.

    The trainings take turns on each batch, so that a change in the speed of the machine affects all
    of them.  Each training is the first equally often.
    """
    for done, batch in enumerate(batches):
        first = done % len(runs)
        try:
            for run in runs[first:] + runs[:first]:
                run.step(*batch)
        except KeyboardInterrupt:
            for run in runs:
                run.forget_after(done)
            raise
        yield done + 1


def quartiles(values: list[float]) -> tuple[float, float, float]:
    """Return the lower quartile, the median and the upper quartile."""
    low, median, high = np.percentile(values, (25, 50, 75))
    return float(low), float(median), float(high)
