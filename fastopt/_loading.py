"""Taking over a state dict: everything is checked before anything is written."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from fastopt._errors import FastoptError
from fastopt._groups import COMMON, ParamGroup

if TYPE_CHECKING:
    from fastopt.optimizer import Optimizer


def _require_equal(what: str, saved: object, own: object) -> None:
    if saved != own:
        raise FastoptError(f"the state dict has {what} {saved!r}; this optimizer has {own!r}")


def _entry(where: str, mapping: object, name: object) -> Any:
    if not isinstance(mapping, Mapping) or name not in mapping:
        raise FastoptError(f"the state dict has no {name!r} in {where}")
    return mapping[name]


def _count(where: str, mapping: object, name: str) -> int:
    value = _entry(where, mapping, name)
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 0:
        raise FastoptError(f"the state dict's {name} in {where} is {value!r}; a count is needed")
    return int(value)


def _options(group: ParamGroup, saved: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Return the group's options after loading, checked."""
    checks = {**COMMON, **group.optimizer.checks}
    loaded = {
        name: checks[name](f"{name} of {where}", _entry(where, saved, name))
        for name in group.options
    }
    _require_equal(
        f"a schedule in {where}:", saved.get("schedule") is not None, group.schedule is not None
    )
    group.require_meaning(loaded)
    return loaded


def load(optimizer: Optimizer, state_dict: Mapping[str, Any]) -> None:
    """Load ``state_dict`` into ``optimizer``, or raise and leave it as it is."""
    _require_equal("rule", _entry("its top level", state_dict, "rule"), type(optimizer).__name__)
    step_count = _count("its top level", state_dict, "step_count")
    saved_groups = _entry("its top level", state_dict, "param_groups")
    saved_state = _entry("its top level", state_dict, "state")
    groups = optimizer.param_groups
    _require_equal("groups:", len(saved_groups), len(groups))
    options = []
    for i, (group, saved) in enumerate(zip(groups, saved_groups, strict=True)):
        where = f"group {i}"
        _require_equal(
            f"parameters of {where}:", _entry(where, saved, "params"), list(group.arrays)
        )
        options.append(_options(group, saved, where))

    writes: list[tuple[Any, Any]] = []
    _require_equal("parameters", list(saved_state), list(optimizer.state))
    for key, own in optimizer.state.items():
        where = f"the state of parameter {key!r}"
        saved = saved_state[key]
        _require_equal(f"entries in {where}:", sorted(saved), sorted(own))
        for name, array in own.items():
            if name == "step":
                value: Any = np.asarray(_count(where, saved, name))
            else:
                value = np.asarray(saved[name], dtype=None if array.ndim else array.dtype)
            _require_equal(f"for {name} in {where} shape", value.shape, array.shape)
            _require_equal(f"for {name} in {where} dtype", value.dtype, array.dtype)
            writes.append((array, value))

    _load_schedules(groups, saved_groups)
    for array, value in writes:
        array[...] = value
    for group, loaded, saved in zip(groups, options, saved_groups, strict=True):
        group.options = loaded
        group.initial_lr = saved["initial_lr"]
    optimizer.options_changed = True
    optimizer.step_count = step_count


def _load_schedules(groups: list[ParamGroup], saved_groups: list[Mapping[str, Any]]) -> None:
    """Load the schedules that have state; if one refuses, put back those already loaded."""
    done: list[tuple[Any, Any]] = []
    try:
        for group, saved in zip(groups, saved_groups, strict=True):
            schedule: Any = group.schedule
            if hasattr(schedule, "load_state_dict"):
                done.append((schedule, schedule.state_dict()))
                schedule.load_state_dict(saved["schedule"])
    except BaseException:
        for schedule, before in done:
            schedule.load_state_dict(before)
        raise
