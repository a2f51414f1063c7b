"""The progress display on stderr."""

from __future__ import annotations

import math
import sys
import time

from scipy.optimize import OptimizeResult  # type: ignore[import-untyped]


class Line:
    """A line that is rewritten in a terminal; elsewhere, a new line every ten seconds.

    Parameters
    ----------
    epochs
        The number of epochs to come, or infinity if it is not known.
    unit
        The word for an epoch.
    """

    def __init__(self, epochs: float, unit: str = "epoch") -> None:
        self.unit = unit
        self.of = "" if epochs == math.inf else f"/{epochs}"
        self.terminal = sys.stderr.isatty()
        self.due = 0.0
        self.text = self.written = ""

    def __call__(self, state: OptimizeResult) -> None:
        """Show the last epoch, unless one was shown in the last 0.1 s (terminal) or 10 s."""
        history = state.history
        self.text = (
            f"{self.unit} {len(history['loss'])}{self.of}  loss {state.fun:.6g}  "
            f"lr {history['lr'][-1]:.3g}  {history['seconds'][-1]:.1f} s"
        )
        if time.monotonic() >= self.due:
            self._write()

    def _write(self) -> None:
        print(
            f"\r{self.text}\x1b[K" if self.terminal else self.text,
            end="" if self.terminal else "\n",
            file=sys.stderr,
            flush=True,
        )
        self.written = self.text
        self.due = time.monotonic() + (0.1 if self.terminal else 10.0)

    def close(self) -> None:
        """Show the last epoch and end the line."""
        if self.text != self.written:
            self._write()
        if self.terminal:
            print(file=sys.stderr)
