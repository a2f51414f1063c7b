"""The description of parameters, state and options that is passed to C."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastopt._core import Plan
from fastopt.arrays.dtypes import Array
from fastopt.optimizers.base import extras as _extras
from fastopt.optimizers.base.state import arrays as _arrays
from fastopt.optimizers.base.state import float8
from fastopt.optimizers.base.state.parameters import Parameters


def plan_of(
    parameters: Parameters,
    extras: Mapping[str, Any],
    n_threads: int,
    before: tuple[Parameters, Plan] | None = None,
) -> Plan:
    """Return a new plan; the options of its groups are passed with its first step.

    before: the parameters before a group was added, and their plan, which stays valid.  Only the
    parameters that it lacks are described, unless the group changes the order of the others.
    """
    params = parameters.by_key()
    keys, n_groups, plan = [*params], 0, None
    if before is not None:
        known = [*before[0].by_key()]
        if keys[: len(known)] == known:
            keys, n_groups, plan = keys[len(known) :], len(before[0].groups), before[1]
    groups = [*enumerate(parameters.groups)][n_groups:]
    group_of = {key: i for i, group in groups for key in group.arrays}
    factored = {key: group.factored(w) for _, group in groups for key, w in group.arrays.items()}
    by_row = {i: group.rule._by_row(group.options) for i, group in groups}
    no_rows = {
        key: group.rule._no_rows(group.options) or _no_rows(parameters.arrays[key], w)
        for _, group in groups
        for key, w in group.arrays.items()
    }
    arrays = [
        _arrays.for_c(parameters.arrays[key], by_row[group_of[key]], factored[key]) for key in keys
    ]
    plan = Plan(
        parameters.kind,
        [params[key] for key in keys],
        [f"parameter {key!r}" for key in keys],
        [parameters.places[key][0] for key in keys],
        [parameters.places[key][1] for key in keys],
        [states for states, _ in arrays],
        [added for _, added in arrays],
        [parameters.scalars[key] for key in keys],
        [_scales(parameters.rule._float8, parameters.arrays[key]) for key in keys],
        [group_of[key] for key in keys],
        [no_rows[key] for key in keys],
        len(parameters.groups),
        n_threads,
        plan,
    )
    plan.set_extras(_extras.for_c(extras))
    return plan


def _scales(
    kinds: Mapping[str, str], arrays: Mapping[str, Array]
) -> tuple[tuple[Array, bool], ...]:
    """Return the scales of each state of 8 bits, and whether the state is signed."""
    return tuple(
        (arrays[float8.scale_of(name)], float8.is_signed(kinds, name))
        for name in float8.states_in(arrays)
    )


def _no_rows(arrays: Mapping[str, Array], w: Array) -> str:
    """Return why the state refuses row-sparse gradients, or "" if it takes them."""
    is_refused = float8.states_in(arrays) and w.ndim == 1
    return "elements of a vector share blocks of state_dtype='float8'" if is_refused else ""
