"""How rows of a generalized linear model are checked and absorbed (`KalmanSGD.partial_fit`)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from fastopt._checks import at_least_0, flag
from fastopt._errors import FastoptError
from fastopt.families import Family, family_of
from fastopt.kalman import input as given
from fastopt.kalman import starting
from fastopt.kalman._kalman import nonfinite_row
from fastopt.kalman.covariance import FAILURES, Floats, Glm
from fastopt.kalman.covariance.qr import Information
from fastopt.kalman.covariance.refining import Rows, rows_at_a_time
from fastopt.kalman.options import Options
from fastopt.kalman.scoring import Data
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

    def data(self) -> Data:
        """Return the rows as `scoring` takes them."""
        model = (self.family.name, self.link)
        return Data(self.x, self.y, model, self.alpha, self.weight, self.offset)

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
        return Glm((self.family.name, self.link), self.alpha, is_explicit, *options.gamma)

    def blocks(self, most: int | None, dtype: str) -> Iterator[tuple[Rows, Floats | None]]:
        """Yield ((x, y, weight), offset) for blocks of at most `most` rows; None is no limit."""
        for first, x in given.parts(self.x, most, dtype):
            part = self.part(slice(first, first + len(x)))
            yield (x, part.y, part.weight), part.offset


def checked_rows(
    state: State,
    X: object,
    y: object,
    family: str,
    link: str | None,
    weight: object,
    offset: object,
    alpha: float | None,
    new_pass: bool = False,
) -> RowsToFit:
    """Return the arguments of `partial_fit` or `fit`, or raise an error that names one.

    Rows of weight 0 are left out.
    """
    kind = family_of(family)
    link = kind.link(link)
    shape = alpha_of(kind, alpha)
    flag("new_pass", new_pass)
    x = given.matrix(X, state.options.n_params)
    target = given.vector("y", y, len(x))
    kind.require_domain(target)
    weights = given.weights(weight, len(x))
    shift = given.offsets(offset, len(x))
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


def absorb_rows(state: State, rows: RowsToFit) -> None:
    """Absorb rows, block by block.

    A failure or KeyboardInterrupt leaves the blocks before it absorbed. If there are none, the
    state is unchanged.
    """
    if state.options.mode == "qr" and rows.family.name != "gaussian":
        raise FastoptError(f"family is {rows.family.name!r}; mode 'qr' allows 'gaussian'")
    if not len(rows.y):
        return
    kept, before, history = state.kept(), state.n_obs, state.history
    try:
        done = starting.begin(state, rows.data()) if state.is_open else 0
        state.history = history._replace(
            n_passes=history.n_passes + (rows.new_pass or history.n_passes == 0),
            estimates_dispersion=history.estimates_dispersion or not rows.family.known_dispersion,
            is_linear=history.is_linear and rows.family.name == "gaussian",
            separable=(history.separable or rows.new_pass) and rows.family.name == "bernoulli",
            family=rows.family.name,
            link=rows.link,
            alpha=rows.alpha,
        )
        _absorb_blocks(state, rows.part(slice(done, None)) if done else rows)
        if before == 0 and isinstance(state.form, Information):
            most = rows_at_a_time(state.options.n_params)
            state.form.refine(block for block, _ in rows.blocks(most, state.form.reads))
    finally:
        if state.n_obs == before:
            state.restore_kept(kept)


def _absorb_blocks(state: State, rows: RowsToFit) -> None:
    glm = rows.glm(state.options)
    most = state.options.kind.rows if state.stop else None  # `stop` is evaluated after each block
    for (x, y, weight), offset in rows.blocks(most, state.form.reads):
        failure = state.form.rows(glm, x, y, weight, offset)
        if failure:
            raise FastoptError(
                f"{FAILURES[failure]}; {state.n_obs} rows have been absorbed, up to the block that "
                "failed"
            )
        state.check_stop(x, y, rows.link == "identity")


def is_separated(state: State, rows: RowsToFit) -> bool:
    """Record whether the coefficients predict every label so far; return whether to warn.

    If they do, the likelihood has no maximum. Up to 2p rows there is no warning: so few can be
    separated whatever their labels (Cover 1965).
    """
    if not state.history.separable or not len(rows.y):
        return False
    x, y = rows.x, rows.y
    is_label = bool(((y == 0) | (y == 1)).all())
    z = x @ state.form.coef() + (0.0 if rows.offset is None else rows.offset)
    separable = is_label and bool((np.where(y > 0, 1, -1) * z > 0).all())
    state.history = state.history._replace(separable=separable)
    return separable and len(y) > 2 * state.options.n_params
