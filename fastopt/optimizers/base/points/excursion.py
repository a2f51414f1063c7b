"""Replace the parameters temporarily, and restore them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from fastopt._core import assign_all
from fastopt._errors import FastoptError
from fastopt.arrays.dtypes import Array


class Excursion:
    """The temporary replacement of the parameters by other points, such as their averages.

    Attributes
    ----------
    block
        The name of the current `with` block, such as "averaged()"; "" outside of one.
    """

    def __init__(self) -> None:
        self.block = ""

    @contextmanager
    def visit(
        self, block: str, params: Iterable[Array], points: Iterable[tuple[Array, Array]]
    ) -> Iterator[None]:
        """Replace the values of parameters; on exit restore them bit for bit.

        Parameters
        ----------
        block
            The name of the block, for error messages.
        params
            All parameters.
        points
            Pairs (parameter, its temporary values) for some of them.
        """
        if self.block:
            raise FastoptError(f"{self.block} is already in use")
        before = [(w, w.copy()) for w in params]
        self.block = block
        try:
            for w, there in points:
                w[...] = there
            yield
        finally:
            self.block = ""
            assign_all(before)

    def require_back(self) -> None:
        """Raise an error while the values of the parameters are replaced."""
        if self.block:
            raise FastoptError(
                f"inside {self.block} the parameters are moved temporarily; leave the block first"
            )
