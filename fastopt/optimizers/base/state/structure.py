"""The containers of parameters: one array, a list or dict of them, or a list of group dicts."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

import numpy as np

from fastopt._checks import flag
from fastopt._errors import FastoptError
from fastopt.arrays.accepted import require_parameter
from fastopt.arrays.dtypes import Array
from fastopt.optimizers.base.arguments import Key, Params

# Splits a group, given with its parameters by their places, into group dicts with their places.
Part = tuple[Mapping[str, Any], list[Any]]
Split = Callable[[Mapping[str, Any], Mapping[Any, Array]], list[Part]]

EMPTY = (
    "optimizer got an empty parameter list; if parameters will be added later, give "
    "params=[{'params': []}]"
)


def kind_of(params: Params) -> str:
    """Return "array", "dict" or "list"; a list may hold arrays or group dicts."""
    if isinstance(params, np.ndarray):
        return "array"
    return "dict" if isinstance(params, dict) else "list"


def in_structure(kind: str, values: Mapping[Key, Any]) -> Any:
    """Return one value for each parameter, in the kind of container that the parameters had."""
    if kind == "array":
        return values[0]
    return dict(values) if kind == "dict" else list(values.values())


def each(call: Callable[[str, Any], Any], name: str, holder: Any) -> Any:
    """Return ``call(name, array)`` for an array, or a list or dict of these for each array."""
    if isinstance(holder, dict):
        return {key: call(f"{name}[{key!r}]", value) for key, value in holder.items()}
    if isinstance(holder, (list, tuple)):
        return [call(f"{name}[{i}]", value) for i, value in enumerate(holder)]
    return call(name, holder)


def as_groups(params: Params, kind: str) -> list[Mapping[str, Any]]:
    """Return parameters in any container as group dicts; the user's list is not copied."""
    if kind == "dict" and not params:
        raise FastoptError(EMPTY)
    if kind != "list":
        return [{"params": params}]
    params = listed(params)
    if not params:
        raise FastoptError(EMPTY)
    is_groups = any(isinstance(entry, dict) for entry in params)
    return list(params) if is_groups else [{"params": params}]


def placed(
    given: object, kind: str, taken: Collection[Key], options: Collection[str]
) -> tuple[Any, dict[Any, Key]]:
    """Return the container of a group's parameters, and a dict from place to key.

    A place is the index or name of a parameter in this container; a key identifies the parameter
    among all parameters of the optimizer.

    Parameters
    ----------
    given
        The group dict, which is checked.
    kind
        As `kind_of` returns it.
    taken
        The keys of the parameters that the optimizer has already.
    options
        The names of the options that a group may have.
    """
    if not isinstance(given, Mapping) or "params" not in given:
        raise TypeError(f"a parameter group is {given!r}; a dict with 'params' is needed")
    for name in given:
        if name != "params" and name not in options:
            raise FastoptError(f"{name!r} cannot differ by group; allowed: {options}")
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
    """Split a group by `mask` into parameters that decay and parameters that do not.

    Each part is a group dict with the places of its parameters; empty parts are left out.
    """
    places = list(places)
    if mask is None or not places or (mask is forgotten_mask and "weight_decay" in group):
        return [(group, places)]
    _require_names("weight_decay_mask", group)
    decays = {name: bool(mask(name)) for name in places}
    parts: list[tuple[Mapping[str, Any], list[Any]]] = [
        (group, [name for name in places if decays[name]]),
        ({**group, "weight_decay": 0.0}, [name for name in places if not decays[name]]),
    ]
    return [part for part in parts if part[1]]


def by_matrices(
    group: Mapping[str, Any],
    params: Mapping[Any, Array],
    use_muon: bool | Callable[[str], bool],
    of_adamw: Mapping[str, Any],
) -> list[Part]:
    """Split a group into matrices, with the option use_muon=True, and all other parameters.

    Matrices are parameters with two axes, unless `use_muon`, or the group's own value of this
    option, excludes them.  `of_adamw` are options of the second part that the group does not give,
    or None.  Empty parts are left out, except the first if both are empty.
    """
    if "use_muon" in group:
        use_muon = flag("use_muon", group["use_muon"])
    if callable(use_muon):
        _require_names("use_muon", group)
        chosen = {place: bool(use_muon(place)) for place in params}
    else:
        chosen = dict.fromkeys(params, use_muon)
    is_matrix = {place: chosen[place] and np.asarray(w).ndim == 2 for place, w in params.items()}
    own = {name: value for name, value in of_adamw.items() if value is not None}
    parts: list[Part] = [
        ({**group, "use_muon": True}, [place for place in params if is_matrix[place]]),
        ({**own, **group, "use_muon": False}, [p for p in params if not is_matrix[p]]),
    ]
    return [part for part in parts if part[1]] or parts[:1]


def _require_names(mask: str, group: Mapping[str, Any]) -> None:
    if not isinstance(group["params"], dict):
        raise FastoptError(
            f"{mask} takes names of parameters, but params is a "
            f"{type(group['params']).__name__}; a dict is needed"
        )


def _forgotten(mask: str, decides: str, option: str) -> Callable[[str], bool]:
    """Return what replaces a mask of a copied or unpickled optimizer: it raises an error."""

    def raise_error(name: str) -> bool:
        raise FastoptError(
            f"a copied or unpickled optimizer has no {mask} to decide whether {name!r} {decides}; "
            f"set {option!r} in the group"
        )

    return raise_error


forgotten_mask = _forgotten("weight_decay_mask", "decays", "weight_decay")
forgotten_use_muon = _forgotten("use_muon", "is a matrix that Muon updates", "use_muon")


def listed(params: Any) -> list[Any]:
    """Return a list itself, and any other iterable as a new list."""
    if isinstance(params, list):
        return params
    if not isinstance(params, Iterable):
        raise TypeError(
            f"params is a {type(params).__name__}; an array, a list or dict of arrays, or a list "
            "of group dicts is needed"
        )
    return list(params)
