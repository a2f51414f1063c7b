"""How parameters are given: one array, a list or a dict of them, or a list of group dicts."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

import numpy as np

from fastopt._errors import FastoptError
from fastopt.arrays.accepted import require_parameter


def kind_of(params: object) -> str:
    """Return "array", "dict" or "list": of arrays, or of group dicts."""
    if isinstance(params, np.ndarray):
        return "array"
    return "dict" if isinstance(params, dict) else "list"


def in_structure(kind: str, values: Mapping[int | str, Any]) -> Any:
    """Return one value for each parameter, by its index or name, as the parameters were given."""
    if kind == "array":
        return values[0]
    return dict(values) if kind == "dict" else list(values.values())


def each(call: Callable[[str, Any], Any], name: str, holder: Any) -> Any:
    """Return an array, or the list or dict of them, after a call for each with its name."""
    if isinstance(holder, dict):
        return {key: call(f"{name}[{key!r}]", value) for key, value in holder.items()}
    if isinstance(holder, (list, tuple)):
        return [call(f"{name}[{i}]", value) for i, value in enumerate(holder)]
    return call(name, holder)


def as_groups(params: Any, kind: str) -> list[Mapping[str, Any]]:
    """Return parameters in any form as group dicts; a list of the user's stays the same object."""
    if kind != "list":
        return [{"params": params}]
    params = listed(params)
    is_groups = any(isinstance(entry, dict) for entry in params)
    return list(params) if is_groups else [{"params": params}]


def placed(
    given: object, kind: str, taken: Collection[int | str], options: Collection[str]
) -> tuple[Any, dict[Any, int | str]]:
    """Return what holds a group's parameters and, by the place in it, the key of each; checked.

    taken: the keys of the parameters that there are; options: the names that a group may have.
    """
    if not isinstance(given, Mapping) or "params" not in given:
        raise TypeError(f"a parameter group is a dict with 'params'; {given!r} is not")
    for name in given:
        if name != "params" and name not in options:
            raise FastoptError(f"{name!r} can not differ by group; allowed: {options}")
    holder = given["params"]
    if kind == "dict" and not isinstance(holder, dict):
        raise TypeError(f"params is a {type(holder).__name__}; a dict is needed")
    if isinstance(holder, np.ndarray):
        holder = [holder]
    elif not isinstance(holder, dict):
        holder = listed(holder)
    named = dict(holder) if isinstance(holder, dict) else dict(enumerate(holder))
    first = len(taken)
    keys = {place: place if kind == "dict" else first + i for i, place in enumerate(named)}
    for place, w in named.items():
        if keys[place] in taken:
            raise FastoptError(f"parameter {place!r} is in two groups")
        require_parameter(f"parameter {keys[place]!r}", w)
    return holder, keys


def by_decay(
    group: Mapping[str, Any], places: Iterable[Any], mask: Callable[[str], bool] | None
) -> list[tuple[Mapping[str, Any], list[Any]]]:
    """Return a group with all its places, or what of it decays and what does not, by names."""
    places = list(places)
    if mask is None or not places or (mask is forgotten_mask and "weight_decay" in group):
        return [(group, places)]
    if not isinstance(group["params"], dict):
        raise FastoptError("weight_decay_mask asks for names, but params have none; give a dict")
    decays = {name: bool(mask(name)) for name in places}
    parts: list[tuple[Mapping[str, Any], list[Any]]] = [
        (group, [name for name in places if decays[name]]),
        ({**group, "weight_decay": 0.0}, [name for name in places if not decays[name]]),
    ]
    return [part for part in parts if part[1]]


def forgotten_mask(name: str) -> bool:
    """Stand for the weight_decay_mask of an optimizer that was copied or pickled."""
    raise FastoptError(
        f"whether {name!r} decays is not known: a copy or pickle does not keep weight_decay_mask; "
        "give the group its 'weight_decay'"
    )


def listed(params: Any) -> list[Any]:
    """Return a list as it is and anything else that can be iterated as a list."""
    if isinstance(params, list):
        return params
    if not isinstance(params, Iterable):
        raise TypeError(
            f"params is a {type(params).__name__}; an array, a list or dict of arrays, or a list "
            "of group dicts is needed"
        )
    return list(params)
