"""The loop over the epochs and steps of a run of `minimize`."""

from __future__ import annotations

import math
from collections.abc import Callable

from scipy.optimize import OptimizeResult  # type: ignore[import-untyped]

from fastopt.training.ending import INTERRUPTED, NO_STEP, Criteria
from fastopt.training.interrupts import Interrupts
from fastopt.training.line_search import NoStepError
from fastopt.training.resuming import RunFile
from fastopt.training.state import RunState
from fastopt.training.steps import Batch, Steps

Callback = Callable[[OptimizeResult], object]


class Run:
    """The loop; it changes ``state``, and ``steps`` takes the steps."""

    def __init__(
        self,
        steps: Steps,
        state: RunState,
        criteria: Criteria,
        interrupts: Interrupts,
        file: RunFile | None,
    ) -> None:
        self.steps, self.state, self.criteria = steps, state, criteria
        self.interrupts, self.file = interrupts, file

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
            if self.state.batches is None:
                self.state.loss, self.state.grad = self.steps.evaluate(())
            self.interrupts.check()
        except KeyboardInterrupt:
            return INTERRUPTED
        return status

    def result(self) -> OptimizeResult:
        """Return the run so far; the arrays are not copied."""
        return OptimizeResult(self.state.result(), **self.steps.extras())

    def _epochs(self, watch: Callback | None) -> int:
        """Run epochs until a criterion is met; return the status."""
        state, criteria = self.state, self.criteria
        is_stopped = is_cut = False
        while True:
            status = criteria.status(
                state.nit,
                state.n_epochs,
                is_stopped=is_stopped,
                is_cut=is_cut,
                is_open=state.epoch_steps > 0,
            )
            if status is not None:
                return status
            try:
                is_cut = not self._epoch(criteria.budget.steps_left(state.nit, state.n_epochs))
            except NoStepError:
                return NO_STEP
            if not is_cut:
                criteria.observe(state.loss)
                if self.steps.report:
                    self.steps.report(state.loss)
                if self.file:
                    self.file.epoch_done()
            if watch is not None:
                is_stopped = bool(self.interrupts.deliver_during(watch, self.result()))

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
                loss, state.grad = self.steps.take(batch)
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
