"""How each library spells the options of its rules."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from fastopt._errors import FastoptError
from fastopt.optimizers.base.arguments import Extra
from fastopt.optimizers.base.names import meant
from fastopt.optimizers.base.optimizer import Optimizer
from fastopt.optimizers.base.rule import checks_of, defaults_of

# Spellings that differ from ours; "betas[0]" is the first number of a tuple.
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
        "b3": "betas[2]",
        "decay": "alpha",
        "initial_scale": "initial_accumulator_value",
        "estim_lr0": "d0",
        "estim_lr_coef": "d_coef",
        "eta_minus": "etas[0]",
        "eta_plus": "etas[1]",
        "min_step_size": "step_sizes[0]",
        "max_step_size": "step_sizes[1]",
    },
    "dl4j": {
        "learningRate": "lr",
        "beta1": "betas[0]",
        "beta2": "betas[1]",
        "epsilon": "eps",
        "rmsDecay": "alpha",
    },
}

# Those of one class.
_OF_CLASS: Mapping[tuple[str, str], Mapping[str, str]] = {
    ("keras", "Adafactor"): {
        "beta_2_decay": "beta2_decay",
        "clip_threshold": "d",
        "epsilon_1": "eps[0]",
        "epsilon_2": "eps[1]",
    },
    ("keras", "Muon"): {
        "muon_a": "ns_coefficients[0]",
        "muon_b": "ns_coefficients[1]",
        "muon_c": "ns_coefficients[2]",
        "adam_beta_1": "adamw_betas[0]",
        "adam_beta_2": "adamw_betas[1]",
        "adam_weight_decay": "adamw_weight_decay",
    },
    ("optax", "Muon"): {
        "beta": "momentum",
        "ns_coeffs": "ns_coefficients",
        "adam_b1": "adamw_betas[0]",
        "adam_b2": "adamw_betas[1]",
        "adam_learning_rate": "adamw_lr",
        "adam_weight_decay": "adamw_weight_decay",
    },
    ("optax", "ScheduleFreeSGD"): {"b1": "momentum"},
}


def options_of(cls: type[Optimizer]) -> list[str]:
    """Return the names of the keywords of a class."""
    arguments = inspect.signature(cls).parameters
    own = [name for name in arguments if name not in ("params", "common")]
    return list(dict.fromkeys([*checks_of(cls), *own, *Extra.__annotations__]))


def spellings_of(cls: type[Optimizer], convention: str) -> dict[str, str]:
    """Return a dict from a library's spellings to our names of the options of a class."""
    ours, defaults = options_of(cls), defaults_of(cls)
    found = {}
    for theirs, name in {
        **_SPELLINGS.get(convention, {}),
        **_OF_CLASS.get((convention, cls.__name__), {}),
    }.items():
        option, place = _split(name)
        has_place = place is None or place < len(defaults.get(option) or ())
        if option in ours and has_place and theirs not in ours:
            found[theirs] = name
    return found


def _split(name: str) -> tuple[str, int | None]:
    """Return an option and the place in its tuple, or None if all of it is meant."""
    option, bracket, _ = name.partition("[")
    return option, int(name[-2]) if bracket else None


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
        The convention's defaults, which complete a tuple if some of its numbers are given.
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
    allowed = list(dict.fromkeys([*options_of(cls), *spellings]))
    complete = {**defaults_of(cls), **defaults}
    ours: dict[str, Any] = {}
    for given, value in options.items():
        if given not in allowed:
            raise TypeError(
                f"unexpected keyword {given!r} for {which}{meant(given, allowed)}; allowed: "
                f"{', '.join(allowed)}"
            )
        name, place = _split(spellings.get(given, given))
        if given != name and name in options:
            raise FastoptError(f"{name} and {given} are both given for {which}; they mean the same")
        if place is None:
            ours[name] = value
        else:
            numbers = list(ours.get(name, complete[name]))
            numbers[place] = value
            ours[name] = tuple(numbers)
    return ours
