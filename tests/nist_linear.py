"""The 11 linear problems of NIST's reference data: design matrices, certified values."""

import re
from pathlib import Path

import numpy as np

DATA = Path(__file__).parent / "data/nist/linear"
DEGREE = {"Norris": 1, "Pontius": 2, "Filip": 10, **{f"Wampler{i}": 5 for i in range(1, 6)}}


def read(name):
    """Return X, y, certified coefficients and certified standard errors."""
    text = (DATA / f"{name}.dat").read_text()
    certified = np.array(re.findall(r"^ +B\d+ +(\S+) +(\S+)", text, re.M), dtype=float)
    table = np.array([line.split() for line in text.splitlines()[60:] if line.strip()], dtype=float)
    y, x = table[:, 0], table[:, 1:]
    if name in DEGREE:
        x = x ** np.arange(DEGREE[name] + 1)
    elif name == "Longley":
        x = np.column_stack([np.ones(len(x)), x])
    return x, y, *certified.T


def digits(found, certified):
    """Return the correct digits of the worst number, at most 15; -inf if there is a NaN."""
    with np.errstate(divide="ignore"):
        right = -np.log10(np.max(np.abs(found - certified) / np.abs(certified)))
    return -np.inf if np.isnan(right) else min(15.0, float(right))
