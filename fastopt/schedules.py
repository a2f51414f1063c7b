"""Learning rate schedules: the number of the step about to be taken -> its learning rate.

A schedule takes the place of a number wherever an optimizer asks for `lr`:

>>> from fastopt.schedules import cosine, warmup
>>> schedule = warmup(cosine(lr=0.1, total_steps=100), steps=4)
>>> schedule
warmup(schedule=cosine(lr=0.1, total_steps=100, lr_min=0.0), steps=4, start_factor=0.2)
>>> [round(schedule(t), 6) for t in (1, 2, 3, 4, 5, 55, 105, 1000)]
[0.02, 0.04, 0.06, 0.08, 0.1, 0.05, 0.0, 0.0]

In the formulas t is the step's number, from 1, and lr(t) its learning rate. Names and indexing
follow `torch.optim.lr_scheduler` with one call of its `step()` per update (t = last_epoch + 1);
each class says where it differs. What has an end keeps its last value from there on. All but
`ReduceOnPlateau` are values: immutable, compared by their arguments. They call the C library's
pow and cos, so equal bits are promised per machine, not across machines.
"""

# ruff: noqa: N801  (these classes are called like functions, and their repr should read so)

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from fastopt._checks import Check, Choice, Real, Whole, at_least_0, decay_rate, fraction
from fastopt._errors import FastoptError

__all__ = [
    "ReduceOnPlateau",
    "Schedule",
    "constant",
    "cosine",
    "cosine_restarts",
    "exponential",
    "inverse_time",
    "one_cycle",
    "polynomial",
    "step_decay",
    "warmup",
]


