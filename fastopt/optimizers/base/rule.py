"""Rule: the facts that distinguish one update rule from another."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from fastopt._checks import Check, Choice, at_least_0, bounds, flag
from fastopt.arrays.dtypes import Array

# The options that every rule has.
COMMON: Mapping[str, Check] = {
    "lr": at_least_0,
    "weight_decay": at_least_0,
    "decoupled_weight_decay": Choice((False, True, "lr", "schedule_only", "proximal")),
    "maximize": flag,
    "l1": at_least_0,
    "bounds": bounds,
}

SUMS_OF_TENSOR = "the rule needs sums over all elements"  # a result of `Rule._no_rows`

# In `Rule._initial_state`: the state starts as the parameter, perhaps rounded.
AT_PARAM = "at the parameter"
# The same, but it is refused if it would be rounded, because the rule measures distances from it.
EXACTLY_AT_PARAM = "exactly at the parameter"


class Direction(NamedTuple):
    """How a rule that works on whole matrices computes the directions of its steps.

    Attributes
    ----------
    kernel
        The rule in csrc/rules.def that replaces a parameter by the input of `orthogonalize`.  It
        has the states and hyperparameters of the rule of the step, except for the last state, which
        is the direction.
    orthogonalize
        Replaces this matrix by the direction.
    """

    kernel: str
    orthogonalize: Callable[[Array], None]


class Rule:
    """The facts of an update rule.

    A class states them as class attributes and static methods, so they can be used without an
    instance.  ``options`` is always a mapping from an option's name to its checked value.  The
    names begin with an underscore to keep them out of ``help(fastopt.Adam)``, which is for users;
    any module of fastopt may use them.
    """

    # The check of each option that is not in COMMON.
    _checks = dict[str, Check]()

    # The options that cannot be changed after construction.
    _only_at_start = frozenset[str]()

    # The numbers that the rule stores for each parameter, at most four: name -> initial value.
    _scalars = dict[str, float]()

    # The hyperparameter that gets the weight decay if it is not decoupled.  "": the decay is added
    # to the gradient before the rule.
    _own_decay = ""

    # The states that may have 8 bits: name -> "signed" or "non-negative".  state_dtype="float8" is
    # allowed if it contains all states.
    _float8 = dict[str, str]()

    @staticmethod
    def _kernel(options: Mapping[str, Any]) -> tuple[str, tuple[str, ...]]:
        """Return the rule's name in csrc/rules.def and PyTorch's names of its state arrays."""
        raise NotImplementedError

    @staticmethod
    def _hyperparameters(options: Mapping[str, Any]) -> dict[str, float]:
        """Return the hyperparameters of the kernel that are not options of the same name."""
        return {}

    @staticmethod
    def _initial_state(options: Mapping[str, Any]) -> dict[str, float | str]:
        """Return the initial value of each state that does not start at 0: a number or AT_PARAM.

        It may also be EXACTLY_AT_PARAM.
        """
        return {}

    @staticmethod
    def _by_row(options: Mapping[str, Any]) -> str | None:
        """Return the name of the state that has one number for each row, or None."""
        return None

    @staticmethod
    def _factored(options: Mapping[str, Any], shape: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
        """Return the name and shape of each array of a factored rule, in the order of fo_factored.

        shape: that of the parameter.  The result is empty if the rule is not factored.
        """
        return {}

    @staticmethod
    def _no_rows(options: Mapping[str, Any]) -> str:
        """Return why the rule refuses row-sparse gradients, or "" if it takes them."""
        return ""

    @staticmethod
    def _average(options: Mapping[str, Any]) -> tuple[str, float] | None:
        """Return (state, weight) if the rule averages w: w + weight * (state - w), else None."""
        return None

    @staticmethod
    def _divides_by_0(options: Mapping[str, Any]) -> bool:
        """Return whether an element whose gradients are all 0 becomes 0/0 at some step."""
        return options.get("eps") == 0.0 and options.get("eps_root", 0.0) == 0.0

    @staticmethod
    def _require(options: Mapping[str, Any]) -> None:
        """Raise an error if options that are allowed separately cannot be combined."""

    @staticmethod
    def _direction(options: Mapping[str, Any]) -> Direction | None:
        """Return how the direction of a matrix is computed before the step, or None."""
        return None

    @staticmethod
    def _lookahead(options: Mapping[str, Any]) -> tuple[str, float] | None:
        """Return (state, factor) if gradients are needed at w - factor * state, else None."""
        return None


def is_factored(rule: type[Rule]) -> bool:
    """Return whether a rule keeps statistics of rows and columns."""
    return rule._factored is not Rule._factored


def axis_shapes(name: str, shape: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
    """Return a name and a shape for each axis, with length 1 in the other axes."""
    return {
        f"{name}_{axis}": tuple(n if k == axis else 1 for k, n in enumerate(shape))
        for axis in range(max(len(shape), 1))
    }


def checks_of(rule: type[Rule]) -> dict[str, Check]:
    """Return the check of each option that a group of the rule has."""
    return {**COMMON, **rule._checks}


def defaults_of(rule: type[Rule]) -> dict[str, Any]:
    """Return the default of each option, from the signatures of the class and of its bases."""
    checks = checks_of(rule)
    found: dict[str, Any] = {"maximize": False, "l1": 0.0, "bounds": None}
    for cls in reversed(rule.__mro__):
        if "__init__" in vars(cls):
            for name, parameter in inspect.signature(vars(cls)["__init__"]).parameters.items():
                if name in checks and parameter.default is not parameter.empty:
                    found[name] = parameter.default
    return {name: check(name, found[name]) for name, check in checks.items()}


def positional_arguments(rule: type[Rule]) -> list[str]:
    """Return the arguments that may be given by position; torch.optim has the same."""
    parameters = inspect.signature(rule).parameters.items()
    positional = inspect.Parameter.POSITIONAL_OR_KEYWORD
    return [name for name, parameter in parameters if parameter.kind is positional]
