"""The contents of a state dict, and loading one: it is checked before anything is written."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, cast

import numpy as np

from fastopt._checks import Whole, at_least_0
from fastopt._core import assign_all
from fastopt._errors import FastoptError
from fastopt.arrays.accepted import require_parameter
from fastopt.arrays.dtypes import Array, computed_in
from fastopt.arrays.layout import new_like
from fastopt.optimizers.base.arguments import Key
from fastopt.optimizers.base.rule import checks_of
from fastopt.optimizers.base.state.groups import ParamGroup, arrays_of
from fastopt.optimizers.base.state.parameters import Parameters
from fastopt.optimizers.base.state_dicts.matching import in_our_order
from fastopt.optimizers.base.state_dicts.pytorch import State, as_ours, is_pytorchs

Attribute = tuple[object, str, Any]  # an object, the name of its attribute, the value to set


def state_dict_of(
    parameters: Parameters,
    state: State,
    sums: Mapping[Key, Array],
    counts: tuple[int, int],
) -> dict[str, Any]:
    """Return a state dict, with copies of all arrays.

    Parameters
    ----------
    parameters, state
        The parameters and state of the optimizer.
    sums
        The accumulated gradients.
    counts
        The numbers of steps taken and skipped.
    """
    scalars = parameters.rule._scalars
    return {
        "rule": parameters.rule.__name__,
        "step_count": counts[0],
        "skipped_steps": counts[1],
        "accumulated": {key: value.copy() for key, value in sums.items()},
        "state": {
            key: {
                name: value.item() if name == "step" or name in scalars else value.copy()
                for name, value in of_one.items()
            }
            for key, of_one in state.items()
        },
        "param_groups": [
            {**group.saved(), **_names_in_list(parameters, group)} for group in parameters.groups
        ],
    }


def _names_in_list(parameters: Parameters, group: ParamGroup) -> dict[str, list[Any]]:
    """Return the entry for names that are not keys: those of a dict in a list of groups."""
    names = None if parameters.kind == "dict" else parameters.names_of(group)
    return {"param_names": names} if names else {}


class Loaded(NamedTuple):
    """The checked contents of a state dict, not yet written anywhere."""

    step_count: int
    skipped_steps: int
    sums: dict[Key, Array]
    writes: list[tuple[Array, Any]]  # arrays, each with its new value
    attributes: list[Attribute]  # of the groups
    schedules: list[tuple[Any, Any]]  # schedules that have state, each with its new state

    def write(self, attributes: Sequence[Attribute]) -> None:
        """Write everything and set these attributes; KeyboardInterrupt is not raised in between."""
        with _schedules_loaded(self.schedules) as end:
            assign_all(self.writes, [*attributes, *self.attributes, (end, "reached", True)])


def checked(
    parameters: Parameters,
    state: State,
    state_dict: object,
    values: object = None,
    options: bool = True,
) -> Loaded:
    """Return the contents of a state dict, or raise an error if the optimizer cannot load it.

    Parameters
    ----------
    parameters, state
        The parameters and state of the optimizer.
    state_dict
        As returned by `state_dict_of`, or by torch.optim.
    values
        New values of the parameters by key; None to leave the parameters unchanged.
    options
        Whether the options of the groups and the state of their schedules are loaded too.
    """
    if is_pytorchs(state_dict):
        state_dict = as_ours(parameters, state, cast(Mapping[str, Any], state_dict))
    else:
        state_dict, values = in_our_order(parameters, state_dict, values)
    groups = parameters.groups
    _require_equal("rule", entry("", state_dict, "rule"), parameters.rule.__name__)
    step_count = _count("step_count", entry("", state_dict, "step_count"))
    skipped_steps = _count("skipped_steps", entry("", state_dict, "skipped_steps"))
    sums = _sums(groups, entry("", state_dict, "accumulated"))
    attributes, schedules = _option_writes(groups, state_dict) if options else ([], [])
    if not options and parameters.kind != "dict":  # else indices could be of others
        for i, group in enumerate(groups):
            _require_same_parameters(group, _saved_groups(groups, state_dict)[i], f"group {i}")
    writes = _state_writes(parameters.rule._scalars, state, state_dict)
    if values is not None:
        writes += _parameter_writes(groups, values)
    return Loaded(step_count, skipped_steps, sums, writes, attributes, schedules)


def entry(where: str, mapping: object, name: str) -> Any:
    """Return an entry of a mapping, or raise an error that names it and says where it belongs."""
    if not isinstance(mapping, Mapping) or name not in mapping:
        raise FastoptError(f"the state dict has no {name!r}{where and f' in {where}'}")
    return mapping[name]


def _saved_groups(groups: Sequence[ParamGroup], state_dict: object) -> Sequence[Any]:
    saved_groups = entry("", state_dict, "param_groups")
    if not isinstance(saved_groups, Sequence):
        raise FastoptError(f"the state dict's param_groups are {saved_groups!r}; a list is needed")
    _require_equal("groups:", len(saved_groups), len(groups))
    return saved_groups


def _option_writes(
    groups: Sequence[ParamGroup], state_dict: object
) -> tuple[list[Attribute], list[tuple[Any, Any]]]:
    """Return the attributes of the groups to set, and the schedules with their new state."""
    attributes: list[Attribute] = []
    schedules = []
    for i, (group, saved) in enumerate(zip(groups, _saved_groups(groups, state_dict), strict=True)):
        loaded = _options(group, saved, f"group {i}")
        attributes += [(group, "options", loaded), (group, "initial_lr", saved["initial_lr"])]
        if hasattr(group.schedule, "load_state_dict"):
            schedules.append((group.schedule, saved["schedule"]))
    return attributes, schedules


def _state_writes(
    scalars: Collection[str], state: State, state_dict: object
) -> list[tuple[Array, Any]]:
    """Return the state arrays, each with its new value."""
    saved_state = entry("", state_dict, "state")
    _require_keys("state of the parameters", saved_state, list(state))
    writes = []
    for key, own in state.items():
        saved = saved_state[key]
        _require_keys(f"for parameter {key!r} the state", saved, list(own))
        for name, array in own.items():
            value = _value(f"{name} of parameter {key!r}", saved[name], array, name in scalars)
            writes.append((array, value))
    return writes


def _parameter_writes(groups: Sequence[ParamGroup], saved: object) -> list[tuple[Array, Any]]:
    """Return the parameters, each with its new value."""
    own = arrays_of(groups)
    _require_keys("parameters", saved, list(own))
    for key, w in own.items():
        require_parameter(f"parameter {key!r}", w)
    values: Any = saved
    return [(w, _value(f"parameter {key!r}", values[key], w, False)) for key, w in own.items()]


def _sums(groups: Sequence[ParamGroup], saved: object) -> dict[Key, Array]:
    """Return copies of the accumulated gradients."""
    params = arrays_of(groups)
    if not isinstance(saved, Mapping) or any(key not in params for key in saved):
        raise FastoptError(f"the state dict has accumulated {saved!r}; {list(params)} are allowed")
    sums = {}
    for key, value in saved.items():
        own = new_like(params[key], computed_in(params[key]), 0.0)
        own[...] = _value(f"accumulated of parameter {key!r}", value, own, False)
        sums[key] = own
    return sums


def _require_equal(what: str, saved: object, own: object) -> None:
    if saved != own:
        raise FastoptError(f"the state dict has {what} {saved!r}; this optimizer has {own!r}")


def _require_keys(where: str, saved: object, own: list[Any]) -> None:
    if not isinstance(saved, Mapping) or len(saved) != len(own) or any(k not in saved for k in own):
        found = list(saved) if isinstance(saved, Mapping) else saved
        raise FastoptError(f"the state dict has {where} {found!r}; {own!r} are needed")


def _count(name: str, value: object) -> int:
    try:
        plain = value.item() if isinstance(value, np.ndarray) and value.ndim == 0 else value
        return Whole(0, 2**62)(name, plain)
    except TypeError as error:
        raise FastoptError(f"in the state dict, {error}") from None


def _require_same_parameters(group: ParamGroup, saved: object, where: str) -> None:
    _require_equal(f"parameters of {where}:", entry(where, saved, "params"), list(group.arrays))


def _options(group: ParamGroup, saved: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Return the checked options that the group has after loading."""
    _require_same_parameters(group, saved, where)
    schedule = entry(where, saved, "schedule")
    _require_equal(f"a schedule in {where}:", schedule is not None, group.schedule is not None)
    base = entry(where, saved, "initial_lr")
    checks = checks_of(group.rule)
    loaded = {
        name: checks[name](f"{name} of {where}", entry(where, saved, name))
        for name in group.options
    }
    if base is not None:
        at_least_0(f"initial_lr of {where}", base)
    group.require_meaning(loaded, base)
    return loaded


def _value(what: str, saved: object, array: Array, is_scalar: bool) -> Any:
    """Return the checked value for an array; a number that the rule saves may be a float."""
    if array.dtype == np.int64:
        return _count(what, saved)
    if is_scalar and isinstance(saved, float):
        return saved  # NaN and infinity too, which gradients may have caused
    if not isinstance(saved, (np.ndarray, np.generic)):
        raise FastoptError(f"{what} is a {type(saved).__name__} in the state dict, not an array")
    _require_equal(f"for {what} the shape", saved.shape, array.shape)
    _require_equal(f"for {what} the dtype", str(saved.dtype), str(array.dtype))
    return saved


class _End:
    """Whether everything has been written."""

    reached = False


@contextmanager
def _schedules_loaded(schedules: Sequence[tuple[Any, Any]]) -> Iterator[_End]:
    """Load the state of schedules; on an error restore it unless everything has been written."""
    done: list[tuple[Any, Any]] = []
    end = _End()
    try:
        for schedule, state in schedules:
            done.append((schedule, schedule.state_dict()))
            schedule.load_state_dict(state)
        yield end
    except BaseException:
        for schedule, before in done if not end.reached else ():
            schedule.load_state_dict(before)
        raise
