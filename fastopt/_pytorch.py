"""The state dict of a torch.optim optimizer, read as one of ours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fastopt._arrays import Array
from fastopt._errors import FastoptError
from fastopt._groups import ParamGroup
from fastopt.optimizer import ADDED

if TYPE_CHECKING:
    from fastopt.optimizer import Optimizer

# How PyTorch computes, and what it calls parameters: nothing that changes a result.
IGNORED = {"foreach", "fused", "capturable", "differentiable", "params", "param_names"}


def is_pytorchs(state_dict: object) -> bool:
    """Say whether a state dict has PyTorch's two entries and none of ours."""
    return isinstance(state_dict, Mapping) and state_dict.keys() == {"state", "param_groups"}


def as_ours(optimizer: Optimizer, state_dict: Mapping[str, Any]) -> dict[str, Any]:
    """Return PyTorch's state dict in our layout; parameters correspond in their order.

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
    for i, (group, saved) in enumerate(zip(groups, saved_groups, strict=True)):
        indices = saved.get("params") if isinstance(saved, Mapping) else None
        if not isinstance(indices, Sequence) or len(indices) != len(group.arrays):
            raise FastoptError(
                f"the state dict has parameters of group {i}: {indices!r}; this optimizer has "
                f"{list(group.arrays)!r}"
            )
        for key, index in zip(group.arrays, indices, strict=True):
            of_one = saved_state.get(index, {})
            if not isinstance(of_one, Mapping):
                raise FastoptError(f"the state dict has for parameter {key!r} the state {of_one!r}")
            state[key] = _state(optimizer, group, key, of_one)
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


def _group(
    optimizer: Optimizer, group: ParamGroup, saved: Mapping[str, Any], i: int
) -> dict[str, Any]:
    cls: Any = type(optimizer)
    defaults = cls([]).param_groups[0].options
    options = {name: value for name, value in saved.items() if name not in IGNORED}
    initial_lr = options.pop("initial_lr", None)  # of its schedulers
    for name in options:
        if name not in defaults:
            raise FastoptError(
                f"the state dict has {name!r} in group {i}; {type(optimizer).__name__} has no such "
                "option"
            )
    options = {**defaults, **options}
    own = group.saved()
    return {
        **options,
        "initial_lr": _plain(options["lr"] if initial_lr is None else initial_lr),
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
    return value.item() if hasattr(value, "item") else value


def _array(name: str, value: Any, own: Mapping[str, Array]) -> Array:
    """Return a tensor as an array; state of 16 bits, as PyTorch has it, in the dtype of ours."""
    if not hasattr(value, "detach"):
        return np.asarray(value)
    value = value.detach().cpu()
    if value.element_size() == 2 and name in own:
        return np.asarray(value.float()).astype(own[name].dtype)
    return np.asarray(value)
