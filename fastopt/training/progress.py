"""A line of progress on stderr."""

from __future__ import annotations

import sys
import time

from scipy.optimize import OptimizeResult  # type: ignore[import-untyped]


class Line:
    """A line that is rewritten, or in a file one every ten seconds."""

    def __init__(self, epochs: int | None) -> None:
        self.of = f"/{epochs}" if epochs else ""
        self.terminal = sys.stderr.isatty()
        self.due = 0.0
        self.text = self.written = ""

    def __call__(self, state: OptimizeResult) -> None:
        history = state.history
        self.text = (
            f"epoch {len(history['loss'])}{self.of}  loss {state.fun:.6g}  "
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
        """Show the last state, and leave it."""
        if self.text != self.written:
            self._write()
        if self.terminal:
            print(file=sys.stderr)
