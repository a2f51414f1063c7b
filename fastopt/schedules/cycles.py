"""Schedules that rise and fall."""

# ruff: noqa: N801  (these classes are called like functions, and their repr looks like a call)

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from fastopt._checks import Choice, Real, Whole, at_least_0, decay_rate, fraction
from fastopt.schedules.base import Schedule, blend, check_fields, half_cosine, whole_or_real


@dataclass(frozen=True)
class cosine_restarts(Schedule):
    """Repeat the cosine decay; each cycle is `cycle_mult` times as long as the one before.

    After n steps of a cycle of T steps, with a = (1 + cos(pi * n/T))/2 * peak_mult^i,
    lr(t) = a*lr + (1 - a)*lr_min. T is first_cycle * cycle_mult^i in cycle i = 0, 1, ...
    The step at which a cycle would reach lr_min is the first of the next cycle.

    Parameters
    ----------
    lr : float, at least 0
    first_cycle : int, at least 1
        Length of the first cycle, PyTorch's T_0.
    cycle_mult : float, at least 1
        PyTorch's T_mult, Keras's t_mul. If it is not an integer, cycles may begin between steps.
    lr_min : float in [0, lr]
    peak_mult : float, at least 0
        The height of each cycle above lr_min, divided by that of the one before; Keras's m_mul.

    Raises
    ------
    FastoptError, TypeError
        An argument of another type, or outside the range above.

    Notes
    -----
    PyTorch's CosineAnnealingWarmRestarts, and Keras's CosineDecayRestarts with its alpha equal to
    lr_min/lr. Loshchilov, Hutter 2017, equation 5.

    Examples
    --------
    >>> [round(cosine_restarts(8.0, first_cycle=2, cycle_mult=2)(t), 3) for t in range(1, 8)]
    [8.0, 4.0, 8.0, 6.828, 4.0, 1.172, 8.0]
    """

    lr: float
    first_cycle: int
    cycle_mult: float = 1
    lr_min: float = 0.0
    peak_mult: float = 1.0

    def __post_init__(self) -> None:
        check_fields(self, lr=at_least_0, first_cycle=Whole(1), cycle_mult=whole_or_real)
        check_fields(self, lr_min=Real(0.0, self.lr), peak_mult=at_least_0)

    def _after(self, n: int) -> float:
        cycle, done = self._position(n)
        # Multiplying a weight of 1 or 0 is exact, so both ends of a cycle are exact.
        return blend(self.lr, self.lr_min, half_cosine(done) * self.peak_mult**cycle)

    def _position(self, n: int) -> tuple[int, float]:
        """Return the number of completed cycles, and the completed fraction of the current one."""
        first, mult = self.first_cycle, self.cycle_mult
        if mult == 1:
            return n // first, n % first / first
        cycle = 0
        if isinstance(mult, int):
            # Exact integers: a rounded logarithm to the base mult could miss the end of a cycle.
            length = first
            while n >= length:
                n -= length
                length *= mult
                cycle += 1
            return cycle, n / length
        rate = math.log(mult)

        def start(cycle: int) -> float:
            return first * math.expm1(cycle * rate) / (mult - 1.0)

        cycle = int(math.log1p(n * (mult - 1.0) / first) / rate)
        reached = n * (1.0 + 1e-12)  # a start that should be an integer may be rounded up
        while start(cycle + 1) <= reached:
            cycle += 1
        while start(cycle) > reached:
            cycle -= 1
        begin = start(cycle)
        return cycle, max(0.0, n - begin) / (start(cycle + 1) - begin)


@dataclass(frozen=True)
class cyclic(Schedule):
    """Rise linearly from lr_min to lr and fall linearly back, repeatedly.

    In cycle i = 0, 1, ..., lr(t) = lr_min + (lr - lr_min) * s * scale. Here s rises linearly from
    0 to 1 over step_size_up steps and falls linearly back to 0 over step_size_down steps. The scale
    is 1 for "triangular", 1/2^i for "triangular2" and gamma^(t - 1) for "exp_range".

    Parameters
    ----------
    lr : float, at least 0
        The peak, PyTorch's max_lr.
    lr_min : float in [0, lr]
        PyTorch's base_lr.
    step_size_up : int, at least 1
    step_size_down : int, at least 1, optional
        Default: step_size_up.
    mode : "triangular", "triangular2" or "exp_range"
    gamma : float in [0, 1]
        Used by "exp_range" only.

    Raises
    ------
    FastoptError, TypeError
        An argument of another type, or outside the range above.

    Notes
    -----
    PyTorch's CyclicLR without cycling the momentum. Smith 2017, arXiv:1506.01186.

    Examples
    --------
    >>> [cyclic(8.0, 0.0, step_size_up=2, mode="triangular2")(t) for t in range(1, 9)]
    [0.0, 4.0, 8.0, 4.0, 0.0, 2.0, 4.0, 2.0]
    """

    lr: float
    lr_min: float
    step_size_up: int = 2000
    step_size_down: int | None = None
    mode: Literal["triangular", "triangular2", "exp_range"] = "triangular"
    gamma: float = 1.0

    def __post_init__(self) -> None:
        check_fields(self, lr=at_least_0, step_size_up=Whole(1))
        if self.step_size_down is None:
            object.__setattr__(self, "step_size_down", self.step_size_up)
        check_fields(
            self,
            lr_min=Real(0.0, self.lr),
            step_size_down=Whole(1),
            mode=Choice(("triangular", "triangular2", "exp_range")),
            gamma=fraction,
        )

    def _after(self, n: int) -> float:
        assert self.step_size_down is not None
        total = self.step_size_up + self.step_size_down
        cycle, done = divmod(n, total)
        if done <= self.step_size_up:
            share = done / self.step_size_up
        else:
            share = (total - done) / self.step_size_down
        if self.mode == "triangular2":
            share *= 2.0**-cycle
        elif self.mode == "exp_range":
            share *= self.gamma**n
        return blend(self.lr, self.lr_min, share)


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
