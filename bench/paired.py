"""Timing two calls in turn, so that a machine's drift meets both."""

import statistics
import time
from collections.abc import Callable


def seconds(call: Callable[[], object], times: int) -> float:
    """Return the mean duration of a call, over `times` calls."""
    start = time.perf_counter()
    for _ in range(times):
        call()
    return (time.perf_counter() - start) / times


def ratio(a: Callable[[], object], b: Callable[[], object], rounds: int, times: int) -> float:
    """Return the median of a's time over b's, over rounds in which each runs `times` times."""
    a(), b(), a(), b()
    return statistics.median(seconds(a, times) / seconds(b, times) for _ in range(rounds))
