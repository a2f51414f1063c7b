"""What is seen while the race is on: a bar for each rule, on a terminal only."""

from __future__ import annotations

import sys
from time import monotonic
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from fastopt.cli.rivals import Rival


class Display:
    """Live bars on stderr; where that is no terminal, nothing at all."""

    def __init__(self, rivals: list[Rival], score_name: str) -> None:
        self._progress = Progress(
            TextColumn("{task.fields[rule]:9}"),
            BarColumn(bar_width=None),
            TextColumn("epoch {task.completed:>3.0f}/{task.total:.0f}"),
            TextColumn("{task.fields[state]:38}"),
            console=Console(stderr=True),
            # A thread that redraws would compete with the rules for the processor.
            auto_refresh=False,
            disable=not sys.stderr.isatty(),
            transient=True,
            expand=True,
        )
        self._score_name = score_name
        self._drawn = 0.0
        self._tasks = {
            rival.rule: self._progress.add_task("", total=rival.epochs, rule=rival.rule, state="")
            for rival in rivals
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

    def show(self, rival: Rival) -> None:
        """Draw where a rival stands."""
        state = f"loss {rival.last.train_loss:<9.3g} {self._score_name} {rival.last.score:.3f}"
        self._progress.update(
            self._tasks[rival.rule],
            completed=rival.epochs_done,
            state="[red]diverged" if rival.diverged else state,
        )
        if rival.finished or monotonic() > self._drawn + 0.1:
            self._progress.refresh()
            self._drawn = monotonic()
