"""Schedules that are built from other schedules."""

# ruff: noqa: N801  (these classes are called like functions, and their repr looks like a call)

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from fastopt._checks import Whole, fraction
from fastopt.schedules.base import Schedule, blend, check_fields


@dataclass(frozen=True)
class warmup(Schedule):
    """Rise linearly to the first value of another schedule, then follow that schedule.

    With W = steps and s = start_factor,
    lr(t) = (s + (1 - s) * (t - 1)/W) * schedule(1) for t <= W and schedule(t - W) after that.

    Parameters
    ----------
    schedule : Schedule
        The schedule after the warmup. `lr`, `report` and the state are those of this schedule.
    steps : int, at least 1
    start_factor : float in [0, 1], optional
        Default 1/(W + 1), which makes the factor t/(W + 1), so that no step has the rate 0.

    Raises
    ------
    FastoptError, TypeError
        An argument of another type, or outside the range above.

    Notes
    -----
    PyTorch's SequentialLR of a LinearLR (whose start_factor is 1/3 by default) and `schedule`.
    Goyal et al. 2017, section 2.2.

    Examples
    --------
    >>> [warmup(constant(8.0), steps=3)(t) for t in range(1, 7)]
    [2.0, 4.0, 6.0, 8.0, 8.0, 8.0]
    """

    schedule: Schedule
    steps: int
    start_factor: float | None = None
    lr: float = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not isinstance(self.schedule, Schedule):
            raise TypeError(
                f"schedule is {self.schedule!r}; one of fastopt.schedules is needed "
                "(constant(lr) for a number)"
            )
        object.__setattr__(self, "lr", self.schedule.lr)
        check_fields(self, steps=Whole(1))
        if self.start_factor is None:
            object.__setattr__(self, "start_factor", 1.0 / (self.steps + 1))
        check_fields(self, start_factor=fraction)

    def _after(self, n: int) -> float:
        if n >= self.steps:
            return self.schedule(n - self.steps + 1)
        assert self.start_factor is not None
        return self.schedule(1) * blend(1.0, self.start_factor, n / self.steps)

    def report(self, metric: float) -> None:
        """Report the metric of an epoch to the wrapped schedule."""
        self.schedule.report(metric)

    def state_dict(self) -> dict[str, Any]:
        """Return the state of the wrapped schedule."""
        return self.schedule.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore the state of the wrapped schedule."""
        self.schedule.load_state_dict(state)
