"""The loop over the epochs and steps of a run of `minimize`."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

from scipy.optimize import OptimizeResult  # type: ignore[import-untyped]

from fastopt.optimizers.base.state.structure import each
from fastopt.training import looking
from fastopt.training.best import Best, assign
from fastopt.training.ending import CONVERGED, INTERRUPTED, NO_STEP, Criteria
from fastopt.training.interrupts import Interrupts
from fastopt.training.line_search import NoStepError
from fastopt.training.resuming import RunFile
from fastopt.training.state import RunState
from fastopt.training.steps import Batch, Point, Steps

Callback = Callable[[OptimizeResult], object]


class Run:
    """The loop over epochs and steps; it changes ``state``, and ``steps`` takes the steps.

    Without data, and with full batches if a criterion or ``restore_best`` needs it, loss and
    gradient are evaluated before each step.  If they meet the criteria, the run ends; otherwise the
    step uses them.  In all other cases, the losses of the epochs are compared with the criteria,
    and the gradient over all rows is evaluated only when they meet `tol`.

    If the rule averages the parameters, x is the average: criteria, callbacks, ``restore_best`` and
    the result see the average.  Only steps take their gradients at the parameters.
    """

    def __init__(
        self,
        steps: Steps,
        state: RunState,
        criteria: Criteria,
        interrupts: Interrupts,
        file: RunFile | None,
        best: Best | None,
        on_nonfinite: str,
    ) -> None:
        self.steps, self.state, self.criteria = steps, state, criteria
        self.interrupts, self.file, self.best = interrupts, file, best
        self.on_nonfinite = on_nonfinite
        data = state.batches
        is_full = data is not None and data.batch_size is None
        is_judged = criteria.has_limit or best is not None
        # Whether each epoch is one evaluation, of which x must be judged.
        self.judges_x = data is None or (is_full and is_judged)
        self.sees_x = steps.sees_x and self.judges_x
        self._point: Point | None = None  # loss and gradients at the current parameters

    def go(self, watch: Callback | None) -> int:
        """Take steps until the run ends; return the status of `ending`.

        ``watch`` is called after each epoch; a true value stops the run.  The checkpoint is
        written however the run ends.
        """
        try:
            try:
                status = self._epochs(watch)
            finally:
                if self.file:
                    self.file.write()
            if self._point is None and self.judges_x:
                self._point = self._evaluate()
            self.interrupts.check()
        except KeyboardInterrupt:
            status = INTERRUPTED
        else:
            if self._point is not None:
                self.state.loss, self.state.grad = self._point
        self._move_to_x()
        if self.best is not None and status != CONVERGED:
            self.best.restore(self.state)
        return status

    def result(self) -> OptimizeResult:
        """Return the run so far; the arrays are not copied."""
        return OptimizeResult(self.state.result(), **self.steps.extras())

    def _epochs(self, watch: Callback | None) -> int:
        """Run epochs until a criterion is met; return the status."""
        state, criteria = self.state, self.criteria
        is_stopped = is_cut = False
        while True:
            is_open = state.epoch_steps > 0 and not is_cut  # resumed within an epoch
            if not is_open and (status := self._status(is_stopped, is_cut)) is not None:
                return status
            try:
                is_cut = not self._epoch(criteria.budget.steps_left(state.nit, state.n_epochs))
            except NoStepError:
                return CONVERGED if self._is_small(self._point) else NO_STEP
            self._point = None
            if not is_cut:
                criteria.observe(state.n_epochs - 1, state.loss)
                if self.best is not None and not self.sees_x:
                    found = self._evaluate() if self.judges_x else (state.loss, state.grad)
                    with self._at_x():
                        self.best.observe(state.x, *found)
                if self.steps.report:
                    self.steps.report(state.loss)
                if self.file:
                    self.file.epoch_done()
            if watch is not None:
                with self._at_x():
                    is_stopped = bool(self.interrupts.deliver_during(watch, self.result()))

    def _status(self, is_stopped: bool, is_cut: bool) -> int | None:
        """Return why the run ends between epochs, or None if it continues."""
        state, criteria = self.state, self.criteria
        criteria.problem = self._problem()
        is_converged = False
        if not criteria.problem and not is_cut:
            is_converged = self._sees_convergence() if self.sees_x else self._looks_converged()
        status = criteria.status(
            state.nit,
            state.n_epochs,
            is_converged=is_converged,
            is_stopped=is_stopped,
            is_cut=is_cut,
        )
        if status is not None and criteria.has_limit and self.sees_x:
            self._is_small(self._point)  # for the message
        return status

    def _problem(self) -> str:
        """Return a sentence that says what is not finite after the last epoch, or ""."""
        state, unit = self.state, self.criteria.unit
        epoch = len(state.history["loss"])
        if epoch and not math.isfinite(state.loss) and self.on_nonfinite != "skip":
            return f"The loss of {unit} {epoch} is not finite: {state.loss}."
        if name := looking.not_finite(state.x):
            return f"{name} is not finite {f'after {unit} {epoch}' if epoch else 'at the start'}."
        return ""

    def _sees_convergence(self) -> bool:
        """Evaluate loss and gradient at the parameters; return whether they meet the criteria."""
        state, criteria = self.state, self.criteria
        state.start_clock()
        self._point = self._evaluate()
        state.read_clock()
        loss, grads = self._point
        if not math.isfinite(loss) and self.on_nonfinite == "propagate":
            after = f"after {criteria.unit} {state.n_epochs}" if state.n_epochs else "at x0"
            criteria.problem = f"The loss is not finite {after}: {loss}."
            return False
        criteria.observe(state.n_epochs, loss)
        if self.best is not None:
            self.best.observe(state.x, loss, grads)
        return criteria.is_due and self._is_small(self._point) and self._is_near_best(loss)

    def _evaluate(self) -> Point:
        """Return loss and gradients at x, of the only batch."""
        data = self.state.batches
        return self.steps.evaluate(() if data is None else next(looking.in_order(data)))

    def _at_x(self) -> AbstractContextManager[None]:
        """Return a block in which the parameters are x."""
        return self.state.optimizer.averaged() if self.steps.averages else nullcontext()

    def _move_to_x(self) -> None:
        """Replace the parameters by x; the run cannot continue then."""
        if self.steps.averages:
            with self._at_x():
                x = each(lambda _, w: w.copy(), "x", self.state.x)
            assign(self.state.x, x)

    def _is_small(self, point: Point | None) -> bool:
        """Return whether the gradient at a point meets its limit; record both for the message."""
        if point is None:
            return False
        loss, grads = point
        largest = looking.largest(self.steps.dense(grads))
        return self.criteria.judge(self.state.n_epochs, loss, largest)

    def _is_near_best(self, loss: float) -> bool:
        """Return whether a loss is within `tol` of the best so far; True without `best`."""
        if self.best is None:
            return True
        tol = self.criteria.tolerance.tol or 0.0
        return loss <= self.best.loss + tol * max(1.0, abs(self.best.loss))

    def _looks_converged(self) -> bool:
        """Return whether the epochs' losses and the gradient over all rows meet the criteria."""
        state, criteria = self.state, self.criteria
        if not (criteria.is_due and state.n_epochs):
            return False
        if criteria.tolerance.tol is None and state.grad is not None:
            last = looking.largest(self.steps.dense(state.grad))
            if not last <= criteria.limit(state.loss):
                return False
        state.start_clock()
        loss, grads = looking.over_all_rows(self.steps, state.batches)
        state.read_clock()
        if criteria.judge(state.n_epochs, loss, looking.largest(grads)):
            self._point = loss, self.steps.in_structure(grads)
            return True
        criteria.look_later()
        return False

    def _epoch(self, max_steps: float) -> bool:
        """Take at most ``max_steps`` steps of the current epoch; return whether it is complete."""
        state, data = self.state, self.state.batches
        stream = iter([()]) if data is None else iter(data)
        before = 0 if data is None else data.epoch * len(data) + data.position
        taken = 0
        state.start_clock()
        try:
            while taken < max_steps and not state.has_last_step:
                batch = self.interrupts.deliver_during(next, stream)
                is_first = state.epoch_steps == 0
                lr = self.steps.lr if is_first and not self.steps.finds_lr else math.nan
                loss, state.grad = self.steps.take(batch, self._point)
                if is_first and self.steps.finds_lr:
                    lr = self.steps.lr
                taken += 1
                state.nit += 1
                state.add_step(loss, lr, self._weight(batch))
                state.read_clock()
                if self.file:
                    self.file.step_done()
        finally:
            state.read_clock()
            if data is not None:  # a batch whose step was not taken counts as not used
                data.epoch, data.position = divmod(before + taken, len(data))
            state.record_epoch()
        if is_complete := state.has_last_step:
            state.complete_epoch()
        return is_complete

    def _weight(self, batch: Batch) -> float:
        """Return the weight of a batch in the mean loss: its rows divided by those of a full batch.

        Without data it is 1.
        """
        data = self.state.batches
        if data is None:
            return 1.0
        return len(batch[0]) / min(data.batch_size or data.n_rows, data.n_rows)
