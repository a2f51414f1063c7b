"""The look-ahead point, at which some rules need their gradients."""

from __future__ import annotations

from collections.abc import Mapping

from fastopt._errors import FastoptError
from fastopt.arrays.dtypes import Array, computed_in
from fastopt.optimizers.base.state.float8 import values


def point(
    w: Array, kinds: Mapping[str, str], own: Mapping[str, Array], name: str, factor: float
) -> Array:
    """Return w - factor * the state `name`, computed from the master of w if it has one.

    kinds: `Rule._float8`; own: the state arrays of w.
    """
    real = computed_in(w)
    state = values(kinds, own, name).astype(real)
    ahead: Array = own.get("master", w) - real.type(factor) * state
    return ahead


class LookAhead:
    """The step for which the parameters were last moved to the look-ahead point.

    Attributes
    ----------
    taken_at
        The step count at that time, or None if they have not been moved there.
    """

    def __init__(self, taken_at: int | None = None) -> None:
        self.taken_at = taken_at

    def require_taken(self, step_count: int, is_there: bool) -> None:
        """Raise an error unless gradients for this step were taken at the look-ahead point."""
        if is_there or self.taken_at != step_count:
            where = "inside" if is_there else "without"
            raise FastoptError(
                f"step() {where} extrapolated(): this rule takes gradients at the look-ahead "
                "point and steps from the parameters:\n"
                "    with opt.extrapolated():\n"
                "        grads = gradient(opt.params)\n"
                "    opt.step(grads)"
            )
