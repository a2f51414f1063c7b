"""What a state dict has; one that is loaded is checked before anything is written."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from fastopt._checks import Whole, at_least_0
from fastopt._core import assign_all
from fastopt._errors import FastoptError
from fastopt.arrays.accepted import require_parameter
from fastopt.arrays.dtypes import Array, computed_in
from fastopt.arrays.layout import new_like
from fastopt.optimizers.base.groups import COMMON, ParamGroup, arrays_of
from fastopt.optimizers.base.torch_state_dict import as_ours, is_pytorchs

if TYPE_CHECKING:
    from fastopt.batching import Batches
    from fastopt.optimizers.base.optimizer import Optimizer


def of(optimizer: Optimizer, sums: Mapping[int | str, Array]) -> dict[str, Any]:
    """Return copies of all that `load` takes; sums: the gradients accumulated, by key."""
    return {
        "rule": type(optimizer).__name__,
        "step_count": optimizer.step_count,
        "skipped_steps": optimizer.skipped_steps,
        "accumulated": {key: value.copy() for key, value in sums.items()},
        "state": {
            key: {
                name: value.item() if name in ("step", optimizer.saved_scalar) else value.copy()
                for name, value in of_one.items()
            }
            for key, of_one in optimizer.state.items()
        },
        "param_groups": [group.saved() for group in optimizer.param_groups],
    }


def all_of(optimizer: Optimizer, batches: Batches | None) -> dict[str, Any]:
    """Return what `load_all` takes, of the parameters themselves."""
    return {
        "params": arrays_of(optimizer.param_groups),
        "optimizer": optimizer.state_dict(),
        "batches": None if batches is None else batches.state_dict(),
    }


def load_all(optimizer: Optimizer, saved: Mapping[str, Any], batches: Batches | None) -> None:
    """Load what `all_of` returned, the place in the epoch where there are `batches`."""
    state_dict, params = (_entry("", saved, name) for name in ("optimizer", "params"))
    place = [] if batches is None else batches.attributes_at(_entry("", saved, "batches"))
    load(optimizer, state_dict, params, place)


def load(
    optimizer: Optimizer,
    state_dict: object,
    params: object = None,
    also: Sequence[tuple[object, str, Any]] = (),
) -> None:
    """Load ``state_dict`` into ``optimizer``, or raise and leave it as it is.

    params: values of the parameters by their keys, or None to leave them alone; also: (holder,
    name, value) of attributes to be set in the same moment.
    """
    if is_pytorchs(state_dict):
        state_dict = as_ours(optimizer, cast(Mapping[str, Any], state_dict))
    _require_equal("rule", _entry("", state_dict, "rule"), type(optimizer).__name__)
    step_count = _count("step_count", _entry("", state_dict, "step_count"))
    skipped_steps = _count("skipped_steps", _entry("", state_dict, "skipped_steps"))
    sums = _sums(optimizer, _entry("", state_dict, "accumulated"))
    saved_groups = _entry("", state_dict, "param_groups")
    if not isinstance(saved_groups, Sequence):
        raise FastoptError(f"the state dict's param_groups are {saved_groups!r}; a list is needed")
    groups = optimizer.param_groups
    _require_equal("groups:", len(saved_groups), len(groups))
    options = [
        _options(group, saved, f"group {i}")
        for i, (group, saved) in enumerate(zip(groups, saved_groups, strict=True))
    ]
    saved_state = _entry("", state_dict, "state")
    _require_keys("state of the parameters", saved_state, list(optimizer.state))
    writes = []
    for key, own in optimizer.state.items():
        saved = saved_state[key]
        _require_keys(f"for parameter {key!r} the state", saved, list(own))
        for name, array in own.items():
            is_scalar = name == optimizer.saved_scalar
            value = _value(f"{name} of parameter {key!r}", saved[name], array, is_scalar)
            writes.append((array, value))
    if params is not None:
        writes += _parameters(groups, params)

    attributes = [*also, *optimizer.attributes_after(step_count, skipped_steps, sums)]
    for group, loaded, saved in zip(groups, options, saved_groups, strict=True):
        attributes += [(group, "options", loaded), (group, "initial_lr", saved["initial_lr"])]
    with _schedules_loaded(groups, saved_groups) as end:
        assign_all(writes, [*attributes, (end, "reached", True)])  # no Ctrl-C in between


def _sums(optimizer: Optimizer, saved: object) -> dict[int | str, Array]:
    """Return the accumulated gradients, copied."""
    params = arrays_of(optimizer.param_groups)
    if not isinstance(saved, Mapping) or any(key not in params for key in saved):
        raise FastoptError(f"the state dict has accumulated {saved!r}; {list(params)} are allowed")
    sums = {}
    for key, value in saved.items():
        own = new_like(params[key], computed_in(params[key]), 0.0)
        own[...] = _value(f"accumulated of parameter {key!r}", value, own, False)
        sums[key] = own
    return sums


def _parameters(groups: Sequence[ParamGroup], saved: object) -> list[tuple[Array, Any]]:
    """Return the parameters, each with what is to be written into it."""
    own = arrays_of(groups)
    _require_keys("parameters", saved, list(own))
    for key, w in own.items():
        require_parameter(f"parameter {key!r}", w)
    values: Any = saved
    return [(w, _value(f"parameter {key!r}", values[key], w, False)) for key, w in own.items()]


def _require_equal(what: str, saved: object, own: object) -> None:
    if saved != own:
        raise FastoptError(f"the state dict has {what} {saved!r}; this optimizer has {own!r}")


def _require_keys(where: str, saved: object, own: list[Any]) -> None:
    if not isinstance(saved, Mapping) or len(saved) != len(own) or any(k not in saved for k in own):
        found = list(saved) if isinstance(saved, Mapping) else saved
        raise FastoptError(f"the state dict has {where} {found!r}; {own!r} are needed")


def _entry(where: str, mapping: object, name: str) -> Any:
    if not isinstance(mapping, Mapping) or name not in mapping:
        raise FastoptError(f"the state dict has no {name!r}{where and f' in {where}'}")
    return mapping[name]


def _count(name: str, value: object) -> int:
    try:
        plain = value.item() if isinstance(value, np.ndarray) and value.ndim == 0 else value
        return Whole(0, 2**62)(name, plain)
    except TypeError as error:
        raise FastoptError(f"in the state dict, {error}") from None


def _options(group: ParamGroup, saved: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Return the group's options after loading, checked."""
    _require_equal(f"parameters of {where}:", _entry(where, saved, "params"), list(group.arrays))
    schedule = _entry(where, saved, "schedule")
    _require_equal(f"a schedule in {where}:", schedule is not None, group.schedule is not None)
    base = _entry(where, saved, "initial_lr")
    checks = {**COMMON, **group.optimizer.checks}
    loaded = {
        name: checks[name](f"{name} of {where}", _entry(where, saved, name))
        for name in group.options
    }
    if base is not None:
        at_least_0(f"initial_lr of {where}", base)
    group.require_meaning(loaded, base)
    return loaded


