"""The options of the command line in messages of the estimators, which name their arguments."""

from __future__ import annotations

import re

# Names that are no words of English; and words, which are names before what follows a name.
_NAMES = {
    "cov_type": "--cov-type",
    "eta0": "--lr",
    "freq_weight": "--freq-weight",
    "l1_ratio": "--l1-ratio",
    "max_iter": "--max-iter",
    "sample_weight": "--weight",
    "tol": "--tol",
}
_WORDS = {
    name: f"--{name}"
    for name in (
        *("alpha", "exposure", "family", "formula", "groups", "link", "offset", "overdispersion"),
        *("power", "solver"),
    )
}
_NAME = re.compile(
    rf"(?<!['\w.-])(?<!the )(?:({'|'.join(_NAMES)})(?!['\w])"
    rf"|({'|'.join(_WORDS)})(?= is | are needed| needs |=| > 0))(?:=(?:'([^']*)'|(?=\d)))?"
)


def in_options(text: str) -> str:
    """Return a message in which arguments of Python are options: ``--cov-type HC0``.

    Parameters
    ----------
    text : str
        A message with ``cov_type='HC0'``.
    """
    return _NAME.sub(_option, text)


def _option(found: re.Match[str]) -> str:
    option = {**_NAMES, **_WORDS}[found[1] or found[2]]
    if found[3] is not None:
        return f"{option} {found[3]}"
    return f"{option} " if found[0].endswith("=") else option
