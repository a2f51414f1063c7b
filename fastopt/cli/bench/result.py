"""The times of one rule, and the figures that follow from them."""

from __future__ import annotations

import statistics
from dataclasses import dataclass

import numpy as np

from fastopt.cli.text import counted

MEANING = (
    "The memory limit is the time in which the fastest of six plain loops reads and writes the "
    "bytes of the step with as many threads, so a share above 1 is noise."
)


@dataclass(frozen=True)
class Result:
    """The times of a rule's step and of the fastest loop that moves its bytes."""

    rule: str
    threads: int
    n_bytes: int
    rounds: list[tuple[float, float]]  # seconds of the loop, and of the step after it

    @property
    def seconds(self) -> float:
        """The median time of a step."""
        return statistics.median(step for _, step in self.rounds)

    @property
    def limit_seconds(self) -> float:
        """The median time of the loop."""
        return statistics.median(loop for loop, _ in self.rounds)

    @property
    def shares(self) -> tuple[float, float, float]:
        """The quartiles over rounds of the loop's time divided by the step's."""
        low, median, high = np.percentile([loop / step for loop, step in self.rounds], (25, 50, 75))
        return float(low), float(median), float(high)

    @property
    def rate(self) -> float:
        """Gigabytes per second of a step."""
        return self.n_bytes / self.seconds / 1e9

    @property
    def limit_rate(self) -> float:
        """Gigabytes per second of the loop."""
        return self.n_bytes / self.limit_seconds / 1e9


def thread_counts(results: list[Result]) -> list[int]:
    """Return the numbers of threads in the order of their first result."""
    return list(dict.fromkeys(result.threads for result in results))


def memory_limit(results: list[Result], threads: int) -> str:
    """Return the median rate of the loop with `threads` threads, as text."""
    rates = [result.limit_rate for result in results if result.threads == threads]
    return f"{counted(threads, 'thread')}: {statistics.median(rates):.1f} GB/s"
