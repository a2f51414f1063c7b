"""The parameters of an optimizer: their groups, their containers and their state."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from fastopt._core import N_SAVED
from fastopt.arrays.dtypes import Array
from fastopt.optimizers.base.arguments import Key
from fastopt.optimizers.base.rule import Rule, checks_of
from fastopt.optimizers.base.state import arrays as _arrays
from fastopt.optimizers.base.state import float8
from fastopt.optimizers.base.state.groups import ParamGroup, Status, arrays_of
from fastopt.optimizers.base.state.ranges import warn_of_0
from fastopt.optimizers.base.state.structure import Split, in_structure, placed


class Parameters(NamedTuple):
    """Parameters by key; `with_group` returns a new object and leaves this one unchanged."""

    rule: type[Rule]
    kind: str  # the kind of container that they were given in: see `structure.kind_of`
    groups: tuple[ParamGroup, ...] = ()
    places: Mapping[Key, tuple[Any, Any]] = {}  # the container of each, and its place in it
    arrays: Mapping[Key, dict[str, Array]] = {}  # the state arrays of each, by name
    scalars: Mapping[Key, tuple[Array, Array]] = {}  # the step count of each; its saved numbers

    def with_group(
        self,
        given: Mapping[str, Any],
        status: Status,
        *,
        defaults: Mapping[str, Any],
        split: Split,
        float8_mask: Callable[[str], bool] | None,
        extras: Mapping[str, Any],
    ) -> Parameters:
        """Return these parameters and those of a group dict, which `split` may split."""
        holder, keys = placed(given, self.kind, self.places, [*checks_of(self.rule)])
        groups, arrays, scalars = self.groups, {**self.arrays}, {**self.scalars}
        eight_bit = {keys[place] for place in float8.chosen(keys, holder, float8_mask)}
        for options, places in split(given, {place: holder[place] for place in keys}):
            params = {keys[place]: holder[place] for place in places}
            group = ParamGroup(self.rule, status, params, {**defaults, **options})
            warn_of_0(self.rule, group.options)
            groups = (*groups, group)
            arrays |= _new_state(group, extras, eight_bit)
            scalars |= {key: (np.zeros((), np.int64), _saved_numbers(self.rule)) for key in params}
        origin = None if self.kind == "array" else holder
        here = {key: (origin, place) for place, key in keys.items()}
        return Parameters(self.rule, self.kind, groups, {**self.places, **here}, arrays, scalars)

    def by_key(self) -> dict[Key, Array]:
        """Return the parameters by key, in the order of `groups.arrays_of`."""
        return arrays_of(self.groups)

    def in_structure(self, values: Mapping[Key, Any]) -> Any:
        """Return one value for each parameter, in the container of the parameters."""
        return in_structure(self.kind, values)

    def names_of(self, group: ParamGroup) -> list[Any] | None:
        """Return the names of a group's parameters if they were given as a dict, else None."""
        places = [self.places[key] for key in group.arrays]
        is_named = all(isinstance(holder, dict) for holder, _ in places)
        return [name for _, name in places] if is_named else None

    def views(
        self, before: Mapping[Key, Mapping[str, Array]] | None = None
    ) -> Mapping[Key, Mapping[str, Array]]:
        """Return the state of each parameter as views, which users cannot resize.

        before: existing views of some of the parameters, which are reused.
        """
        known = dict(before or {})
        return MappingProxyType(
            {key: known[key] if key in known else self._views(key) for key in self.by_key()}
        )

    def _views(self, key: Key) -> Mapping[str, Array]:
        step, saved = self.scalars[key]
        numbers = {name: saved[k].reshape(()) for k, name in enumerate(self.rule._scalars)}
        own = {"step": step, **numbers, **self.arrays[key]}
        return MappingProxyType({name: array[...] for name, array in own.items()})

    def pickled(self) -> dict[str, Any]:
        """Return what `unpickled` needs, as built-in types and arrays."""
        return {
            "kind": self.kind,
            "groups": [group.pickled() for group in self.groups],
            "places": self.places,
            "arrays": self.arrays,
            "scalars": self.scalars,
        }


def unpickled(rule: type[Rule], status: Status, pickled: Mapping[str, Any]) -> Parameters:
    """Return the `Parameters` from the result of `Parameters.pickled`.

    All arrays that a step writes, except the parameters, are copied, because pickle protocol 5 may
    restore read-only arrays from out-of-band buffers.
    """
    groups = tuple(ParamGroup(rule, status, *group) for group in pickled["groups"])
    arrays = {
        key: _arrays.in_layout_of(w, pickled["arrays"][key], group.factored(w))
        for group in groups
        for key, w in group.arrays.items()
    }
    scalars = {key: (np.array(a), np.array(b)) for key, (a, b) in pickled["scalars"].items()}
    kind, places = pickled["kind"], pickled["places"]
    return Parameters(rule, kind, groups, places, arrays, scalars)


def _saved_numbers(rule: type[Rule]) -> Array:
    numbers = np.zeros((N_SAVED, 1))  # rows, so that each is a view
    numbers[: len(rule._scalars), 0] = list(rule._scalars.values())
    return numbers


def _new_state(
    group: ParamGroup, extras: Mapping[str, Any], eight_bit: Collection[Key]
) -> dict[Key, dict[str, Array]]:
    """Return the state arrays of the parameters; eight_bit: those that float8_mask chooses."""
    initial = group.rule._initial_state(group.options)
    if extras["state_dtype"] == "float8":
        float8.require_rule(group.rule, group.kernel, group.state_names)
    return {
        key: _arrays.new_arrays(
            f"parameter {key!r}",
            w,
            {name: initial.get(name, 0.0) for name in group.state_names},
            extras,
            group.rule._by_row(group.options),
            group.factored(w),
            group.rule._float8 if key in eight_bit and w.size >= float8.LEAST else None,
        )
        for key, w in group.arrays.items()
    }
