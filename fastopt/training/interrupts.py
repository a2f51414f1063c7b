"""When KeyboardInterrupt is delivered during a run."""

from __future__ import annotations

import signal
from collections.abc import Callable
from contextlib import suppress
from types import FrameType
from typing import Any, Self


class Interrupts:
    """Hold KeyboardInterrupt back during a step and deliver it during the user's functions.

    A context manager.  It replaces only Python's default handler of SIGINT, and only in the main
    thread; another handler stays in place.
    """

    def __init__(self) -> None:
        self.is_held_back = True
        self.is_pending = False
        self.is_installed = False

    def __enter__(self) -> Self:
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            with suppress(ValueError):  # raised in other threads, which receive no signals
                signal.signal(signal.SIGINT, self._handle)
                self.is_installed = True
        return self

    def __exit__(self, *_: object) -> None:
        # The user's function may have installed another handler, which stays.
        if self.is_installed and signal.getsignal(signal.SIGINT) == self._handle:
            signal.signal(signal.SIGINT, signal.default_int_handler)

    def _handle(self, _number: int, _frame: FrameType | None) -> None:
        self.is_pending = True
        if not self.is_held_back:
            raise KeyboardInterrupt

    def check(self) -> None:
        """Raise KeyboardInterrupt if a signal has arrived."""
        if self.is_pending:
            raise KeyboardInterrupt

    def deliver_during(self, call: Callable[..., Any], *args: Any) -> Any:
        """Return ``call(*args)``, during which KeyboardInterrupt is raised at once."""
        try:
            self.is_held_back = False
            self.check()
            return call(*args)
        finally:
            self.is_held_back = True