def _value(what: str, saved: object, array: Array, is_scalar: bool) -> Any:
    """Return what is to be written into a state array, or into a rule's saved scalar."""
    if array.dtype == np.int64:
        return _count(what, saved)
    if is_scalar and isinstance(saved, float):
        if not math.isfinite(saved):
            raise FastoptError(f"{what} is {saved} in the state dict; a finite number is needed")
        return saved
    if not isinstance(saved, (np.ndarray, np.generic)):
        raise FastoptError(f"{what} is a {type(saved).__name__} in the state dict, not an array")
    _require_equal(f"for {what} the shape", saved.shape, array.shape)
    _require_equal(f"for {what} the dtype", str(saved.dtype), str(array.dtype))
    return saved


class _End:
    """Whether all has been loaded."""

    reached = False


@contextmanager
def _schedules_loaded(
    groups: Sequence[ParamGroup], saved_groups: Sequence[Mapping[str, Any]]
) -> Iterator[_End]:
    """Load the schedules that have state; put them back unless the end is reached."""
    done: list[tuple[Any, Any]] = []
    end = _End()
    try:
        for group, saved in zip(groups, saved_groups, strict=True):
            schedule: Any = group.schedule
            if hasattr(schedule, "load_state_dict"):
                done.append((schedule, schedule.state_dict()))
                schedule.load_state_dict(saved["schedule"])
        yield end
    except BaseException:
        for schedule, before in done if not end.reached else ():
            schedule.load_state_dict(before)
        raise
