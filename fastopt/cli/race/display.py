"""The display on a terminal during the race: a progress bar for each rule, or one for steps."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from time import monotonic
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from fastopt.cli.race.run import Run


def shown(steps: Iterator[int], total: int) -> Iterator[int]:
    """Yield the numbers of steps done; show them on stderr, if it is a terminal."""
    progress = Progress(
        TextColumn("step {task.completed:>3.0f}/{task.total:.0f}"),
        BarColumn(bar_width=None),
        console=Console(stderr=True),
        auto_refresh=False,  # as in Display
        disable=not sys.stderr.isatty(),
        transient=True,
        expand=True,
    )
    with progress:
        task = progress.add_task("", total=total)
        for done in steps:
            progress.update(task, completed=done, refresh=True)
            yield done


class Display:
    """Progress bars on stderr; nothing is printed if stderr is not a terminal."""

    def __init__(self, runs: list[Run], score_name: str) -> None:
        console = Console(stderr=True)
        self._is_wide = console.width >= 72
        longest = max(9, *(len(run.rule) for run in runs))
        rule, bar = TextColumn(f"{{task.fields[rule]:{longest}}}"), BarColumn(bar_width=None)
        epoch = TextColumn("epoch {task.completed:>3.0f}/{task.total:.0f}")
        state = TextColumn("{task.fields[state]:38}" if self._is_wide else "{task.fields[state]}")
        self._progress = Progress(
            *((rule, bar, epoch, state) if self._is_wide else (rule, epoch, state)),
            console=console,
            # A thread that redraws would compete with the training for the CPU.
            auto_refresh=False,
            disable=not sys.stderr.isatty(),
            transient=True,
            expand=True,
        )
        self._score_name = score_name
        self._drawn = 0.0
        self._tasks = {
            run.rule: self._progress.add_task("", total=run.epochs, rule=run.rule, state="")
            for run in runs
        }

    def __enter__(self) -> Display:
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._progress.stop()

    def show(self, run: Run) -> None:
        """Update the bar of a run."""
        state = f"loss {run.last.train_loss:<9.3g}"
        if self._is_wide:
            state += f" {self._score_name} {run.last.score:.3f}"
        self._progress.update(
            self._tasks[run.rule],
            completed=run.epochs_done,
            state="[red]diverged" if run.diverged else state,
        )
        if run.finished or monotonic() > self._drawn + 0.1:
            self._progress.refresh()
            self._drawn = monotonic()
