"""Ctrl-C during a run: when it is heard."""

from __future__ import annotations

import signal
from collections.abc import Callable
from contextlib import suppress
from types import FrameType
from typing import Any, Self


class Interrupts:
    """Ctrl-C: at once while a function of the user's runs, else held until the step is whole."""

    def __init__(self) -> None:
        self.held = True
        self.came = False
        self.installed = False

    def __enter__(self) -> Self:
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            with suppress(ValueError):  # only the main thread may, and only it gets them
                signal.signal(signal.SIGINT, self._handle)
                self.installed = True
        return self

    def __exit__(self, *_: object) -> None:
        if self.installed:
            signal.signal(signal.SIGINT, signal.default_int_handler)

    def _handle(self, _number: int, _frame: FrameType | None) -> None:
        self.came = True
        if not self.held:
            raise KeyboardInterrupt

    def check(self) -> None:
        """Raise what was held."""
        if self.came:
            raise KeyboardInterrupt

    def let(self, call: Callable[..., Any], *args: Any) -> Any:
        """Call a function that may be interrupted."""
        try:
            self.held = False
            self.check()
            return call(*args)
        finally:
            self.held = True
