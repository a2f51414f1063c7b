"""When and why a run of `minimize` ends, and what its result says about that.

All criteria are in this module.  They use counts, losses and max|g|, but no arrays.

| status | the run ended because | success |
|---|---|---|
| `CONVERGED` | `tol`, `gtol` or the criterion of the line search is met | yes |
| `BUDGET_USED_UP` | `epochs` or `max_steps` is used up | no |
| `STOPPED` | `callback` asked for it | no |
| `INTERRUPTED` | KeyboardInterrupt was raised | no |
| `NO_STEP` | the line search found no step | no |
| `NO_IMPROVEMENT` | with `tol`, the loss has not improved for 10*patience epochs | no |
| `NOT_FINITE` | a loss or a parameter is not finite | no |
"""

from __future__ import annotations

import math

from fastopt._checks import Whole, at_least_0
from fastopt._errors import FastoptError

(
    CONVERGED,
    BUDGET_USED_UP,
    STOPPED,
    INTERRUPTED,
    NO_STEP,
    NO_IMPROVEMENT,
    NOT_FINITE,
) = range(7)

EPOCHS = 1000  # the budget if none is given
PATIENCE = 5
SEARCH_GTOL = 1e-5  # default of the line search, relative as in `limit`; that of SciPy's BFGS
STUCK = 10  # a run ends after STUCK * patience epochs without improvement
ROUNDING = 2.0**-50  # relative decreases up to this are rounding errors


def default_patience(beta: float) -> int:
    """Return `patience` for a rule with this momentum or beta1: 2/(1 - beta), at least 5."""
    return max(PATIENCE, round(2 / (1 - min(beta, 0.999))))