class Schedule:
    """What every schedule has.

    Attributes
    ----------
    lr : float
        The base (peak) learning rate; `decoupled_weight_decay="schedule_only"` divides by it.
    """

    lr: float

    def __call__(self, step: int) -> float:
        """Give the learning rate of step number `step`, from 1."""
        if step < 1:
            raise FastoptError(f"step is {step!r}; allowed: 1, the first step, or more")
        return self._after(step - 1)

    def _after(self, n: int, /) -> float:
        """Give the learning rate once n = t - 1 steps have been taken."""
        raise NotImplementedError

    def report(self, metric: float) -> None:
        """Hear an epoch's metric. Only `ReduceOnPlateau` listens.

        Parameters
        ----------
        metric : float
        """

    def state_dict(self) -> dict[str, Any]:
        """Give what a checkpoint must keep beside the arguments: nothing unless it listens.

        Returns
        -------
        dict
            Plain numbers by name.
        """
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up a state that `state_dict` gave; one of another kind is refused.

        Parameters
        ----------
        state : dict
            As `state_dict` gives it.

        Raises
        ------
        FastoptError, TypeError
            A damaged state, or one of another kind of schedule. Nothing has changed then.
        """
        if state:
            raise FastoptError(f"the state has the keys {list(state)}; {self!r} has no state")


@dataclass(frozen=True)
class constant(Schedule):
    """The same learning rate for ever: lr(t) = lr.

    Parameters
    ----------
    lr : float, at least 0

    Raises
    ------
    FastoptError, TypeError
        An argument of another type, or outside the range above.

    Examples
    --------
    >>> constant(0.1)(1000)
    0.1
    """

    lr: float

    def __post_init__(self) -> None:
        _check(self, lr=at_least_0)

    def _after(self, _n: int) -> float:
        return self.lr


@dataclass(frozen=True)
class step_decay(Schedule):
    """A drop by a factor every `step_size` steps: lr(t) = lr * gamma^floor((t - 1)/step_size).

    Parameters
    ----------
    lr : float, at least 0
    step_size : int, at least 1
    gamma : float, at least 0

    Raises
    ------
    FastoptError, TypeError
        An argument of another type, or outside the range above.

    Notes
    -----
    PyTorch's StepLR.

    Examples
    --------
    >>> [step_decay(8.0, step_size=2, gamma=0.5)(t) for t in range(1, 8)]
    [8.0, 8.0, 4.0, 4.0, 2.0, 2.0, 1.0]
    """

    lr: float
    step_size: int
    gamma: float = 0.1

    def __post_init__(self) -> None:
        _check(self, lr=at_least_0, step_size=Whole(1), gamma=at_least_0)

    def _after(self, n: int) -> float:
        return self.lr * self.gamma ** (n // self.step_size)


@dataclass(frozen=True)
class exponential(Schedule):
    """A factor at each step: lr(t) = lr * gamma^(t - 1).

    Parameters
    ----------
    lr : float, at least 0
    gamma : float, at least 0
        Above 1 the learning rate grows, as a search for the largest stable one wants it.

    Raises
    ------
    FastoptError, TypeError
        An argument of another type, or outside the range above.

    Notes
    -----
    PyTorch's ExponentialLR.

    Examples
    --------
    >>> [exponential(8.0, gamma=0.5)(t) for t in range(1, 5)]
    [8.0, 4.0, 2.0, 1.0]
    """

    lr: float
    gamma: float

    def __post_init__(self) -> None:
        _check(self, lr=at_least_0, gamma=at_least_0)

    def _after(self, n: int) -> float:
        return float(self.lr * self.gamma**n)


@dataclass(frozen=True)
class inverse_time(Schedule):
    """A decay like that of Robbins and Monro: lr(t) = lr / (1 + decay * (t - 1))^power.

    Parameters
    ----------
    lr : float, at least 0
    decay : float, at least 0
    power : float, at least 0
        In (1/2, 1] the steps sum to infinity and their squares do not (Robbins, Monro 1951).

    Raises
    ------
    FastoptError, TypeError
        An argument of another type, or outside the range above.

    Notes
    -----
    With power 1, Keras's InverseTimeDecay (decay = decay_rate/decay_steps) and the lr_decay of
    PyTorch's Adagrad; with decay 1, scikit-learn's "invscaling".

    Examples
    --------
    >>> [inverse_time(6.0, decay=0.5)(t) for t in range(1, 6)]
    [6.0, 4.0, 3.0, 2.4, 2.0]
    """

    lr: float
    decay: float
    power: float = 1.0

    def __post_init__(self) -> None:
        _check(self, lr=at_least_0, decay=at_least_0, power=at_least_0)

    def _after(self, n: int) -> float:
        return float(self.lr / (1.0 + self.decay * n) ** self.power)


@dataclass(frozen=True)
class polynomial(Schedule):
    """A power of the part still ahead, from lr at step 1 to lr_min at step total_steps + 1.

    With T = total_steps and a = (1 - min(t - 1, T)/T)^power, lr(t) = a*lr + (1 - a)*lr_min.

    Parameters
    ----------
    lr : float, at least 0
    total_steps : int, at least 1
    power : float, at least 0
        1 is a straight line.
    lr_min : float in [0, lr]
        The value from step total_steps + 1 on.

    Raises
    ------
    FastoptError, TypeError
        An argument of another type, or outside the range above.

    Notes
    -----
    PyTorch's PolynomialLR with an lr_min, which PyTorch lacks.

    Examples
    --------
    >>> [polynomial(8.0, total_steps=4)(t) for t in range(1, 8)]
    [8.0, 6.0, 4.0, 2.0, 0.0, 0.0, 0.0]
    """

    lr: float
    total_steps: int
    power: float = 1.0
    lr_min: float = 0.0

    def __post_init__(self) -> None:
        _check(self, lr=at_least_0, total_steps=Whole(1), power=at_least_0)
        _check(self, lr_min=Real(0.0, self.lr))

    def _after(self, n: int) -> float:
        if n >= self.total_steps:  # not left to the formula: 0^0 is 1
            return self.lr_min
        ahead = (1.0 - n / self.total_steps) ** self.power
        return _blend(self.lr, self.lr_min, ahead)


@dataclass(frozen=True)
class cosine(Schedule):
    """Half a period of a cosine, from lr at step 1 to lr_min at step total_steps + 1.

    With T = total_steps and a = (1 + cos(pi * min(t - 1, T)/T))/2,
    lr(t) = a*lr + (1 - a)*lr_min.

    Parameters
    ----------
    lr : float, at least 0
    total_steps : int, at least 1
    lr_min : float in [0, lr]
        The value from step total_steps + 1 on.

    Raises
    ------
    FastoptError, TypeError
        An argument of another type, or outside the range above.

    Notes
    -----
    PyTorch's CosineAnnealingLR, except that PyTorch's rises again after T_max. Loshchilov,
    Hutter 2017, equation 5, without restarts.

    Examples
    --------
    >>> [round(cosine(8.0, total_steps=4)(t), 3) for t in range(1, 8)]
    [8.0, 6.828, 4.0, 1.172, 0.0, 0.0, 0.0]
    """

    lr: float
    total_steps: int
    lr_min: float = 0.0

    def __post_init__(self) -> None:
        _check(self, lr=at_least_0, total_steps=Whole(1))
        _check(self, lr_min=Real(0.0, self.lr))

    def _after(self, n: int) -> float:
        done = min(n, self.total_steps) / self.total_steps
        return _blend(self.lr, self.lr_min, _half_cosine(done))


@dataclass(frozen=True)
class cosine_restarts(Schedule):
    """Cosines one after the other, each `cycle_mult` times as long as the one before.

    In a cycle of T steps of which n are done, with a = (1 + cos(pi * n/T))/2,
    lr(t) = a*lr + (1 - a)*lr_min. T is first_cycle * cycle_mult^i in cycle i = 0, 1, ...
    A cycle stops one step short of lr_min; the next step is at lr again.

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
        _check(self, lr=at_least_0, first_cycle=Whole(1), cycle_mult=Whole(1))
        _check(self, lr_min=Real(0.0, self.lr))

    def _after(self, n: int) -> float:
        length = self.first_cycle
        if self.cycle_mult == 1:
            n %= length
        # Exact, where a logarithm to the base cycle_mult would miss the ends of cycles.
        while n >= length:
            n -= length
            length *= self.cycle_mult
        return _blend(self.lr, self.lr_min, _half_cosine(n / length))


