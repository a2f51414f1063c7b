"""What every schedule has: the class `Schedule`, the check of its arguments, and interpolation."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from fastopt._checks import Check, Real, Whole
from fastopt._errors import FastoptError


class Schedule:
    """Base class of all schedules.

    Attributes
    ----------
    lr : float
        The base (peak) learning rate; `decoupled_weight_decay="schedule_only"` divides by it.
    """

    lr: float

    def __call__(self, step: int) -> float:
        """Return the learning rate of step number `step`, counted from 1."""
        if step < 1:
            raise FastoptError(f"step is {step!r}; allowed: 1, the first step, or more")
        try:
            lr = self._after(step - 1)
        except OverflowError:
            lr = math.inf
        if lr == math.inf:
            raise FastoptError(f"the learning rate of step {step:,} is infinite: {self!r}")
        return lr

    def _after(self, n: int, /) -> float:
        """Return the learning rate of the step that follows n = t - 1 steps."""
        raise NotImplementedError

    def report(self, metric: float) -> None:
        """Receive the metric of an epoch. Only `ReduceOnPlateau` uses it; others ignore it.

        Parameters
        ----------
        metric : float
        """

    def state_dict(self) -> dict[str, Any]:
        """Return the state that a checkpoint must contain in addition to the arguments.

        It is empty for all schedules except `ReduceOnPlateau`, and `warmup` and `join` of one.

        Returns
        -------
        dict
            Numbers by name.
        """
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore a state that `state_dict` returned.

        Parameters
        ----------
        state : dict
            As returned by `state_dict`.

        Raises
        ------
        FastoptError, TypeError
            A damaged state, or the state of another kind of schedule. The schedule is unchanged.
        """
        if state:
            raise FastoptError(f"the state has the keys {list(state)}; {self!r} has no state")


def check_fields(schedule: Schedule, **checks: Check) -> None:
    """Replace each named field of `schedule` by its checked value, or raise an error."""
    for name, check in checks.items():
        object.__setattr__(schedule, name, check(name, getattr(schedule, name)))


class Increasing:
    """A sequence of integers of at least 1, each greater than the one before, as a tuple."""

    def __call__(self, name: str, value: object) -> tuple[int, ...]:
        if not isinstance(value, Sequence) or isinstance(value, str):
            raise TypeError(f"{name} is {value!r}; a sequence of whole numbers is needed")
        steps = tuple(Whole(1)(f"{name}[{i}]", step) for i, step in enumerate(value))
        if any(a >= b for a, b in pairwise(steps)):
            raise FastoptError(f"{name} is {value!r}; increasing numbers are needed")
        return steps


def whole_or_real(name: str, value: object) -> float:
    """Return a finite number of at least 1; an int if it is whole, for exact arithmetic."""
    number = Real(low=1.0)(name, value)
    return int(number) if number.is_integer() else number


def blend(start: float, stop: float, weight: float) -> float:
    """Return the mean of `start` and `stop`: exactly `start` for weight 1, `stop` for weight 0."""
    return weight * start + (1.0 - weight) * stop


def half_cosine(done: float) -> float:
    """Return the weight that falls from 1 to 0 along half a cosine as `done` rises from 0 to 1."""
    return 0.5 * (1.0 + math.cos(math.pi * done))
