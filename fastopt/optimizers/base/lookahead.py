"""The look-ahead point, at which some rules need their gradients, and moving parameters there."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

from fastopt._core import assign_all
from fastopt._errors import FastoptError
from fastopt.arrays.dtypes import Array, computed_in


def point(w: Array, own: Mapping[str, Array], name: str, factor: float) -> Array:
    """Return w - factor * own[name], computed from the master of w if it has one."""
    real = computed_in(w)
    ahead: Array = own.get("master", w) - real.type(factor) * own[name].astype(real)
    return ahead


class LookAhead:
    """Whether the parameters are at the look-ahead point, and for which step they last were.

    Attributes
    ----------
    is_there
        Whether the parameters are at the look-ahead point now.
    taken_at
        The step count when they last were, or None if they have not been there.
    """

    def __init__(self, taken_at: int | None = None) -> None:
        self.is_there = False
        self.taken_at = taken_at

    @contextmanager
    def visit(
        self, params: Iterable[Array], points: Iterable[tuple[Array, Array]]
    ) -> Iterator[None]:
        """Move parameters to their look-ahead points; on exit restore them bit for bit.

        params: all parameters; points: pairs (parameter, look-ahead point) for some of them.
        """
        if self.is_there:
            raise FastoptError("extrapolated() is already in use")
        before = [(w, w.copy()) for w in params]
        self.is_there = True
        try:
            for w, ahead in points:
                w[...] = ahead
            yield
        finally:
            self.is_there = False
            assign_all(before)

    def require_taken(self, step_count: int) -> None:
        """Raise an error unless gradients for this step were taken at the look-ahead point."""
        if self.is_there or self.taken_at != step_count:
            where = "inside" if self.is_there else "without"
            raise FastoptError(
                f"step() {where} extrapolated(): this rule takes gradients at the look-ahead "
                "point and steps from the parameters:\n"
                "    with opt.extrapolated():\n"
                "        grads = gradient(opt.params)\n"
                "    opt.step(grads)"
            )

    def require_back(self) -> None:
        """Raise an error while the parameters are at the look-ahead point."""
        if self.is_there:
            raise FastoptError(
                "inside extrapolated() the parameters are at the look-ahead point; leave it first"
            )
