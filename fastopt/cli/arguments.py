"""Parsers of command line arguments: numbers, names and lists of rules."""

from __future__ import annotations

import argparse
import csv
import math
from collections.abc import Callable, Iterable

from fastopt._errors import FastoptError


def whole(low: int) -> Callable[[str], int]:
    """Return a parser of whole numbers of at least `low`; it accepts 1e6."""

    def parse(text: str) -> int:
        value = _number(text)
        if not (value.is_integer() and value >= low):
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number >= {low}")
        return int(value)

    return parse


def wholes(low: int) -> Callable[[str], tuple[int, ...]]:
    """Return a parser of whole numbers separated by commas; duplicates are dropped."""
    return lambda text: tuple(dict.fromkeys(map(whole(low), text.split(","))))


def rate(text: str) -> float:
    """Parse a learning rate."""
    value = _number(text)
    if not (math.isfinite(value) and value > 0.0):
        raise argparse.ArgumentTypeError(f"{text!r} is not a finite number above 0")
    return value


def at_least_0(text: str) -> float:
    """Parse a finite number of at least 0."""
    value = _number(text)
    if not (math.isfinite(value) and value >= 0.0):
        raise argparse.ArgumentTypeError(f"{text!r} is not a finite number >= 0")
    return value


def fraction(text: str) -> float:
    """Parse a number from 0 to 1."""
    value = _number(text)
    if not 0.0 <= value <= 1.0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 to 1")
    return value


def chosen(text: str, rules: Iterable[str]) -> tuple[str, ...]:
    """Return the rules named in a list separated by commas, or all; duplicates are dropped."""
    names = tuple(dict.fromkeys(name.strip().lower() for name in text.split(",")))
    if names == ("all",):
        return tuple(rules)
    for name in names:
        if name not in rules:
            raise FastoptError(f"--rules has {name!r}; allowed: {', '.join(rules)}; or all")
    return names


def names(text: str) -> tuple[str, ...]:
    """Parse names separated by commas; a name in double quotes may contain a comma."""
    found = tuple(name.strip() for name in next(csv.reader([text], skipinitialspace=True), []))
    if not found:
        raise argparse.ArgumentTypeError("a name is needed")
    return found


def _number(text: str) -> float:
    """Return the number that `text` contains, or NaN."""
    try:
        return float(text)
    except ValueError:
        return math.nan
