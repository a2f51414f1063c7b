"""Checks of option values; an error names the option, the value and what is allowed."""

from __future__ import annotations

import math
import numbers
import os
from typing import Protocol

from fastopt._errors import FastoptError


class Check(Protocol):
    """A callable that returns a converted value, or raises an error that names the argument."""

    def __call__(self, name: str, value: object) -> object: ...


class Real:
    """A finite number in [low, high], or in [low, high) with ``below_high``; bool is refused."""

    def __init__(
        self, low: float = -math.inf, high: float = math.inf, below_high: bool = False
    ) -> None:
        self.low, self.high, self.below_high = low, high, below_high

    def __call__(self, name: str, value: object) -> float:
        plain = value
        if getattr(value, "shape", None) == () and hasattr(value, "item"):
            plain = value.item()  # NumPy scalars; 0-d arrays of NumPy, PyTorch, JAX
        if isinstance(plain, bool) or not isinstance(plain, numbers.Real):
            raise TypeError(f"{name} is {value!r}; a number is needed")
        try:
            number = float(plain)
        except OverflowError:
            raise FastoptError(f"{name} is {value!r}; allowed: {self}") from None
        below = number < self.high if self.below_high else number <= self.high
        if not (math.isfinite(number) and self.low <= number and below):
            raise FastoptError(f"{name} is {value!r}; allowed: {self}")
        return number

    def __str__(self) -> str:
        if self.high == math.inf:
            return "any finite number" if self.low == -math.inf else f"finite, >= {self.low:g}"
        if self.low == -math.inf:
            return f"finite, <= {self.high:g}"
        return f"{self.low:g} <= value {'<' if self.below_high else '<='} {self.high:g}"


class Whole:
    """An integer from ``low`` to ``high``; bool is refused."""

    def __init__(self, low: int, high: int | None = None) -> None:
        self.low, self.high = low, high

    def __call__(self, name: str, value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, numbers.Integral):
            raise TypeError(f"{name} is {value!r}; a whole number is needed")
        number = int(value)
        if number < self.low or (self.high is not None and number > self.high):
            allowed = f"{self.low} or more" if self.high is None else f"{self.low} to {self.high}"
            raise FastoptError(f"{name} is {value!r}; allowed: {allowed}")
        return number


class Pair:
    """A pair of values with the same check, or with a check for each."""

    length, words = 2, "a pair is"

    def __init__(self, each: Check, *others: Check) -> None:
        self.each = each
        self.checks = (each, *others) if others else (each,) * self.length

    def __call__(self, name: str, value: object) -> tuple[object, ...]:
        if not isinstance(value, (tuple, list)) or len(value) != self.length:
            raise TypeError(f"{name} is {value!r}; {self.words} needed")
        pairs = zip(self.checks, value, strict=True)
        return tuple(check(f"{name}[{i}]", one) for i, (check, one) in enumerate(pairs))


class Triple(Pair):
    """Three values with the same check."""

    length, words = 3, "three values are"


class OrNone:
    """None, or a value that a check allows."""

    def __init__(self, check: Check) -> None:
        self.check = check

    def __call__(self, name: str, value: object) -> object:
        return None if value is None else self.check(name, value)


class Choice:
    """One of the given values, of the same type: True is not accepted for 1."""

    def __init__(self, values: tuple[object, ...]) -> None:
        self.values = values

    def __call__(self, name: str, value: object) -> object:
        for allowed in self.values:
            if type(value) is type(allowed) and value == allowed:
                return value
        raise FastoptError(f"{name} is {value!r}; allowed: {', '.join(map(repr, self.values))}")


def bounds(name: str, value: object) -> tuple[float | None, float | None] | None:
    """Return a pair (low, high), in which None means that there is no bound; or None."""
    if value is None:
        return None
    if not isinstance(value, (tuple, list)) or len(value) != 2:
        raise TypeError(f"{name} is {value!r}; a pair (low, high) or None is needed")
    low, high = (
        None if bound is None else Real()(f"{name}[{i}]", bound) for i, bound in enumerate(value)
    )
    if low is not None and high is not None and low > high:
        raise FastoptError(f"{name} is {value!r}; low <= high is needed")
    return low, high


def flag(name: str, value: object) -> bool:
    """Return a bool; any other type raises TypeError."""
    if not isinstance(value, bool):
        raise TypeError(f"{name} is {value!r}; True or False is needed")
    return value


at_least_0 = Real(low=0.0)
at_most_0 = Real(high=0.0)
at_least_1 = Real(low=1.0)
# OpenMP ends the process if it cannot create a thread.  More than a few threads per CPU are slower.
THREADS = Whole(low=1, high=max(64, 4 * (os.cpu_count() or 1)))
fraction = Real(low=0.0, high=1.0)
decay_rate = Real(low=0.0, high=1.0, below_high=True)


def from_environment(name: str, allowed: Whole, default: int) -> int:
    """Return the integer in an environment variable, or `default` if it is unset or empty."""
    text = os.environ.get(name)
    if not text:
        return default
    return allowed(name, int(text) if text.isdecimal() else text)


def default_threads() -> int:
    """Return FASTOPT_NUM_THREADS, or 0 if unset: each step then uses `_core.max_threads()`."""
    return from_environment("FASTOPT_NUM_THREADS", THREADS, 0)
