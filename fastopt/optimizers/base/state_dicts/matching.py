"""Match saved groups and states with those of an optimizer by the names of the parameters."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

from fastopt._errors import FastoptError
from fastopt.optimizers.base.arguments import Key
from fastopt.optimizers.base.state.parameters import Parameters


def in_our_order(parameters: Parameters, state_dict: Any, values: Any) -> tuple[Any, Any]:
    """Return a state dict and values of parameters with the optimizer's order and keys.

    They are returned unchanged if the state dict has no names, or groups with other names.

    Parameters
    ----------
    parameters
        The parameters of the optimizer.
    state_dict
        The result of `state_dict_of`, not yet checked.
    values
        Values of parameters by their key in the state dict, or None.
    """
    found = _matched(parameters, state_dict)
    if found is None:
        return state_dict, values
    keys: dict[Key, Key] = {}
    groups = []
    for group, names, saved in zip(parameters.groups, _names(parameters), found, strict=True):
        key_of = dict(zip(_saved_names(parameters, saved), saved["params"], strict=True))
        keys |= {key_of[name]: key for name, key in zip(names, group.arrays, strict=True)}
        groups.append({**saved, "params": list(group.arrays)})
    renamed = {
        name: _renamed(name, state_dict[name], keys)
        for name in ("state", "accumulated")
        if name in state_dict
    }
    return {**state_dict, **renamed, "param_groups": groups}, _renamed("params", values, keys)


def _names(parameters: Parameters) -> list[list[Any]]:
    """Return the names of each group's parameters, or an empty list if they have none."""
    return [parameters.names_of(group) or [] for group in parameters.groups]


def _saved_names(parameters: Parameters, saved: Mapping[str, Any]) -> Any:
    """Return the names in a saved group; for a dict of parameters, they are also the keys."""
    return saved.get("params" if parameters.kind == "dict" else "param_names")


def _matched(parameters: Parameters, state_dict: Any) -> list[Mapping[str, Any]] | None:
    """Return the saved group for each of ours, or None if names do not determine it."""
    saved_groups = state_dict.get("param_groups") if isinstance(state_dict, Mapping) else None
    if not isinstance(saved_groups, Sequence):
        return None
    rest = []
    for saved in saved_groups:
        if not isinstance(saved, Mapping):
            return None
        names: Any = _saved_names(parameters, saved)
        keys: Any = saved.get("params")
        if not (_is_distinct(names) and _is_distinct(keys) and len(names) == len(keys)):
            return None
        rest.append((set(names), saved))
    matched = []
    for group, own in zip(parameters.groups, _names(parameters), strict=True):
        at = [i for i, (names, _) in enumerate(rest) if names == set(own)]
        if len(own) != len(group.arrays) or not at:
            return None
        matched.append(rest.pop(at[0])[1])
    return None if rest else matched


def _is_distinct(names: Any) -> bool:
    is_list = isinstance(names, list) and all(isinstance(name, Hashable) for name in names)
    return is_list and len(set(names)) == len(names)


def _renamed(what: str, by_key: Any, keys: Mapping[Key, Key]) -> Any:
    """Return a mapping with our keys in place of the saved ones."""
    if not isinstance(by_key, Mapping):
        return by_key
    for key in by_key:
        if key not in keys:
            raise FastoptError(f"the state dict has {what} of {key!r}, which no group lists")
    return {keys[key]: value for key, value in by_key.items()}
