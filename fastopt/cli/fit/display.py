"""The display on a terminal during a fit: how many rows have been read in which pass."""

from __future__ import annotations

import sys
from time import monotonic
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

_PATIENCE = 0.5  # seconds before anything is shown


class Display:
    """A progress bar on stderr; nothing is printed if stderr is not a terminal, or for short fits.

    Parameters
    ----------
    n_rows : int
    """

    def __init__(self, n_rows: int) -> None:
        self._progress = Progress(
            TextColumn("pass {task.fields[number]} over the rows"),
            BarColumn(bar_width=None),
            TextColumn("{task.completed:,.0f}/{task.total:,.0f}"),
            TimeElapsedColumn(),
            console=Console(stderr=True),
            # A thread that redraws would compete with the fit for the CPU.
            auto_refresh=False,
            disable=not sys.stderr.isatty(),
            transient=True,
            expand=True,
        )
        self._task = self._progress.add_task("", total=n_rows, number=0)
        self._number, self._done = 0, 0
        self._drawn = monotonic() - 0.1 + _PATIENCE
        self._is_shown = False

    def __enter__(self) -> Display:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._is_shown:
            self._progress.stop()

    def report(self, n: int) -> None:
        """Count rows that were read; 0 begins a pass."""
        if n == 0:
            self._number, self._done = self._number + 1, 0
        self._done += n
        if monotonic() < self._drawn + 0.1:
            return
        if not self._is_shown:
            self._is_shown = True
            self._progress.start()
        self._progress.update(self._task, completed=self._done, number=self._number)
        self._progress.refresh()
        self._drawn = monotonic()
