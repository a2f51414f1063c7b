"""The constant learning rate, and schedules that decay from `lr`."""

# ruff: noqa: N801  (these classes are called like functions, and their repr looks like a call)

from __future__ import annotations

from dataclasses import dataclass

from fastopt._checks import Real, Whole, at_least_0, flag
from fastopt.schedules.base import Schedule, blend, check_fields, half_cosine


@dataclass(frozen=True)
class constant(Schedule):
    """A constant learning rate: lr(t) = lr.

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
        check_fields(self, lr=at_least_0)

    def _after(self, _n: int) -> float:
        return self.lr


@dataclass(frozen=True)
class step_decay(Schedule):
    """Multiply by gamma every `step_size` steps: lr(t) = lr * gamma^floor((t - 1)/step_size).

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
        check_fields(self, lr=at_least_0, step_size=Whole(1), gamma=at_least_0)

    def _after(self, n: int) -> float:
        return self.lr * self.gamma ** (n // self.step_size)


@dataclass(frozen=True)
class exponential(Schedule):
    """Multiply by gamma once in decay_steps steps, by default at each step.

    lr(t) = lr * gamma^((t - 1)/decay_steps), with the exponent rounded down if `staircase`.

    Parameters
    ----------
    lr : float, at least 0
    gamma : float, at least 0
        Above 1 the learning rate grows, as in a search for the largest stable one. A step whose
        learning rate would be infinite raises FastoptError.
    decay_steps : int, at least 1
        The number of steps in which the learning rate is multiplied by gamma once.
    staircase : bool
        Whether the learning rate changes only every `decay_steps` steps.

    Raises
    ------
    FastoptError, TypeError
        An argument of another type, or outside the range above.

    Notes
    -----
    PyTorch's ExponentialLR; with `decay_steps` and `staircase`, Keras's ExponentialDecay and
    optax.exponential_decay.

    Examples
    --------
    >>> [exponential(8.0, gamma=0.5)(t) for t in range(1, 5)]
    [8.0, 4.0, 2.0, 1.0]
    """

    lr: float
    gamma: float
    decay_steps: int = 1
    staircase: bool = False

    def __post_init__(self) -> None:
        check_fields(self, lr=at_least_0, gamma=at_least_0, decay_steps=Whole(1), staircase=flag)

    def _after(self, n: int) -> float:
        return float(self.lr * self.gamma ** in_units(n, self.decay_steps, self.staircase))


@dataclass(frozen=True)
class inverse_time(Schedule):
    """Decay as an inverse power of time.

    lr(t) = lr / (1 + decay * (t - 1)/decay_steps)^power, where (t - 1)/decay_steps is rounded down
    if `staircase`.

    Parameters
    ----------
    lr : float, at least 0
    decay : float, at least 0
    power : float, at least 0
        For powers in (1/2, 1] the learning rates have an infinite sum and their squares a
        finite one, the condition of Robbins and Monro (1951).
    decay_steps : int, at least 1
    staircase : bool
        Whether the learning rate changes only every `decay_steps` steps.

    Raises
    ------
    FastoptError, TypeError
        An argument of another type, or outside the range above.

    Notes
    -----
    With power 1, Keras's InverseTimeDecay (decay is its decay_rate) and the lr_decay of PyTorch's
    Adagrad; with decay 1, scikit-learn's "invscaling".

    Examples
    --------
    >>> [inverse_time(6.0, decay=0.5)(t) for t in range(1, 6)]
    [6.0, 4.0, 3.0, 2.4, 2.0]
    """

    lr: float
    decay: float
    power: float = 1.0
    decay_steps: int = 1
    staircase: bool = False

    def __post_init__(self) -> None:
        check_fields(self, lr=at_least_0, decay=at_least_0, power=at_least_0)
        check_fields(self, decay_steps=Whole(1), staircase=flag)

    def _after(self, n: int) -> float:
        time = in_units(n, self.decay_steps, self.staircase)
        try:
            return float(self.lr / (1.0 + self.decay * time) ** self.power)
        except OverflowError:  # the denominator overflows
            return 0.0


@dataclass(frozen=True)
class polynomial(Schedule):
    """Decay along a polynomial from lr at step 1 to lr_min at step total_steps + 1.

    With T = total_steps and a = (1 - min(t - 1, T)/T)^power, lr(t) = a*lr + (1 - a)*lr_min.

    Parameters
    ----------
    lr : float, at least 0
    total_steps : int, at least 1
    power : float, at least 0
        1 gives a linear decay.
    lr_min : float in [0, lr]
        The value from step total_steps + 1 on.

    Raises
    ------
    FastoptError, TypeError
        An argument of another type, or outside the range above.

    Notes
    -----
    PyTorch's PolynomialLR, with an lr_min in addition.

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
        check_fields(self, lr=at_least_0, total_steps=Whole(1), power=at_least_0)
        check_fields(self, lr_min=Real(0.0, self.lr))

    def _after(self, n: int) -> float:
        if n >= self.total_steps:  # the formula would give lr for power 0, since 0^0 is 1
            return self.lr_min
        weight = (1.0 - n / self.total_steps) ** self.power
        return blend(self.lr, self.lr_min, weight)


@dataclass(frozen=True)
class cosine(Schedule):
    """Decay along half a cosine from lr at step 1 to lr_min at step total_steps + 1.

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
    PyTorch's CosineAnnealingLR up to T_max, after which PyTorch's rises again. Equation 5 of
    Loshchilov, Hutter 2017, without restarts.

    Examples
    --------
    >>> [round(cosine(8.0, total_steps=4)(t), 3) for t in range(1, 8)]
    [8.0, 6.828, 4.0, 1.172, 0.0, 0.0, 0.0]
    """

    lr: float
    total_steps: int
    lr_min: float = 0.0

    def __post_init__(self) -> None:
        check_fields(self, lr=at_least_0, total_steps=Whole(1))
        check_fields(self, lr_min=Real(0.0, self.lr))

    def _after(self, n: int) -> float:
        done = min(n, self.total_steps) / self.total_steps
        return blend(self.lr, self.lr_min, half_cosine(done))


def in_units(n: int, unit: int, rounded_down: bool) -> float:
    """Return n / unit, rounded down to an integer if `rounded_down`."""
    return n // unit if rounded_down or unit == 1 else n / unit
