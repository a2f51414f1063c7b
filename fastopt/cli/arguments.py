"""What a command's arguments may be."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Iterable

from fastopt._errors import FastoptError


def whole(low: int) -> Callable[[str], int]:
    """Return what reads a whole number from `low`; 1e6 is one."""

    def parse(text: str) -> int:
        value = _number(text)
        if not (value.is_integer() and value >= low):
            raise argparse.ArgumentTypeError(f"{text!r} is no whole number from {low}")
        return int(value)

    return parse


def wholes(low: int) -> Callable[[str], tuple[int, ...]]:
    """Return what reads whole numbers with commas between them, each once."""
    return lambda text: tuple(dict.fromkeys(map(whole(low), text.split(","))))


def rate(text: str) -> float:
    """Read a learning rate."""
    value = _number(text)
    if not (math.isfinite(value) and value > 0.0):
        raise argparse.ArgumentTypeError(f"{text!r} is no finite number above 0")
    return value


def chosen(text: str, rules: Iterable[str]) -> tuple[str, ...]:
    """Return the rules that are named, each once."""
    names = tuple(dict.fromkeys(name.strip().lower() for name in text.split(",")))
    for name in names:
        if name not in rules:
            raise FastoptError(f"--rules has {name!r}; allowed: {', '.join(rules)}")
    return names


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan
