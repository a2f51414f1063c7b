"""The conversion of a state dict of torch.optim to one of ours."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fastopt._errors import FastoptError
from fastopt.arrays.dtypes import Array
from fastopt.optimizers.base.arguments import Key
from fastopt.optimizers.base.rule import Rule, defaults_of, positional_arguments
from fastopt.optimizers.base.state.arrays import ADDED
from fastopt.optimizers.base.state.float8 import states_in
from fastopt.optimizers.base.state.groups import ParamGroup
from fastopt.optimizers.base.state.parameters import Parameters

State = Mapping[Key, Mapping[str, Array]]  # as `Parameters.views` returns it

# Entries of PyTorch's groups that do not affect the formula: implementation, parameters and names.
IGNORED = {"foreach", "fused", "capturable", "differentiable", "params", "param_names"}


def is_pytorchs(state_dict: object) -> bool:
    """Return whether a state dict has exactly the two keys of a PyTorch state dict."""
    return isinstance(state_dict, Mapping) and state_dict.keys() == {"state", "param_groups"}


def as_ours(parameters: Parameters, state: State, state_dict: Mapping[str, Any]) -> dict[str, Any]:
    """Return PyTorch's state dict in our layout; parameters correspond by name, else in order.

    Entries that PyTorch's lacks are added.  A missing option has the default of our class, which
    gives PyTorch's formula.  A parameter without state has the initial state.  Masters and averages
    start at their parameters.  PyTorch's SGD and Muon count no steps: with a buffer, the count
    is 1.
    """
    rule, groups = parameters.rule, parameters.groups
    saved_groups, saved_state = state_dict["param_groups"], state_dict["state"]
    if not (isinstance(saved_groups, Sequence) and len(saved_groups) == len(groups)):
        found = len(saved_groups) if isinstance(saved_groups, Sequence) else repr(saved_groups)
        raise FastoptError(f"the state dict has groups: {found}; this optimizer has {len(groups)}")
    if not isinstance(saved_state, Mapping):
        raise FastoptError(f"the state dict has the state {saved_state!r}; a dict is needed")
    ours: dict[Key, dict[str, Any]] = {}
    unlisted = dict(saved_state)
    for i, (group, saved) in enumerate(zip(groups, saved_groups, strict=True)):
        indices = _indices(saved, i, list(group.arrays), parameters.names_of(group))
        for key, index in zip(group.arrays, indices, strict=True):
            of_one = unlisted.pop(index, {})
            if not isinstance(of_one, Mapping):
                raise FastoptError(f"the state dict has the state {of_one!r} for parameter {key!r}")
            ours[key] = _state(group, key, state[key], of_one)
    if unlisted:
        raise FastoptError(f"the state dict has state of {list(unlisted)}, which no group lists")
    return {
        "rule": rule.__name__,
        "step_count": max((of_one["step"] for of_one in ours.values()), default=0),
        "skipped_steps": 0,
        "accumulated": {},
        "state": ours,
        "param_groups": [
            _group(rule, group, saved, i)
            for i, (group, saved) in enumerate(zip(groups, saved_groups, strict=True))
        ],
    }


def _indices(saved: object, i: int, keys: list[Key], own: list[Any] | None) -> list[Any]:
    """Return PyTorch's indices of the parameters of group i, in the order of our keys.

    own: the names of our parameters, if they have names.
    """
    entries: Mapping[str, Any] = saved if isinstance(saved, Mapping) else {}
    indices: Any = entries.get("params")
    is_list = isinstance(indices, (list, tuple)) and all(
        isinstance(index, (int, str)) for index in indices
    )
    if not is_list or not len(set(indices)) == len(indices) == len(keys):
        raise FastoptError(
            f"the state dict has parameters of group {i}: {indices!r}; this optimizer has {keys!r}"
        )
    names = entries.get("param_names")
    if names is None or own is None:
        return list(indices)
    if not isinstance(names, list) or sorted(names, key=repr) != sorted(own, key=repr):
        raise FastoptError(
            f"the state dict has the names {names!r} in group {i}; this optimizer has {own!r}"
        )
    return [indices[names.index(name)] for name in own]


def _group(rule: type[Rule], group: ParamGroup, saved: Mapping[str, Any], i: int) -> dict[str, Any]:
    """Return the entry of a group in our state dict."""
    defaults = defaults_of(rule)
    options = {name: _plain(value) for name, value in saved.items() if name not in IGNORED}
    initial_lr = options.pop("initial_lr", None)  # written by PyTorch's schedulers
    for name in options:
        if name not in defaults:
            raise FastoptError(
                f"the state dict has {name!r} in group {i}; {rule.__name__} has no such option"
            )
    for name in positional_arguments(rule):
        if name not in saved:
            raise FastoptError(
                f"the state dict has no {name!r} in group {i}; that of torch.optim."
                f"{rule.__name__} has it"
            )
    options = {**defaults, **options}
    own = group.saved()
    return {
        **options,
        "initial_lr": options["lr"] if initial_lr is None else initial_lr,
        "schedule": own["schedule"],  # our schedule continues, from the step count that is loaded
        "params": own["params"],
    }


def _state(
    group: ParamGroup, key: Key, own: Mapping[str, Array], saved: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the entry of a parameter in our state dict."""
    rule, w = group.rule, group.arrays[key]
    if states_in(own):
        raise FastoptError(
            f"parameter {key!r} has state of 8 bits (state_dtype='float8'), into which the float32 "
            "state of PyTorch cannot be loaded"
        )
    initial = rule._initial_state(group.options)
    fresh: dict[str, Any] = {
        name: _initial(initial.get(name, 0.0), w, own[name])
        for name in (*group.state_names, *group.factored(w))
    }
    fresh |= rule._scalars
    added = {name: np.array(w, own[name].dtype) for name in ADDED if name in own}
    saved = {name: value for name, value in saved.items() if value is not None}
    if not saved:
        return {"step": 0, **fresh, **added}
    found = {
        name: _plain(value) if name in ("step", *rule._scalars) else _array(name, value, own)
        for name, value in saved.items()
    }
    if "step" not in found and rule.__name__ not in ("SGD", "Muon"):  # PyTorch's count no steps
        raise FastoptError(f"the state dict has no step of parameter {key!r}")
    step = found.pop("step", 1)
    if isinstance(step, float) and step.is_integer():
        step = int(step)
    if not isinstance(step, int) or step < 0:
        raise FastoptError(
            f"step of parameter {key!r} is {step!r} in the state dict; a count is needed"
        )
    return {"step": step, **found, **added}


def _initial(value: float | str, w: Array, own: Array) -> Array:
    return np.array(w, own.dtype) if isinstance(value, str) else np.full_like(own, value)


def _plain(value: Any) -> Any:
    """Return the number in a tensor of one element, and any other value as it is."""
    is_one = hasattr(value, "item") and math.prod(getattr(value, "shape", ())) == 1
    return value.item() if is_one else value


def _array(name: str, value: Any, own: Mapping[str, Array]) -> Array:
    """Return a tensor as an array; PyTorch's 16-bit state is converted to the dtype of ours."""
    if not hasattr(value, "detach"):
        return np.asarray(value)
    value = value.detach().cpu()
    if value.element_size() == 2 and name in own:
        return np.asarray(value.float()).astype(own[name].dtype)
    return np.asarray(value)
