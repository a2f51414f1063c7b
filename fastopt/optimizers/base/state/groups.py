"""The options of one parameter group, which are checked whenever they are set."""

from __future__ import annotations

import math
import numbers
from collections.abc import Iterable, Iterator, Mapping, MutableMapping
from typing import Any

import numpy as np

from fastopt._checks import at_least_0
from fastopt._core import RULES, Counts
from fastopt._errors import FastoptError
from fastopt.arrays.dtypes import Array
from fastopt.optimizers.base.arguments import Key, Schedule
from fastopt.optimizers.base.names import meant
from fastopt.optimizers.base.rule import Rule, checks_of
from fastopt.optimizers.base.state.ranges import (
    EPSILONS,
    INFINITE,
    is_single,
    require_single,
    warn_of_0,
)


class Status:
    """Data that an optimizer shares with its groups, so that they need no reference to it.

    Attributes
    ----------
    changes
        An element for each option set since the last step.  It is a list, because a step removes
        only the elements for changes that it has used.
    counts
        The numbers of steps taken and skipped.  It does not refer to the plan that updates it, so
        a group that outlives its optimizer does not keep the state of the parameters alive.
    """

    __slots__ = ("changes", "counts")

    def __init__(self) -> None:
        self.changes = [True]
        self.counts: Counts

    @property
    def step_count(self) -> int:
        """The number of steps taken."""
        return self.counts.steps


class ParamGroup(MutableMapping[str, Any]):
    """The parameters and options of one group, as in PyTorch.

    ``group["lr"] = 0.1`` takes effect at the next step.  With a schedule, ``group["lr"]`` is the
    learning rate of the next step.
    """

    __slots__ = (
        *("rule", "status", "arrays", "schedule", "options", "initial_lr", "kernel"),
        *("state_names", "is_single", "__weakref__"),
    )

    def __init__(
        self,
        rule: type[Rule],
        status: Status,
        params: Mapping[Key, Array],
        options: Mapping[str, Any],
    ) -> None:
        self.rule, self.status = rule, status
        self.arrays = dict(params)
        self.is_single = is_single(params.values())
        lr = options["lr"]
        self.schedule: Schedule | None = lr if callable(lr) else None
        self.options = {
            name: check(name, options[name])
            for name, check in checks_of(rule).items()
            if not (name == "lr" and callable(lr))
        }
        # `initial_lr` is the divisor of "schedule_only"; the options of a pickled group contain it.
        base = getattr(lr, "lr", None) if callable(lr) else self.options["lr"]
        is_number = isinstance(base, numbers.Real) and math.isfinite(base)
        self.initial_lr: float | None = options.get("initial_lr", base if is_number else None)
        self.kernel, self.state_names = rule._kernel(self.options)
        self.require_meaning(self.options, self.initial_lr)

    def require_meaning(self, options: Mapping[str, Any], initial_lr: float | None) -> None:
        """Raise an error if options that are allowed separately cannot be combined."""
        self.rule._require(options)
        if self.is_single:
            require_single(options)
        if self.rule._kernel(options)[0] != self.kernel:
            self._raise_other_state(options)
        has_base = initial_lr is not None and initial_lr > 0
        if options["decoupled_weight_decay"] == "schedule_only" and not has_base:
            raise FastoptError(
                "decoupled_weight_decay='schedule_only' divides by the base learning rate, so it "
                "needs lr > 0 or a schedule with an attribute `lr`"
            )

    def _raise_other_state(self, options: Mapping[str, Any]) -> None:
        """Raise an error that names the options that need other state than the group's."""
        causes = [
            name
            for name, value in options.items()
            if self.rule._kernel({**self.options, name: value})[0] != self.kernel
        ]
        given = ", ".join(f"{name}={options[name]!r}" for name in causes)
        own = ", ".join(f"{name}={self.options[name]!r}" for name in causes)
        raise FastoptError(
            f"{given} needs other state than the group has, which was made with {own}; make the "
            f"optimizer with {given}"
        )

    def __getitem__(self, name: str) -> Any:
        if name == "params":
            return list(self.arrays.values())
        if name == "lr" and self.schedule is not None:
            step = self.status.step_count + 1
            name = f"the schedule's learning rate for step {step}"
            rate = at_least_0(name, self.schedule(step))
            if rate >= INFINITE and self.is_single:
                require_single({name: rate})
            return rate
        return self.options[name]

    def __setitem__(self, name: str, value: Any) -> None:
        checks = checks_of(self.rule)
        if name not in checks:
            raise FastoptError(
                f"{name!r} cannot be set in a group{meant(name, checks)}; allowed: {list(self)[1:]}"
            )
        if name == "lr" and self.schedule is not None:
            raise FastoptError(f"lr follows {self.schedule!r} in this group; it cannot be set")
        changed = {**self.options, name: checks[name](name, value)}
        if name in self.rule._only_at_start:
            raise FastoptError(
                f"{name} cannot be set to {value!r} after the state has been made; pass it to the "
                "constructor"
            )
        self.require_meaning(changed, self.initial_lr)
        if name in EPSILONS:
            warn_of_0(self.rule, changed)
        self.options = changed
        self.status.changes.append(True)

    def __setattr__(self, name: str, value: object) -> None:
        if name not in self.__slots__:
            raise AttributeError(
                f"a group has no attribute {name!r}; its options are items: group[{name!r}]"
            )
        super().__setattr__(name, value)

    def __delitem__(self, name: str) -> None:
        raise FastoptError(f"{name!r} cannot be removed from a group")

    def __iter__(self) -> Iterator[str]:
        return iter(["params", "lr", *(name for name in self.options if name != "lr")])

    def __len__(self) -> int:
        return len(list(iter(self)))

    __eq__ = object.__eq__  # that of Mapping would compare arrays, whose == is elementwise
    __hash__ = object.__hash__

    def __repr__(self) -> str:
        return repr({"params": [np.shape(w) for w in self.arrays.values()], **self.shown()})

    def for_c(self) -> tuple[Any, ...]:
        """Return the argument of `Plan.set_group`."""
        decay = self.options["decoupled_weight_decay"]
        hyperparameters, weight_decay = for_kernel(self.rule, self.kernel, self.options)
        return (
            self.kernel,
            hyperparameters,
            weight_decay,
            "coupled" if decay is False else "lr" if decay is True else decay,
            self.initial_lr or 0.0,
            self["maximize"],
            self["l1"],
            bounds_for_c(self["bounds"]),
        )

    def factored(self, w: Array) -> dict[str, tuple[int, ...]]:
        """Return the names and shapes of the state arrays of a factored rule, for a parameter."""
        return self.rule._factored(self.options, np.asarray(w).shape)

    def shown(self) -> dict[str, Any]:
        """Return the options; "lr" is the schedule itself, which may fail for the next step."""
        return {name: self._given_lr() if name == "lr" else self[name] for name in list(self)[1:]}

    def _given_lr(self) -> Any:
        return self.options["lr"] if self.schedule is None else self.schedule

    def saved(self) -> dict[str, Any]:
        """Return the group's entry in a state dict, with the state of its schedule."""
        return {
            **self.options,
            "initial_lr": self.initial_lr,
            "schedule": None
            if self.schedule is None
            else getattr(self.schedule, "state_dict", dict)(),
            "params": list(self.arrays),
        }

    def pickled(self) -> tuple[dict[Key, Array], dict[str, Any]]:
        """Return the parameters and options that make a copy of the group."""
        return self.arrays, {**self.options, "lr": self._given_lr(), "initial_lr": self.initial_lr}


