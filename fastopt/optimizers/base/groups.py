"""The options of one group of parameters: checked whenever they are set."""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping
from typing import TYPE_CHECKING, Any

import numpy as np

from fastopt._checks import Check, Choice, at_least_0, flag
from fastopt._core import RULES
from fastopt._errors import FastoptError

if TYPE_CHECKING:
    from fastopt.arrays.dtypes import Array
    from fastopt.optimizers.base.optimizer import Optimizer

Schedule = Callable[[int], float]

COMMON: Mapping[str, Check] = {
    "lr": at_least_0,
    "weight_decay": at_least_0,
    "decoupled_weight_decay": Choice((False, True, "lr", "schedule_only")),
    "maximize": flag,
}


class ParamGroup(MutableMapping[str, Any]):
    """One group's parameters and options, as in PyTorch.

    ``group["lr"] = 0.1`` acts at the next step.  With a schedule, ``group["lr"]`` is what it gives
    for the step about to be taken.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        params: Mapping[int | str, Array],
        options: Mapping[str, Any],
    ) -> None:
        self.optimizer = optimizer
        self.arrays = dict(params)
        lr = options["lr"]
        self.schedule: Schedule | None = lr if callable(lr) else None
        self.options = {
            name: check(name, options[name])
            for name, check in {**COMMON, **optimizer.checks}.items()
            if not (name == "lr" and callable(lr))
        }
        # What "schedule_only" divides by; a copy of a group brings its own.
        base = getattr(lr, "lr", None) if callable(lr) else self.options["lr"]
        is_number = isinstance(base, numbers.Real) and math.isfinite(base)
        self.initial_lr: float | None = options.get("initial_lr", base if is_number else None)
        self.rule, self.state_names = optimizer.kernel(self.options)
        self.require_meaning(self.options, self.initial_lr)

    def require_meaning(self, options: Mapping[str, Any], initial_lr: float | None) -> None:
        """Refuse options that each are allowed but not together."""
        self.optimizer.require(options)
        if self.optimizer.kernel(options)[0] != self.rule:
            raise FastoptError(
                f"these options need the rule {self.optimizer.kernel(options)[0]!r} with other "
                f"state than {self.rule!r}, which the group was made with; make a new optimizer"
            )
        has_base = initial_lr is not None and initial_lr > 0
        if options["decoupled_weight_decay"] == "schedule_only" and not has_base:
            raise FastoptError(
                "decoupled_weight_decay='schedule_only' divides by the base learning rate, so it "
                "needs lr > 0 or a schedule with an attribute `lr`"
            )

    def __getitem__(self, name: str) -> Any:
        if name == "params":
            return list(self.arrays.values())
        if name == "lr" and self.schedule is not None:
            step = self.optimizer.step_count + 1
            return at_least_0(f"the schedule's learning rate for step {step}", self.schedule(step))
        return self.options[name]

    def __setitem__(self, name: str, value: Any) -> None:
        if name not in COMMON and name not in self.optimizer.checks:
            raise FastoptError(f"{name!r} can not be set in a group; allowed: {list(self)[1:]}")
        if name == "lr" and self.schedule is not None:
            raise FastoptError(f"lr follows {self.schedule!r} in this group; it can not be set")
        check = COMMON.get(name) or self.optimizer.checks[name]
        changed = {**self.options, name: check(name, value)}
        if name in self.optimizer.only_at_start:
            raise FastoptError(
                f"{name} is {value!r} for a group that has its state; allowed at construction alone"
            )
        self.require_meaning(changed, self.initial_lr)
        self.options = changed
        self.optimizer.options_changed = True

    def __delitem__(self, name: str) -> None:
        raise FastoptError(f"{name!r} can not be removed from a group")

    def __iter__(self) -> Iterator[str]:
        return iter(["params", "lr", *(name for name in self.options if name != "lr")])

    def __len__(self) -> int:
        return len(list(iter(self)))

    __eq__ = object.__eq__  # a group is itself: comparing arrays has no one answer
    __hash__ = object.__hash__

    def __repr__(self) -> str:
        return repr({"params": [np.shape(w) for w in self.arrays.values()], **self.shown()})

    def for_c(self) -> tuple[str, tuple[float, ...], float, str, float, bool]:
        """Return the options as C has them."""
        values: dict[str, Any] = {
            "lr": 0.0,  # where a schedule is followed, each step brings its rate
            **self.options,
            **self.optimizer.hyperparameters(self.options),
        }
        decay = self["decoupled_weight_decay"]
        return (
            self.rule,
            tuple(float(values[name]) for name in RULES[self.rule][2]),
            self["weight_decay"],
            "coupled" if decay is False else "lr" if decay is True else decay,
            self.initial_lr or 0.0,
            self["maximize"],
        )

    def shown(self) -> dict[str, Any]:
        """Return the options for a reader: a schedule itself, which may have no step to come."""
        return {name: self._given_lr() if name == "lr" else self[name] for name in list(self)[1:]}

    def _given_lr(self) -> Any:
        return self.options["lr"] if self.schedule is None else self.schedule

    def saved(self) -> dict[str, Any]:
        """Return what state_dict() keeps of the group; of a schedule its state, not its rate."""
        return {
            **self.options,
            "initial_lr": self.initial_lr,
            "schedule": None
            if self.schedule is None
            else getattr(self.schedule, "state_dict", dict)(),
            "params": list(self.arrays),
        }

    def pickled(self) -> tuple[dict[int | str, Array], dict[str, Any]]:
        """Return the arguments that make a copy of the group."""
        return self.arrays, {**self.options, "lr": self._given_lr(), "initial_lr": self.initial_lr}


def arrays_of(groups: Iterable[ParamGroup]) -> dict[int | str, Array]:
    """Return the parameters of groups by index, in its order, or by name, in that of groups."""
    arrays = {key: w for group in groups for key, w in group.arrays.items()}
    by_index: Any = range(len(arrays))  # of a group that a mask has split, not the groups' order
    return {key: arrays[key] for key in by_index} if arrays.keys() == set(by_index) else arrays
