"""Schedules that are constant between given steps, and sequences of schedules."""

# ruff: noqa: N801  (these classes are called like functions, and their repr looks like a call)

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from fastopt._checks import at_least_0
from fastopt._errors import FastoptError
from fastopt.schedules.base import Increasing, Schedule, check_fields


@dataclass(frozen=True)
class multi_step(Schedule):
    """Multiply by gamma after each of the given numbers of steps.

    lr(t) = lr * gamma^k, where k is the number of milestones that are at most t - 1.

    Parameters
    ----------
    lr : float, at least 0
    milestones : sequence of int, at least 1 and increasing
    gamma : float, at least 0

    Raises
    ------
    FastoptError, TypeError
        An argument of another type, or outside the range above.

    Notes
    -----
    PyTorch's MultiStepLR; optax.piecewise_constant_schedule with one scale for all boundaries.

    Examples
    --------
    >>> [multi_step(8.0, milestones=[2, 3], gamma=0.5)(t) for t in range(1, 6)]
    [8.0, 8.0, 4.0, 2.0, 2.0]
    """

    lr: float
    milestones: Sequence[int]
    gamma: float = 0.1

    def __post_init__(self) -> None:
        check_fields(self, lr=at_least_0, milestones=Increasing(), gamma=at_least_0)

    def _after(self, n: int) -> float:
        return float(self.lr * self.gamma ** bisect_right(self.milestones, n))


@dataclass(frozen=True)
class piecewise_constant(Schedule):
    """Use the learning rates in a list, one after the other.

    lr(t) = values[k], where k is the number of boundaries that are at most t - 1.

    Parameters
    ----------
    boundaries : sequence of int, at least 1 and increasing
        The numbers of steps after which the next value is used.
    values : sequence of float, at least 0
        One more than there are boundaries. The attribute `lr` is the greatest of them.

    Raises
    ------
    FastoptError, TypeError
        An argument of another type, or outside the range above.

    Notes
    -----
    optax.piecewise_constant_schedule. Keras's PiecewiseConstantDecay changes the value a step
    later: its boundaries are these minus 1.

    Examples
    --------
    >>> [piecewise_constant([2, 3], [8.0, 5.0, 1.0])(t) for t in range(1, 6)]
    [8.0, 8.0, 5.0, 1.0, 1.0]
    """

    boundaries: Sequence[int]
    values: Sequence[float]
    lr: float = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        check_fields(self, boundaries=Increasing())
        values = _as_many("values", self.values, self.boundaries)
        values = tuple(at_least_0(f"values[{i}]", value) for i, value in enumerate(values))
        object.__setattr__(self, "values", values)
        object.__setattr__(self, "lr", max(values))

    def _after(self, n: int) -> float:
        return self.values[bisect_right(self.boundaries, n)]


@dataclass(frozen=True)
class join(Schedule):
    """Follow several schedules, one after the other.

    lr(t) = schedules[k](t - boundaries[k - 1]), where k is the number of boundaries that are at
    most t - 1; each schedule begins with its own step 1.

    Parameters
    ----------
    schedules : sequence of Schedule
        One more than there are boundaries. The attribute `lr` is the greatest of theirs.
    boundaries : sequence of int, at least 1 and increasing
        The numbers of steps, from the start, after which the next schedule begins.

    Raises
    ------
    FastoptError, TypeError
        An argument of another type, or outside the range above.

    Notes
    -----
    optax.join_schedules, and PyTorch's SequentialLR. `report` reports to all schedules.

    Examples
    --------
    >>> schedule = join([constant(8.0), polynomial(4.0, total_steps=2)], boundaries=[2])
    >>> [schedule(t) for t in range(1, 7)]
    [8.0, 8.0, 4.0, 2.0, 0.0, 0.0]
    """

    schedules: Sequence[Schedule]
    boundaries: Sequence[int]
    lr: float = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        check_fields(self, boundaries=Increasing())
        schedules = tuple(_as_many("schedules", self.schedules, self.boundaries))
        for i, schedule in enumerate(schedules):
            if not isinstance(schedule, Schedule):
                raise TypeError(
                    f"schedules[{i}] is {schedule!r}; one of fastopt.schedules is needed "
                    "(constant(lr) for a number)"
                )
        object.__setattr__(self, "schedules", schedules)
        object.__setattr__(self, "lr", max(schedule.lr for schedule in schedules))

    def _after(self, n: int) -> float:
        k = bisect_right(self.boundaries, n)
        start = self.boundaries[k - 1] if k else 0
        return self.schedules[k](n - start + 1)

    def report(self, metric: float) -> None:
        """Report the metric of an epoch to all schedules."""
        for schedule in self.schedules:
            schedule.report(metric)

    def state_dict(self) -> dict[str, Any]:
        """Return the states of all schedules; a name begins with the index of its schedule."""
        return {
            f"{i}.{name}": value
            for i, schedule in enumerate(self.schedules)
            for name, value in schedule.state_dict().items()
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore a state that `state_dict` returned; a damaged state changes nothing."""
        if not self.state_dict():
            super().load_state_dict(state)
        states: list[dict[str, Any]] = [{} for _ in self.schedules]
        for name, value in state.items():
            i, dot, rest = name.partition(".")
            if not (dot and i.isdecimal() and int(i) < len(states)):
                raise FastoptError(
                    f"the state has the key {name!r}; allowed: {list(self.state_dict())}"
                )
            states[int(i)][rest] = value
        before = [schedule.state_dict() for schedule in self.schedules]
        try:
            for schedule, own in zip(self.schedules, states, strict=True):
                schedule.load_state_dict(own)
        except BaseException:
            for schedule, own in zip(self.schedules, before, strict=True):
                schedule.load_state_dict(own)
            raise


def _as_many(name: str, given: object, boundaries: Sequence[int]) -> Sequence[Any]:
    """Return a sequence after a check that it has one element more than there are boundaries."""
    if not isinstance(given, Sequence) or isinstance(given, str):
        raise TypeError(f"{name} is {given!r}; a sequence is needed")
    if len(given) != len(boundaries) + 1:
        raise FastoptError(
            f"{name} has {len(given)} elements; {len(boundaries) + 1} are needed, one more than "
            "there are boundaries"
        )
    return given
