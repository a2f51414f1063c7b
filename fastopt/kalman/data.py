"""The rows that are given to `partial_fit` and `fit`: their check, parts and blocks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from fastopt._checks import at_least_0, flag
from fastopt._errors import FastoptError
from fastopt.families import Family, family_of
from fastopt.kalman import input as given
from fastopt.kalman._kalman import nonfinite_row
from fastopt.kalman.covariance import Floats, Glm
from fastopt.kalman.covariance.refining import Rows
from fastopt.kalman.options import Options
from fastopt.kalman.state import State


class RowsToFit(NamedTuple):
    """The checked arguments of `partial_fit` and `fit`, without rows of weight 0."""

    x: npt.NDArray[Any]
    y: Floats  # minus the offset if the link is the identity
    weight: Floats | None
    offset: Floats | None
    family: Family
    link: str
    alpha: float  # of the negative binomial, else 0
    new_pass: bool

    @property
    def model(self) -> tuple[str, str]:
        """The names of family and link."""
        return self.family.name, self.link

    def part(self, own: slice) -> RowsToFit:
        """Return the rows selected by a slice or by indices."""
        return self._replace(
            x=self.x[own],
            y=self.y[own],
            weight=None if self.weight is None else self.weight[own],
            offset=None if self.offset is None else self.offset[own],
        )

    def glm(self, options: Options) -> Glm:
        """Return the model of the rows, as the forms of covariance take it."""
        is_explicit = options.glm_update == "explicit"
        return Glm(self.model, self.alpha, is_explicit, *options.gamma)

    def blocks(self, most: int | None, dtype: str) -> Iterator[tuple[Rows, Floats | None]]:
        """Yield ((x, y, weight), offset) for blocks of at most `most` rows; None is no limit."""
        for first, x in given.parts(self.x, most, dtype):
            part = self.part(slice(first, first + len(x)))
            yield (x, part.y, part.weight), part.offset


def checked_rows(
    state: State,
    X: object,
    y: object,
    family: str | None,
    link: str | None,
    weight: object,
    offset: object,
    alpha: float | None,
    new_pass: bool = False,
    exposure: object = None,
) -> RowsToFit:
    """Return the arguments of `partial_fit` or `fit`, or raise an error that names one.

    Rows of weight 0 are left out.  ``family=None`` is the model of the rows before.
    """
    before = state.history
    if family is None and before.family:
        family = before.family
        link = before.link if link is None else link
        if alpha is None and family == "negative_binomial":
            alpha = before.alpha
    kind = family_of("gaussian" if family is None else family)
    if not kind.has_filter:
        raise FastoptError(f"family is {family!r}, which only GLMRegressor has")
    link = kind.link(link)
    shape = alpha_of(kind, alpha)
    flag("new_pass", new_pass)
    x = given.matrix(X, state.options.n_params)
    target = given.vector("y", y, len(x))
    kind.require_domain(target)
    weights = given.weights(weight, len(x))
    shift = given.shifts(offset, exposure, len(x), link)
    for first, part in given.parts(x, dtype=state.form.reads):
        bad = nonfinite_row(part)
        if bad >= 0:
            raise FastoptError(f"X[{first + bad}] has a NaN or an infinity; nothing was done")
    if link == "identity" and shift is not None:
        target, shift = target - shift, None
    rows = RowsToFit(x, target, weights, shift, kind, link, shape, new_pass)
    if weights is not None and not weights.all():
        rows = rows.part(np.flatnonzero(weights))  # type: ignore[arg-type]
    return rows


def alpha_of(family: Family, alpha: float | None) -> float:
    if family.name == "negative_binomial":
        return 1.0 if alpha is None else at_least_0("alpha", alpha)
    if alpha is not None:
        raise FastoptError(f"alpha is {alpha!r}; the {family.name} family has none")
    return 0.0
