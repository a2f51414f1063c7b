"""Schedules that rise and fall."""

# ruff: noqa: N801  (these classes are called like functions, and their repr looks like a call)

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from fastopt._checks import Choice, Real, Whole, at_least_0, decay_rate
from fastopt.schedules.base import Schedule, blend, check_fields, half_cosine


@dataclass(frozen=True)
class cosine_restarts(Schedule):
    """Repeat the cosine decay; each cycle is `cycle_mult` times as long as the one before.

    After n steps of a cycle of T steps, with a = (1 + cos(pi * n/T))/2,
    lr(t) = a*lr + (1 - a)*lr_min. T is first_cycle * cycle_mult^i in cycle i = 0, 1, ...
    The step at which a cycle would reach lr_min is the first of the next cycle, at lr.

    Parameters
    ----------
    lr : float, at least 0
    first_cycle : int, at least 1
        Length of the first cycle, PyTorch's T_0.
    cycle_mult : int, at least 1
        PyTorch's T_mult.
    lr_min : float in [0, lr]

    Raises
    ------
    FastoptError, TypeError
        An argument of another type, or outside the range above.

    Notes
    -----
    PyTorch's CosineAnnealingWarmRestarts; Loshchilov, Hutter 2017, equation 5.

    Examples
    --------
    >>> [round(cosine_restarts(8.0, first_cycle=2, cycle_mult=2)(t), 3) for t in range(1, 8)]
    [8.0, 4.0, 8.0, 6.828, 4.0, 1.172, 8.0]
    """

    lr: float
    first_cycle: int
    cycle_mult: int = 1
    lr_min: float = 0.0

    def __post_init__(self) -> None:
        check_fields(self, lr=at_least_0, first_cycle=Whole(1), cycle_mult=Whole(1))
        check_fields(self, lr_min=Real(0.0, self.lr))

    def _after(self, n: int) -> float:
        length = self.first_cycle
        if self.cycle_mult == 1:
            n %= length
        # Exact integers: a rounded logarithm to the base cycle_mult could miss the end of a cycle.
        while n >= length:
            n -= length
            length *= self.cycle_mult
        return blend(self.lr, self.lr_min, half_cosine(n / length))


@dataclass(frozen=True)
class one_cycle(Schedule):
    """Rise to lr, then decay to a value near 0 over more steps ("super-convergence").

    With T = total_steps it rises from lr/div_factor at t = 1 to lr at t = pct_start*T and falls
    to lr/(div_factor*final_div_factor) at t = T. At the fraction s of the way from a to b the
    value is (a + b)/2 + (a - b)/2 * cos(pi*s) for "cos" and a + (b - a)*s for "linear".

    Parameters
    ----------
    lr : float, at least 0
        The peak, PyTorch's max_lr. If pct_start*T is not a whole number, no step has this rate.
    total_steps : int, at least 2
    pct_start : float in [0, 1)
        The fraction of the steps in which the learning rate rises.
    anneal_strategy : "cos" or "linear"
    div_factor, final_div_factor : float, at least 1
        The peak divided by the first value, and the first value divided by the last.

    Raises
    ------
    FastoptError, TypeError
        An argument of another type, or outside the range above.

    Notes
    -----
    PyTorch's OneCycleLR without `three_phase` and without cycling the momentum. After
    total_steps the last value is kept, where PyTorch raises an error. Smith, Topin 2018.

    Examples
    --------
    >>> schedule = one_cycle(1.0, total_steps=10, anneal_strategy="linear")
    >>> [round(schedule(t), 3) for t in (1, 2, 3, 6, 9, 10, 11)]
    [0.04, 0.52, 1.0, 0.571, 0.143, 0.0, 0.0]
    """

    lr: float
    total_steps: int
    pct_start: float = 0.3
    anneal_strategy: Literal["cos", "linear"] = "cos"
    div_factor: float = 25.0
    final_div_factor: float = 1e4

    def __post_init__(self) -> None:
        check_fields(
            self,
            lr=at_least_0,
            total_steps=Whole(2),
            pct_start=decay_rate,
            anneal_strategy=Choice(("cos", "linear")),
            div_factor=Real(low=1.0),
            final_div_factor=Real(low=1.0),
        )

    def _after(self, n: int) -> float:
        first = self.lr / self.div_factor
        end = self.total_steps - 1
        peak = self.pct_start * self.total_steps - 1.0
        n = min(n, end)
        if n < peak:
            done, start, stop = n / peak, first, self.lr
        else:
            done = (n - peak) / (end - peak)
            start, stop = self.lr, first / self.final_div_factor
        weight = half_cosine(done) if self.anneal_strategy == "cos" else 1.0 - done
        return blend(start, stop, weight)