@dataclass(frozen=True)
class one_cycle(Schedule):
    """A rise to lr and a longer fall to almost nothing ("super-convergence").

    With T = total_steps it rises from lr/div_factor at t = 1 to lr at t = pct_start*T and falls
    to lr/(div_factor*final_div_factor) at t = T. A share s of the way from a to b the value is
    (a + b)/2 + (a - b)/2 * cos(pi*s) for "cos" and a + (b - a)*s for "linear".

    Parameters
    ----------
    lr : float, at least 0
        The peak, PyTorch's max_lr. It may lie between two steps.
    total_steps : int, at least 2
    pct_start : float in [0, 1)
        The share of the steps that rise.
    anneal_strategy : "cos" or "linear"
    div_factor, final_div_factor : float, at least 1
        Peak over first value, and first value over last.

    Raises
    ------
    FastoptError, TypeError
        An argument of another type, or outside the range above.

    Notes
    -----
    PyTorch's OneCycleLR without `three_phase` and without cycling the momentum; the last value
    holds after total_steps, where PyTorch raises an error. Smith, Topin 2018.

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
        _check(
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
        ahead = _half_cosine(done) if self.anneal_strategy == "cos" else 1.0 - done
        return _blend(start, stop, ahead)


@dataclass(frozen=True)
class warmup(Schedule):
    """A straight rise before another schedule, which begins with its own step 1 afterwards.

    With W = steps and s = start_factor,
    lr(t) = (s + (1 - s) * (t - 1)/W) * schedule(1) for t <= W and schedule(t - W) after that.

    Parameters
    ----------
    schedule : Schedule
        What follows. Its `lr` is this one's, and reports and state are its own.
    steps : int, at least 1
    start_factor : float in [0, 1], optional
        Default 1/(W + 1), which makes the factor t/(W + 1): no step is wasted on 0.

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
        _check(self, steps=Whole(1))
        if self.start_factor is None:
            object.__setattr__(self, "start_factor", 1.0 / (self.steps + 1))
        _check(self, start_factor=fraction)

    def _after(self, n: int) -> float:
        if n >= self.steps:
            return self.schedule(n - self.steps + 1)
        assert self.start_factor is not None
        return self.schedule(1) * _blend(1.0, self.start_factor, n / self.steps)

    def report(self, metric: float) -> None:
        """Pass an epoch's metric on to the wrapped schedule."""
        self.schedule.report(metric)

    def state_dict(self) -> dict[str, Any]:
        """Give the state of the wrapped schedule."""
        return self.schedule.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up the state of the wrapped schedule."""
        self.schedule.load_state_dict(state)


@dataclass(eq=False)
class ReduceOnPlateau(Schedule):
    """A factor whenever a metric, reported once an epoch, has stopped improving.

    Improving (mode "min") means metric < best - threshold*|best| ("rel") or metric < best -
    threshold ("abs"); mode "max" mirrors it. A NaN does not improve. After more than `patience`
    reports in a row without improvement, lr <- max(lr*factor, lr_min), and the next `cooldown`
    reports do not count as bad.

    Parameters
    ----------
    lr : float, at least 0
        The learning rate until the first reduction. The attribute keeps this value; calling the
        schedule gives the current one, whatever the step.
    factor : float in [0, 1)
    patience : int, at least 0
    threshold : float, at least 0, below 1 if "rel"
    threshold_mode : "rel" or "abs"
    cooldown : int, at least 0
    lr_min : float in [0, lr]
    mode : "min" or "max"

    Raises
    ------
    FastoptError, TypeError
        An argument of another type, or outside the range above.

    Notes
    -----
    PyTorch's ReduceLROnPlateau but for two things. A relative threshold works below zero too,
    where PyTorch's best*(1 - threshold) lies on the wrong side of best, so that a metric that
    stands still improves for ever. And no reduction is too small to be made (PyTorch's eps).

    Unlike the other schedules it changes: each instance is equal to itself alone.

    Examples
    --------
    >>> schedule = ReduceOnPlateau(8.0, factor=0.5, patience=1)
    >>> for epoch, loss in enumerate((3.0, 2.0, 2.0, 2.0)):
    ...     schedule.report(loss)
    ...     print(epoch, schedule(1))
    0 8.0
    1 8.0
    2 8.0
    3 4.0
    """

    lr: float
    factor: float = 0.1
    patience: int = 10
    threshold: float = 1e-4
    threshold_mode: Literal["rel", "abs"] = "rel"
    cooldown: int = 0
    lr_min: float = 0.0
    mode: Literal["min", "max"] = "min"
    _current_lr: float = field(init=False, repr=False)
    _best: float = field(init=False, repr=False)
    _num_bad_epochs: int = field(init=False, repr=False, default=0)
    _cooldown_counter: int = field(init=False, repr=False, default=0)

    def __post_init__(self) -> None:
        _check(
            self,
            lr=at_least_0,
            factor=decay_rate,
            patience=Whole(0),
            threshold_mode=Choice(("rel", "abs")),
            cooldown=Whole(0),
            mode=Choice(("min", "max")),
        )
        _check(self, threshold=decay_rate if self.threshold_mode == "rel" else at_least_0)
        _check(self, lr_min=Real(0.0, self.lr))
        self._current_lr = self.lr
        self._best = math.inf if self.mode == "min" else -math.inf

    def _after(self, _n: int) -> float:
        return self._current_lr

    def report(self, metric: float) -> None:
        """Hear an epoch's metric, and reduce the learning rate if it is time to."""
        metric = float(metric)
        if self._improves(metric):
            self._best = metric
            self._num_bad_epochs = 0
        else:
            self._num_bad_epochs += 1
        if self._cooldown_counter > 0:
            self._cooldown_counter -= 1
            self._num_bad_epochs = 0
        if self._num_bad_epochs > self.patience:
            self._current_lr = max(self._current_lr * self.factor, self.lr_min)
            self._cooldown_counter = self.cooldown
            self._num_bad_epochs = 0

    def _improves(self, metric: float) -> bool:
        sign = 1.0 if self.mode == "min" else -1.0
        metric, best = sign * metric, sign * self._best
        if self.threshold_mode == "abs":
            return metric < best - self.threshold
        # A factor, not best - threshold*|best|, which is NaN for the infinity at the start.
        return metric < best * (1.0 - math.copysign(self.threshold, best))

    def state_dict(self) -> dict[str, Any]:
        """Give what has been learned from the reports, as plain numbers."""
        return {
            "current_lr": self._current_lr,
            "best": self._best,
            "num_bad_epochs": self._num_bad_epochs,
            "cooldown_counter": self._cooldown_counter,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up a state that `state_dict` gave; a damaged one changes nothing."""
        needed = list(self.state_dict())
        if state.keys() != set(needed):
            raise FastoptError(f"the state has the keys {list(state)}; allowed: {needed}")
        current_lr = Real(self.lr_min, self.lr)("current_lr", state["current_lr"])
        best = state["best"]
        best = best if best in (math.inf, -math.inf) else Real()("best", best)
        num_bad_epochs = Whole(0)("num_bad_epochs", state["num_bad_epochs"])
        cooldown_counter = Whole(0)("cooldown_counter", state["cooldown_counter"])
        self._current_lr, self._best = current_lr, best
        self._num_bad_epochs, self._cooldown_counter = num_bad_epochs, cooldown_counter


def _blend(start: float, stop: float, ahead: float) -> float:
    """Exactly `start` with all of the way ahead (1), exactly `stop` with none (0)."""
    return ahead * start + (1.0 - ahead) * stop


def _half_cosine(done: float) -> float:
    return 0.5 * (1.0 + math.cos(math.pi * done))


def _check(schedule: Schedule, **checks: Check) -> None:
    for name, check in checks.items():
        object.__setattr__(schedule, name, check(name, getattr(schedule, name)))
