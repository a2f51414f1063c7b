"""Which parameters an optimizer has: in what groups, from where, and with what beside each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fastopt.arrays.dtypes import Array
from fastopt.optimizers.base import state_arrays as _state_arrays
from fastopt.optimizers.base.groups import COMMON, ParamGroup, arrays_of
from fastopt.optimizers.base.structure import by_decay, in_structure, placed

if TYPE_CHECKING:
    from fastopt.optimizers.base.optimizer import Optimizer

Key = int | str


class Parameters(NamedTuple):
    """Parameters by key, the index or the name in a dict; not changed, but made anew with more."""

    kind: str  # of the structure that they were given in
    groups: tuple[ParamGroup, ...] = ()
    places: Mapping[Key, tuple[Any, Any]] = {}  # what holds each, and where in it
    arrays: Mapping[Key, dict[str, Array]] = {}  # beside each
    scalars: Mapping[Key, tuple[Array, Array]] = {}  # step, and what rules.def saves

    def with_group(
        self,
        optimizer: Optimizer,
        given: Mapping[str, Any],
        defaults: Mapping[str, Any],
        mask: Callable[[str], bool] | None,
    ) -> Parameters:
        """Return these and those of a group, or of the two that a mask makes of it."""
        holder, keys = placed(given, self.kind, self.places, [*COMMON, *optimizer.checks])
        groups, arrays, scalars = self.groups, {**self.arrays}, {**self.scalars}
        for options, places in by_decay(given, keys, mask):
            params = {keys[place]: holder[place] for place in places}
            group = ParamGroup(optimizer, params, {**defaults, **options})
            groups = (*groups, group)
            arrays |= _new_state(group)
            scalars |= {key: (np.zeros((), dtype=np.int64), np.ones(())) for key in params}
        origin = None if self.kind == "array" else holder
        here = {key: (origin, place) for place, key in keys.items()}
        return Parameters(self.kind, groups, {**self.places, **here}, arrays, scalars)

    def by_key(self) -> dict[Key, Array]:
        """Return the parameters, in the order of `arrays_of`."""
        return arrays_of(self.groups)

    def in_structure(self, values: Mapping[Key, Any]) -> Any:
        """Return one value for each parameter as the parameters were given."""
        return in_structure(self.kind, values)

    def names_of(self, group: ParamGroup) -> list[Any] | None:
        """Return the names of a group's parameters, if they were given as a dict."""
        places = [self.places[key] for key in group.arrays]
        is_named = all(isinstance(holder, dict) for holder, _ in places)
        return [name for _, name in places] if is_named else None

    def views(self, saved_scalar: str | None) -> Mapping[Key, Mapping[str, Array]]:
        """Return what is beside each, as views: nobody can resize what C points at."""
        views = {}
        for key in self.by_key():
            step, saved = self.scalars[key]
            scalars = {"step": step, **({saved_scalar: saved} if saved_scalar else {})}
            own = {**scalars, **self.arrays[key]}
            views[key] = MappingProxyType({name: array[...] for name, array in own.items()})
        return MappingProxyType(views)


def _new_state(group: ParamGroup) -> dict[Key, dict[str, Array]]:
    start = group.optimizer.initial_state(group.options)
    return {
        key: _state_arrays.new_arrays(
            f"parameter {key!r}",
            w,
            {name: start.get(name, 0.0) for name in group.state_names},
            group.optimizer.extras,
            group.optimizer.by_row(group.options),
        )
        for key, w in group.arrays.items()
    }
