"""Where a rule takes its gradients that looks ahead, and whether it has been there."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

from fastopt._core import assign_all
from fastopt._errors import FastoptError
from fastopt.arrays.dtypes import Array, computed_in


def point(w: Array, own: Mapping[str, Array], name: str, factor: float) -> Array:
    """Return w - factor * state, from the master of w where there is one."""
    real = computed_in(w)
    ahead: Array = own.get("master", w) - real.type(factor) * own[name].astype(real)
    return ahead


class LookAhead:
    """Whether the parameters are at the point now, and for which step they last were."""

    def __init__(self, taken_at: int | None = None) -> None:
        self.is_there = False
        self.taken_at = taken_at  # steps before the one they were there for; None: for none

    @contextmanager
    def visit(
        self, params: Iterable[Array], points: Iterable[tuple[Array, Array]]
    ) -> Iterator[None]:
        """Bring parameters to their points for a while; they come back bit for bit.

        points: some of `params`, each with where it goes.
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
        """Refuse a step with gradients from elsewhere, or from there of another step."""
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
        """Refuse to read or write parameters while they are there."""
        if self.is_there:
            raise FastoptError("inside extrapolated() the parameters are not the optimizer's own")
