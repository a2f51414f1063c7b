"""Rows of a fit, with a count of those that were read."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from fastopt.estimators.sources.opening import Rows
from fastopt.estimators.sources.roles import Target


@dataclass(frozen=True)
class Watched:
    """`Rows` that call `report(0)` at the start of a pass, and with each block's number of rows."""

    rows: Rows
    report: Callable[[int], None]

    @property
    def n_features(self) -> int:
        """The number of columns of a block."""
        return self.rows.n_features

    @property
    def feature_names(self) -> Any:
        """The names of these columns."""
        return self.rows.feature_names

    @property
    def intercept_name(self) -> str:
        """What the intercept is called in results."""
        return getattr(self.rows, "intercept_name", "const")

    @property
    def n_rows(self) -> int | None:
        """The number of rows."""
        return self.rows.n_rows

    def with_target(self, target: Target) -> Watched:
        """Return rows whose observations are converted by `target`."""
        return Watched(self.rows.with_target(target), self.report)

    def observations(self) -> Iterator[Any]:
        """Yield the observations as they are in the file, in a separate pass."""
        self.report(0)
        for y in self.rows.observations():
            yield y
            self.report(len(y))

    def blocks(self) -> Iterator[Any]:
        """Yield the rows, some thousand at a time."""
        self.report(0)
        for block in self.rows.blocks():
            yield block
            self.report(block.n)
