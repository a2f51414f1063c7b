"""The state dict of a torch.optim optimizer, read as one of ours."""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fastopt._errors import FastoptError
from fastopt.arrays.dtypes import Array
from fastopt.optimizers.base.groups import ParamGroup
from fastopt.optimizers.base.state_arrays import ADDED

if TYPE_CHECKING:
    from fastopt.optimizers.base.optimizer import Optimizer

# How PyTorch computes, and what it calls parameters: nothing that changes a result.
IGNORED = {"foreach", "fused", "capturable", "differentiable", "params", "param_names"}


def is_pytorchs(state_dict: object) -> bool:
    """Say whether a state dict has PyTorch's two entries and none of ours."""
    return isinstance(state_dict, Mapping) and state_dict.keys() == {"state", "param_groups"}


def as_ours(optimizer: Optimizer, state_dict: Mapping[str, Any]) -> dict[str, Any]:
    """Return PyTorch's state dict in our layout; parameters correspond by name, else in order.

    What PyTorch does not say is filled in: an option that it lacks is as our class has it by
    default, which is PyTorch's formula; a parameter without state has that of the start, masters
    and averages start at their parameters; and SGD, which counts no steps there, has taken one
    wherever it has a buffer.
    """
    saved_groups, saved_state = state_dict["param_groups"], state_dict["state"]
    groups = optimizer.param_groups
    if not (isinstance(saved_groups, Sequence) and len(saved_groups) == len(groups)):
        found = len(saved_groups) if isinstance(saved_groups, Sequence) else repr(saved_groups)
        raise FastoptError(f"the state dict has groups: {found}; this optimizer has {len(groups)}")
    if not isinstance(saved_state, Mapping):
        raise FastoptError(f"the state dict has the state {saved_state!r}; a dict is needed")
    state: dict[int | str, dict[str, Any]] = {}
    unlisted = dict(saved_state)
    for i, (group, saved) in enumerate(zip(groups, saved_groups, strict=True)):
        for key, index in zip(group.arrays, _indices(optimizer, group, saved, i), strict=True):
            of_one = unlisted.pop(index, {})
            if not isinstance(of_one, Mapping):
                raise FastoptError(f"the state dict has for parameter {key!r} the state {of_one!r}")
            state[key] = _state(optimizer, group, key, of_one)
    if unlisted:
        raise FastoptError(f"the state dict has state of {list(unlisted)}, which no group lists")
    return {
        "rule": type(optimizer).__name__,
        "step_count": max((of_one["step"] for of_one in state.values()), default=0),
        "skipped_steps": 0,
        "accumulated": {},
        "state": state,
        "param_groups": [
            _group(optimizer, group, saved, i)
            for i, (group, saved) in enumerate(zip(groups, saved_groups, strict=True))
        ],
    }


def _indices(optimizer: Optimizer, group: ParamGroup, saved: object, i: int) -> list[Any]:
    """Return PyTorch's numbers of a group's parameters, in our order."""
    entries: Mapping[str, Any] = saved if isinstance(saved, Mapping) else {}
    indices: Any = entries.get("params")
    is_list = isinstance(indices, (list, tuple)) and all(
        isinstance(index, (int, str)) for index in indices
    )
    if not is_list or not len(set(indices)) == len(indices) == len(group.arrays):
        raise FastoptError(
            f"the state dict has parameters of group {i}: {indices!r}; this optimizer has "
            f"{list(group.arrays)!r}"
        )
    names, own = entries.get("param_names"), optimizer.names_of(group)
    if names is None or own is None:
        return list(indices)
    if not isinstance(names, list) or sorted(names, key=repr) != sorted(own, key=repr):
        raise FastoptError(
            f"the state dict has in group {i} the names {names!r}; this optimizer has {own!r}"
        )
    return [indices[names.index(name)] for name in own]


def _group(
    optimizer: Optimizer, group: ParamGroup, saved: Mapping[str, Any], i: int
) -> dict[str, Any]:
    cls: Any = type(optimizer)
    defaults = cls([]).param_groups[0].options
    options = {name: _plain(value) for name, value in saved.items() if name not in IGNORED}
    initial_lr = options.pop("initial_lr", None)  # of its schedulers
    for name in options:
        if name not in defaults:
            raise FastoptError(
                f"the state dict has {name!r} in group {i}; {type(optimizer).__name__} has no such "
                "option"
            )
    for name, parameter in inspect.signature(cls).parameters.items():
        if parameter.kind is parameter.POSITIONAL_OR_KEYWORD and name not in saved:  # PyTorch's
            raise FastoptError(
                f"the state dict has no {name!r} in group {i}; that of torch.optim."
                f"{cls.__name__} has it"
            )
    options = {**defaults, **options}
    own = group.saved()
    return {
        **options,
        "initial_lr": options["lr"] if initial_lr is None else initial_lr,
        "schedule": own["schedule"],  # ours goes on, from the step that is loaded
        "params": own["params"],
    }


def _state(
    optimizer: Optimizer, group: ParamGroup, key: int | str, saved: Mapping[str, Any]
) -> dict[str, Any]:
    own, w = optimizer.state[key], group.arrays[key]
    start = optimizer.initial_state(group.options)
    fresh: dict[str, Any] = {
        name: np.full_like(own[name], start.get(name, 0.0)) for name in group.state_names
    }
    if optimizer.saved_scalar:
        fresh[optimizer.saved_scalar] = 1.0
    added = {name: np.array(w, own[name].dtype) for name in ADDED if name in own}
    saved = {name: value for name, value in saved.items() if value is not None}
    if not saved:
        return {"step": 0, **fresh, **added}
    found = {
        name: _plain(value)
        if name in ("step", optimizer.saved_scalar)
        else _array(name, value, own)
        for name, value in saved.items()
    }
    if "step" not in found and type(optimizer).__name__ != "SGD":  # PyTorch's counts none
        raise FastoptError(f"the state dict has no step of parameter {key!r}")
    step = found.pop("step", 1)
    if isinstance(step, float) and step.is_integer():
        step = int(step)
    if not isinstance(step, int) or step < 0:
        raise FastoptError(
            f"step of parameter {key!r} is {step!r} in the state dict; a count is needed"
        )
    return {"step": step, **found, **added}


def _plain(value: Any) -> Any:
    """Return a number for a tensor of one."""
    is_one = hasattr(value, "item") and math.prod(getattr(value, "shape", ())) == 1
    return value.item() if is_one else value


def _array(name: str, value: Any, own: Mapping[str, Array]) -> Array:
    """Return a tensor as an array; state of 16 bits, as PyTorch has it, in the dtype of ours."""
    if not hasattr(value, "detach"):
        return np.asarray(value)
    value = value.detach().cpu()
    if value.element_size() == 2 and name in own:
        return np.asarray(value.float()).astype(own[name].dtype)
    return np.asarray(value)
