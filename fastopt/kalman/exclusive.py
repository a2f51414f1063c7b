"""Restrict a filter to one thread at a time: a call in another thread raises an error."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any, TypeVar

from fastopt._errors import FastoptError

Method = TypeVar("Method", bound=Callable[..., Any])


class OneThread:
    """A reentrant context manager for one thread at a time; in other threads it raises an error."""

    def __init__(self) -> None:
        self._lock = threading.RLock()

    def __enter__(self) -> None:
        if not self._lock.acquire(blocking=False):
            raise FastoptError(
                "a call of this filter is running in another thread; one thread at a time may use "
                "a filter"
            )

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._lock.release()


def exclusive(method: Method) -> Method:
    """Return a method that raises an error while another thread runs an exclusive method."""

    @functools.wraps(method)
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        with self._one_thread:
            return method(self, *args, **kwargs)

    return call  # type: ignore[return-value]
