"""Where the parameters are temporarily moved, and how they return."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from fastopt._core import assign_all
from fastopt._errors import FastoptError
from fastopt.arrays.dtypes import Array


class Excursion:
    """Whether the parameters are elsewhere: at the look-ahead point, or at their averages.

    Attributes
    ----------
    block
        The block that the program is in, such as "averaged()", or "".
    """

    def __init__(self) -> None:
        self.block = ""

    @contextmanager
    def visit(
        self, block: str, params: Iterable[Array], points: Iterable[tuple[Array, Array]]
    ) -> Iterator[None]:
        """Move parameters; on exit restore them bit for bit.

        Parameters
        ----------
        block
            What the user calls the block.
        params
            All parameters.
        points
            Pairs (parameter, its values meanwhile) for some of them.
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
        """Raise an error while the parameters are elsewhere."""
        if self.block:
            raise FastoptError(
                f"inside {self.block} the parameters are moved temporarily; leave the block first"
            )