class Criteria:
    """Decide when a run ends, and what its result says.

    Parameters
    ----------
    epochs, max_steps, tol, gtol, patience
        Arguments of `fastopt.minimize`.
    beta
        The momentum of the rule, or its beta1; 0 if it has none.
    searches
        Whether steps are found by a line search, which has a `gtol` by default.
    unit
        The word for an epoch in messages.

    Attributes
    ----------
    first : float
        The first finite loss that was observed.
    judged, looked : tuple
        Each is (number of complete epochs, max|g|, limit of max|g|).  ``judged`` is for the last
        gradient that was compared with the limit.  ``looked`` is for the last gradient over all
        rows that exceeded it.
    problem : str
        A sentence that says what is not finite, or "".
    """

    def __init__(
        self,
        *,
        epochs: int | None = None,
        max_steps: int | None = None,
        tol: float | None = None,
        gtol: float | None = None,
        patience: int | None = None,
        beta: float = 0.0,
        searches: bool = False,
        unit: str = "epoch",
    ) -> None:
        self.budget = Budget(epochs, max_steps)
        self.tolerance = Tolerance(tol, patience, beta)
        self.gtol = None if gtol is None else at_least_0("gtol", gtol)
        self.searches, self.unit = searches, unit
        self.first = math.inf
        self.judged = self.looked = 0, math.nan, math.nan
        self.problem = ""

    @property
    def has_limit(self) -> bool:
        """Whether max|g| is compared with a limit."""
        return self.searches or not (self.gtol is None and self.tolerance.tol is None)

    def limit(self, loss: float) -> float:
        """Return the largest max|g| of a point with this loss that is a success.

        The default is relative to the loss, or to its decrease so far if that is less: a loss that
        is large because of a constant does not make a large gradient small.
        """
        if self.gtol is not None:
            return self.gtol
        tol = self.tolerance.tol
        scale = max(1.0, min(abs(loss), self.first - loss))
        return (SEARCH_GTOL if tol is None else math.sqrt(tol)) * scale

    def observe(self, epoch: int, loss: float) -> None:
        """Record the loss of an epoch, counted from 0, unless it was recorded before."""
        if not math.isfinite(self.first):
            self.first = loss
        self.tolerance.observe(epoch, loss)

    @property
    def is_due(self) -> bool:
        """Whether all criteria except that of the gradient are met."""
        return self.has_limit and (self.tolerance.tol is None or self.tolerance.is_met)

    def judge(self, n_epochs: int, loss: float, largest: float) -> bool:
        """Return whether a point with this loss and max|g| may be called converged."""
        self.judged = n_epochs, largest, self.limit(loss)
        return math.isfinite(loss) and loss <= self.first and largest <= self.limit(loss)

    def look_later(self) -> None:
        """Postpone the next check of a gradient until `patience` further epochs have met `tol`."""
        self.looked = self.judged
        self.tolerance.near = 0

    def resume(self, losses: list[float], looked: tuple[int, float, float]) -> None:
        """Restore the state after these epochs; ``looked``: the attribute at that time."""
        for epoch, loss in enumerate(losses):
            self.observe(epoch, loss)
            if epoch + 1 == looked[0]:
                self.tolerance.near = 0
        self.judged = self.looked = looked

    def status(
        self, nit: int, n_epochs: int, *, is_converged: bool, is_stopped: bool, is_cut: bool
    ) -> int | None:
        """Return why the run ends now, or None if it continues.

        Parameters
        ----------
        nit, n_epochs
            The numbers of steps and of complete epochs so far.
        is_converged
            Whether all criteria of convergence are met.
        is_stopped
            Whether `callback` has stopped the run.
        is_cut
            Whether `max_steps` has ended the last epoch before it was complete.
        """
        if self.problem:
            return NOT_FINITE
        if is_converged:
            return CONVERGED
        if is_stopped:
            return STOPPED
        if self.tolerance.is_stuck:
            return NO_IMPROVEMENT
        if is_cut or self.budget.is_used_up(nit, n_epochs):
            return BUDGET_USED_UP
        return None

    def message(self, status: int, nit: int) -> str:
        """Return `message` of a result after ``nit`` steps."""
        tolerance, unit = self.tolerance, self.unit
        done = "Optimization terminated successfully: "
        if tolerance.tol is not None:
            done += f"the loss has settled to tol={tolerance.tol:g} for {tolerance.patience} {unit}"
            done += "s and " if tolerance.patience > 1 else " and "
        _, largest, limit = self.judged
        is_small = largest <= limit
        gradient = f"max|g| is {largest:.3g}, gtol is {limit:.3g}"
        also = "" if math.isnan(limit) or is_small else f" At the last check, {gradient}."
        steps = "iterations" if unit == "iteration" else "steps"
        counted = steps if nit >= self.budget.max_steps else f"{unit}s"
        return {
            CONVERGED: f"{done}{gradient}.",
            BUDGET_USED_UP: f"Maximum number of {counted} has been reached.{also}",
            STOPPED: "Stopped by callback.",
            INTERRUPTED: "Interrupted.",
            NO_STEP: "The line search found no step that lowers the loss as the gradient "
            f"promises.{also}",
            NO_IMPROVEMENT: f"The loss has not improved by tol={tolerance.tol} for "
            f"{STUCK * tolerance.patience} {unit}s.{also}",
            NOT_FINITE: self.problem,
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


class Tolerance:
    """Decide whether the losses have settled, or have stopped improving.

    Attributes
    ----------
    best : list of float
        For each epoch, the least loss so far.
    near : int
        The number of consecutive epochs whose loss is within `tol` of the best so far, and has
        improved the best by at most `tol`.
    """

    def __init__(self, tol: float | None, patience: int | None, beta: float = 0.0) -> None:
        if tol is None and patience is not None:
            raise FastoptError(f"patience is {patience!r}; it must be None without tol")
        self.tol = None if tol is None else at_least_0("tol", tol)
        known = default_patience(beta) if patience is None else patience
        self.patience = Whole(1)("patience", known)
        self.best: list[float] = []
        self.near = self._stale = 0
        self._reference = math.inf  # the best loss when `_stale` was last 0

    def observe(self, epoch: int, loss: float) -> None:
        """Count an epoch with this loss, unless it was counted before."""
        if self.tol is None or epoch < len(self.best):
            return
        before = self.best[-1] if self.best else math.inf
        best = loss if loss < before else before
        self.best.append(best)
        needed = self.tol * max(1.0, abs(best))
        is_near = math.isfinite(before) and loss - best <= needed and before - best <= needed
        self.near = self.near + 1 if is_near else 0
        if best < self._reference and not self._reference - best <= needed:
            self._reference, self._stale = best, 0
        else:
            self._stale += 1

    @property
    def is_met(self) -> bool:
        """Whether the loss has settled.

        The last `patience` epochs are near the best, and the remaining decrease is at most `tol`.
        The remaining decrease is extrapolated as a geometric series from the last two windows of
        `patience` epochs, or of a tenth of all epochs if that is more.  This is repeated with
        windows of half the length, and so on; the largest result is used.
        """
        if self.tol is None or self.near < self.patience:
            return False
        scale = max(1.0, abs(self.best[-1]))
        return self._remaining(scale) <= self.tol * scale

    def _remaining(self, scale: float) -> float:
        """Return the extrapolated decrease of the loss; infinity if it does not slow down.

        Long windows detect slow oscillations.  Short windows detect a change of speed, for example
        after a decrease of the learning rate.
        """
        window = max(self.patience, len(self.best) // 10)
        if len(self.best) <= 2 * window:
            return math.inf
        largest = 0.0
        while window:
            now, then, start = (self.best[-1 - k * window] for k in (0, 1, 2))
            last, previous = then - now, start - then
            if last > ROUNDING * scale:
                if previous <= last:
                    return math.inf
                largest = max(largest, last * last / (previous - last))
            window //= 2
        return largest

    @property
    def is_stuck(self) -> bool:
        """Whether the best loss has not improved by `tol` for 10*patience epochs."""
        return self.tol is not None and self._stale >= STUCK * self.patience
