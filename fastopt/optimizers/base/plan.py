"""The description of parameters, state and options that is passed to C."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastopt._core import Plan
from fastopt.optimizers.base import extras as _extras
from fastopt.optimizers.base import state_arrays
from fastopt.optimizers.base.parameters import Parameters


def plan_of(parameters: Parameters, extras: Mapping[str, Any], n_threads: int) -> Plan:
    """Return a new plan; the options of its groups are passed with its first step."""
    params = parameters.by_key()
    groups = parameters.groups
    group_of = {key: i for i, group in enumerate(groups) for key in group.arrays}
    by_row = [group.rule._by_row(group.options) for group in groups]
    arrays = [state_arrays.for_c(parameters.arrays[key], by_row[group_of[key]]) for key in params]
    plan = Plan(
        parameters.kind,
        list(params.values()),
        [f"parameter {key!r}" for key in params],
        [parameters.places[key][0] for key in params],
        [parameters.places[key][1] for key in params],
        [states for states, _ in arrays],
        [added for _, added in arrays],
        [parameters.scalars[key] for key in params],
        [group_of[key] for key in params],
        len(groups),
        n_threads,
    )
    plan.set_extras(_extras.for_c(extras))
    return plan
