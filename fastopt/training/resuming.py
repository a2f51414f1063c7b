"""The file of a run of `minimize`: written now and then, and where a later call goes on from."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from fastopt import checkpoint
from fastopt._checks import at_least_0
from fastopt._errors import FastoptError
from fastopt.optimizers.base.groups import arrays_of
from fastopt.optimizers.base.optimizer import all_of, load_all

if TYPE_CHECKING:
    from fastopt.training.run import Run

Spec = str | os.PathLike[str] | tuple[str | os.PathLike[str], float]


class RunFile:
    """Where a run is saved, and when.

    Parameters
    ----------
    spec
        ``checkpoint`` of `fastopt.minimize`.
    run
        At its start.  If the file is there it goes on from that, else the file is written, so
        that a place where it can not be is known before the first step.
    asked
        What a later call must ask for too, plain values by their names.
    """

    def __init__(self, spec: Spec, run: Run, asked: Mapping[str, Any]) -> None:
        path, every = spec if isinstance(spec, tuple) and len(spec) == 2 else (spec, None)
        if not isinstance(path, (str, os.PathLike)):
            raise TypeError(f"checkpoint is {spec!r}; a path or (path, seconds) is needed")
        self.every = None if every is None else at_least_0("checkpoint[1]", every)
        self.path, self.run, self.asked = path, run, dict(asked)
        self._saved_at: tuple[int, int] | None = None
        checkpoint.remove_leftovers(path)
        if os.path.exists(path):
            self._resume()
        self.write()

    def step_done(self) -> None:
        """Write if it is time to, in mid-epoch."""
        if self.every is not None and time.monotonic() >= self._due:
            self.write()

    def epoch_done(self) -> None:
        """Write where no time between writings was given."""
        if self.every is None:
            self.write()

    def write(self) -> None:
        """Replace the file, unless nothing has happened since."""
        run = self.run
        if (now := (run.nit, run.n_epochs)) != self._saved_at:
            whole = all_of(run.optimizer, run.batches)
            content = {"asked": self.asked, **whole, "run": run.saved()}
            checkpoint.write(self.path, "minimize", content)
            self._saved_at = now
        if self.every is not None:
            self._due = time.monotonic() + self.every

    def _resume(self) -> None:
        """Take over what the file holds, or raise and change nothing of the caller's."""
        saved, run = checkpoint.read(self.path, "minimize"), self.run
        for name, own in self.asked.items():
            if saved["asked"].get(name) != own:
                raise FastoptError(
                    f"checkpoint {os.fspath(self.path)!r} is of a run with {name} "
                    f"{saved['asked'].get(name)!r}; here it is {own!r}. Ask for the same, or give "
                    "another path"
                )
        try:
            load_all(run.optimizer, saved, run.batches)
        except FastoptError as error:
            raise FastoptError(f"checkpoint {os.fspath(self.path)!r}: {error}") from error
        run.restore(saved["run"])
        self._saved_at = run.nit, run.n_epochs


def asked_for(run: Run) -> dict[str, Any]:
    """Return what is asked of a run, but for the functions, the values of the data and budgets."""
    groups = run.optimizer.param_groups
    schedule = groups[0].schedule
    return {
        "x0": (
            type(run.x).__name__,
            [(key, w.shape, w.dtype.name) for key, w in arrays_of(groups).items()],
        ),
        "data": run.batches and [(a.shape[1:], a.dtype.str) for a in run.batches.arrays],
        "method": type(run.optimizer).__name__,
        "options": {**groups[0].options, **run.optimizer.extras},
        "weight_decay": [group["weight_decay"] for group in groups],
        "schedule": schedule and re.sub(r" at 0x\w+", "", repr(schedule)),  # without addresses
        "tol": run.tolerance.tol,
        "patience": run.tolerance.patience,
    }