def for_kernel(
    rule: type[Rule], kernel: str, options: Mapping[str, Any]
) -> tuple[tuple[float, ...], float]:
    """Return the hyperparameters of a kernel in C's order, and the weight decay around it."""
    values: dict[str, Any] = {
        "lr": 0.0,  # with a schedule, the rate is passed at each step instead
        **options,
        **rule._hyperparameters(options),
    }
    weight_decay: float = options["weight_decay"]
    if rule._own_decay:
        is_coupled = options["decoupled_weight_decay"] is False
        values[rule._own_decay] = weight_decay if is_coupled else 0.0
        weight_decay = 0.0 if is_coupled else weight_decay
    return tuple(float(values[name]) for name in RULES[kernel][2]), weight_decay


def bounds_for_c(bounds: tuple[float | None, float | None] | None) -> tuple[float, float] | None:
    """Return bounds with infinity in place of None."""
    if bounds is None:
        return None
    low, high = bounds
    return -math.inf if low is None else low, math.inf if high is None else high


def arrays_of(groups: Iterable[ParamGroup]) -> dict[Key, Array]:
    """Return the parameters of all groups by key, sorted if keys are indices, else in group order.

    A weight_decay_mask can split groups, so that group order differs from the order of the indices.
    """
    arrays: dict[Key, Array] = {}
    for group in groups:
        arrays |= group.arrays
    indices: list[Key] = [*range(len(arrays))]
    is_sorted = [*arrays] == indices or arrays.keys() != set(indices)
    return arrays if is_sorted else {key: arrays[key] for key in indices}
