"""What the checkpoint of a run contains, when it is written, and how a run resumes from it."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from fastopt import checkpoint
from fastopt._checks import Whole, at_least_0
from fastopt._errors import FastoptError
from fastopt.arrays.dtypes import Array
from fastopt.optimizers.base.saving import all_of, load_all
from fastopt.optimizers.base.state.groups import arrays_of
from fastopt.optimizers.base.state.structure import each
from fastopt.training.best import Best
from fastopt.training.ending import Criteria
from fastopt.training.fingerprint import differ, fingerprint
from fastopt.training.state import HISTORY, RunState, copied

Spec = str | os.PathLike[str] | tuple[str | os.PathLike[str], float]

COUNTS = {  # names in the file -> attributes of `RunState`
    **{name: name for name in ("nit", "nfev", "n_epochs", "loss", "seconds")},
    **{name: f"epoch_{name}" for name in ("steps", "lr", "total", "weight")},
}


class RunFile:
    """The checkpoint of a run.

    If the file exists, the run resumes from it.  Otherwise it is written at once, so that a path
    that cannot be written is an error before the first step.

    Parameters
    ----------
    spec
        ``checkpoint`` of `fastopt.minimize`.
    state, criteria, best
        The state, criteria and best point of the run, before its first step.
    """

    def __init__(self, spec: Spec, state: RunState, criteria: Criteria, best: Best | None) -> None:
        path, every = spec if isinstance(spec, tuple) and len(spec) == 2 else (spec, None)
        if not isinstance(path, (str, os.PathLike)):
            raise TypeError(f"checkpoint is {spec!r}; a path or (path, seconds) is needed")
        self.every = None if every is None else at_least_0("checkpoint[1]", every)
        self.path, self.state, self.criteria, self.best = path, state, criteria, best
        self.settings = _settings(state, criteria, best)
        self._saved_at: tuple[int, int] | None = None
        checkpoint.remove_leftovers(path)
        if os.path.exists(path):
            self._resume()
        self._mark()
        self.write()

    def _mark(self) -> None:
        """Record what evaluations before the next step may change, as resuming repeats them."""
        self._marked = self.state.nfev, self.criteria.looked

    def step_done(self) -> None:
        """Write the file if ``seconds`` have passed since it was last written."""
        self._mark()
        if self.every is not None and time.monotonic() >= self._due:
            self.write()

    def epoch_done(self) -> None:
        """Write the file, unless ``seconds`` were given."""
        self._mark()
        if self.every is None:
            self.write()

    def write(self) -> None:
        """Replace the file, unless no step was taken since it was last written."""
        state = self.state
        if (now := (state.nit, state.n_epochs)) != self._saved_at:
            content = {
                "asked": self.settings,
                **all_of(state.optimizer, state.batches),
                "run": _saved(state, self.best, *self._marked),
            }
            checkpoint.write(self.path, "minimize", content)
            self._saved_at = now
        if self.every is not None:
            self._due = time.monotonic() + self.every

    def _resume(self) -> None:
        """Load the file, or raise and leave the caller's schedule and batches unchanged."""
        saved, state = checkpoint.read(self.path, "minimize"), self.state
        with checkpoint.loading(self.path):
            self._require_equal_settings(saved["asked"])
        try:
            with checkpoint.loading(self.path):
                restored = _checked(saved["run"])
                if self.best is not None:
                    self.best.load(saved["run"]["best"], state.x)
                load_all(state.optimizer, saved, state.batches)
        except FastoptError as error:
            raise FastoptError(f"checkpoint {os.fspath(self.path)!r}: {error}") from error
        _restore(state, self.criteria, restored)
        self._saved_at = state.nit, state.n_epochs

    def _require_equal_settings(self, saved: Mapping[str, Any]) -> None:
        for name, own in self.settings.items():
            found = saved.get(name)
            if differ(found, own) if name == "schedule_code" else found != own:
                raise FastoptError(
                    f"checkpoint {os.fspath(self.path)!r} is of a run with {name} "
                    f"{found!r}; here it is {own!r}. Give the same arguments, or another "
                    "path"
                )


def _settings(state: RunState, criteria: Criteria, best: Best | None) -> dict[str, Any]:
    """Return the arguments that a call must share with the call that wrote the file.

    The functions, the values of the data and the budgets are not among them.
    """
    groups = state.optimizer.param_groups
    schedule = groups[0].schedule
    return {
        "x0": (
            type(state.x).__name__,
            [(key, w.shape, w.dtype.name) for key, w in arrays_of(groups).items()],
        ),
        "data": state.batches and [(a.shape[1:], a.dtype.str) for a in state.batches.arrays],
        "method": type(state.optimizer).__name__,
        "options": {**groups[0].options, **state.optimizer.extras},
        "weight_decay": [group["weight_decay"] for group in groups],
        "schedule": schedule and re.sub(r" at 0x\w+", "", repr(schedule)),  # without addresses
        "schedule_code": fingerprint(schedule),
        "tol": criteria.tolerance.tol,
        "gtol": criteria.gtol,
        "patience": criteria.tolerance.patience,
        "restore_best": best is not None,
    }


def _saved(
    state: RunState, best: Best | None, nfev: int, looked: tuple[int, float, float]
) -> dict[str, Any]:
    """Return what `_restore` needs; the history is that of complete epochs."""
    return {
        "history": {name: values[: state.n_epochs] for name, values in state.history.items()},
        "grad": each(_saved_gradient, "grad", state.grad),
        "counts": {**{name: getattr(state, own) for name, own in COUNTS.items()}, "nfev": nfev},
        "looked": looked,
        "best": best and (best.x, float(best.loss), each(_saved_gradient, "grad", best.grad)),
    }


def _checked(saved: Mapping[str, Any]) -> dict[str, Any]:
    """Return what `_saved` returned, with the types that it has; raise for malformed content."""
    counts, (epoch, *judged), history = saved["counts"], saved["looked"], saved["history"]
    largest, limit = map(float, judged)
    n_epochs = Whole(0)("n_epochs", counts["n_epochs"])
    whole = ("nit", "nfev", "n_epochs", "steps")
    lists = {name: [float(value) for value in history[name]] for name in HISTORY}
    if any(len(values) != n_epochs for values in lists.values()):
        raise FastoptError(f"the history does not have {n_epochs} epochs")
    return {
        "history": lists,
        "grad": saved["grad"],
        "counts": {
            name: Whole(0)(name, counts[name]) if name in whole else float(counts[name])
            for name in COUNTS
        },
        "looked": (Whole(0)("looked", epoch), largest, limit),
    }


def _restore(state: RunState, criteria: Criteria, saved: Mapping[str, Any]) -> None:
    """Restore what `_saved` returned; parameters, optimizer and batches are loaded separately."""
    state.history, state.grad = saved["history"], saved["grad"]
    for name, own in COUNTS.items():
        setattr(state, own, saved["counts"][name])
    criteria.resume(state.history["loss"], saved["looked"])


def _saved_gradient(name: str, gradient: Any) -> Array | None:
    """Return a copy of a dense gradient, or None for a row-sparse one, which is not saved."""
    found = copied(name, gradient)
    return found if isinstance(found, np.ndarray) else None
