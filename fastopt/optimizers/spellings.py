"""How each library spells the options of its rules."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastopt._errors import FastoptError
from fastopt.optimizers.base.arguments import Extra
from fastopt.optimizers.base.names import meant
from fastopt.optimizers.base.optimizer import Optimizer
from fastopt.optimizers.base.rule import checks_of, defaults_of

# Spellings that differ from ours; "betas[0]" is the first number of a pair.
_SPELLINGS: Mapping[str, Mapping[str, str]] = {
    "keras": {
        "learning_rate": "lr",
        "beta_1": "betas[0]",
        "beta_2": "betas[1]",
        "epsilon": "eps",
        "rho": "alpha",
        "clipvalue": "max_grad_value",
        "global_clipnorm": "max_grad_norm",
    },
    "optax": {
        "learning_rate": "lr",
        "b1": "betas[0]",
        "b2": "betas[1]",
        "decay": "alpha",
        "initial_scale": "initial_accumulator_value",
    },
    "dl4j": {
        "learningRate": "lr",
        "beta1": "betas[0]",
        "beta2": "betas[1]",
        "epsilon": "eps",
        "rmsDecay": "alpha",
    },
}


def spellings_of(cls: type[Optimizer], convention: str) -> dict[str, str]:
    """Return a dict from a library's spellings to our names of the options of a class."""
    ours = {*checks_of(cls), *Extra.__annotations__}
    return {
        theirs: name
        for theirs, name in _SPELLINGS.get(convention, {}).items()
        if name.removesuffix("[0]").removesuffix("[1]") in ours and theirs not in ours
    }


def in_our_words(
    which: str,
    cls: type[Optimizer],
    convention: str,
    defaults: Mapping[str, Any],
    options: Mapping[str, Any],
) -> dict[str, Any]:
    """Return options under our names.

    Parameters
    ----------
    which
        The rule and its convention, for error messages.
    cls
        The class of the rule.
    convention
        The library whose spellings are allowed too.
    defaults
        The convention's defaults, which complete a pair if only one number is given.
    options
        The options that the user gave.

    Raises
    ------
    FastoptError
        An option is given in both spellings.
    TypeError
        An option does not exist.
    """
    spellings = spellings_of(cls, convention)
    allowed = list(dict.fromkeys([*checks_of(cls), *Extra.__annotations__, *spellings]))
    pair = list({**defaults_of(cls), **defaults}.get("betas", ()))
    ours: dict[str, Any] = {}
    for given, value in options.items():
        if given not in allowed:
            raise TypeError(
                f"unexpected keyword {given!r} for {which}{meant(given, allowed)}; allowed: "
                f"{', '.join(allowed)}"
            )
        name = spellings.get(given, given).partition("[")[0]
        if given != name and name in options:
            raise FastoptError(f"{name} and {given} are both given for {which}; they mean the same")
        if name == given or name != "betas":
            ours[name] = value
        else:
            pair[spellings[given] == "betas[1]"] = value
            ours[name] = tuple(pair)
    return ours
