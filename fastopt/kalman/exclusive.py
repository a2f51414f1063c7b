"""How a filter is kept to one thread at a time: a call in another thread is refused."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any, TypeVar

from fastopt._errors import FastoptError

Method = TypeVar("Method", bound=Callable[..., Any])


class OneThread:
    """A context that one thread may be in, as often as it likes; others raise an error."""

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
    """Return a method that refuses to run while another thread is in one of these."""

    @functools.wraps(method)
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        with self._one_thread:
            return method(self, *args, **kwargs)

    return call  # type: ignore[return-value]
