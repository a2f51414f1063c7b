"""When and why a run of `minimize` ends, and what its result says about that.

All criteria are here.  They depend on counts and losses only, not on arrays or the optimizer.

| status | the run ended because | success |
|---|---|---|
| `CONVERGED` | `tol` is met | yes |
| `BUDGET_USED_UP` | `epochs` or `max_steps` is used up | without `tol`, if the loss is finite |
| `STOPPED` | `callback` returned a true value or raised StopIteration | no |
| `INTERRUPTED` | KeyboardInterrupt was raised | no |
| `NO_STEP` | the line search found no step | no |
"""

from __future__ import annotations

import math

from fastopt._checks import Whole, at_least_0
from fastopt._errors import FastoptError

CONVERGED, BUDGET_USED_UP, STOPPED, INTERRUPTED, NO_STEP = range(5)

EPOCHS = 1000  # the budget if none is given
PATIENCE = 5


class Criteria:
    """Decide when a run ends, and what its result says.

    Parameters
    ----------
    epochs, max_steps, tol, patience
        Arguments of `fastopt.minimize`.
    """

    def __init__(
        self,
        *,
        epochs: int | None = None,
        max_steps: int | None = None,
        tol: float | None = None,
        patience: int | None = None,
    ) -> None:
        self.budget = Budget(epochs, max_steps)
        self.tolerance = Tolerance(tol, patience)

    def observe(self, loss: float) -> None:
        """Take the mean loss of a complete epoch into account."""
        self.tolerance.observe(loss)

    def status(
        self, nit: int, n_epochs: int, *, is_stopped: bool, is_cut: bool, is_open: bool
    ) -> int | None:
        """Return why the run ends now, or None if it continues.

        Parameters
        ----------
        nit, n_epochs
            The numbers of steps and of complete epochs so far.
        is_stopped
            Whether `callback` has stopped the run.
        is_cut
            Whether `max_steps` has ended the last epoch before it was complete.
        is_open
            Whether the run was resumed within an epoch, which is recorded before the run ends.
        """
        if self.tolerance.is_met:
            return CONVERGED
        if is_stopped:
            return STOPPED
        if is_cut or (self.budget.is_used_up(nit, n_epochs) and not is_open):
            return BUDGET_USED_UP
        return None

    def is_success(self, status: int, loss: float) -> bool:
        """Return `success` of a result whose `fun` is ``loss``."""
        is_judged_by_tol = self.tolerance.tol is not None
        is_complete = status == BUDGET_USED_UP and not is_judged_by_tol and math.isfinite(loss)
        return status == CONVERGED or is_complete

    def message(self, status: int, nit: int) -> str:
        """Return `message` of a result after ``nit`` steps."""
        tolerance = self.tolerance
        return {
            CONVERGED: f"the loss improved by less than tol={tolerance.tol} for "
            f"{tolerance.patience} epochs in a row",
            BUDGET_USED_UP: f"the budget of {self.budget.describe(nit)} is used up",
            STOPPED: "stopped by callback",
            INTERRUPTED: "interrupted",
            NO_STEP: "the line search found no step that lowers the loss as the gradient predicts",
        }[status]


class Budget:
    """The largest numbers of epochs and of steps."""

    def __init__(self, epochs: int | None, max_steps: int | None) -> None:
        if epochs is None and max_steps is None:
            epochs = EPOCHS
        self.epochs = math.inf if epochs is None else Whole(1)("epochs", epochs)
        self.max_steps = math.inf if max_steps is None else Whole(1)("max_steps", max_steps)

    def is_used_up(self, nit: int, n_epochs: int) -> bool:
        """Return whether no further step may be taken."""
        return nit >= self.max_steps or n_epochs >= self.epochs

    def steps_left(self, nit: int, n_epochs: int) -> float:
        """Return how many steps may still be taken; infinity if there is no limit."""
        return 0 if self.is_used_up(nit, n_epochs) else self.max_steps - nit

    def describe(self, nit: int) -> str:
        """Return the budget that is used up after ``nit`` steps."""
        return f"{self.max_steps} steps" if nit >= self.max_steps else f"{self.epochs} epochs"


class Tolerance:
    """Count consecutive epochs whose loss is too little below the best earlier loss."""

    def __init__(self, tol: float | None, patience: int | None) -> None:
        if tol is None and patience is not None:
            raise FastoptError(f"patience is {patience!r}; it must be None without tol")
        self.tol = None if tol is None else at_least_0("tol", tol)
        self.patience = PATIENCE if patience is None else Whole(1)("patience", patience)
        self.best = math.inf
        self.misses = 0

    def observe(self, loss: float) -> None:
        """Count an epoch with this loss."""
        if self.tol is None:
            return
        # Before the first finite loss there is no best to compare with: any finite loss improves.
        needed = self.tol * max(1.0, abs(self.best)) if math.isfinite(self.best) else 0.0
        self.misses = 0 if self.best - loss >= needed else self.misses + 1
        if loss < self.best:
            self.best = loss

    @property
    def is_met(self) -> bool:
        """Whether `patience` consecutive epochs have improved too little."""
        return self.misses >= self.patience
