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
from fastopt.kalman._kalman import nonfinite_row
from fastopt.kalman.covariance import FAILURES, Floats, Glm
from fastopt.kalman.covariance.qr import Information
from fastopt.kalman.covariance.refining import Rows, rows_at_a_time
from fastopt.kalman.options import Options
from fastopt.kalman.state import State


class RowsToFit(NamedTuple):
    """The checked arguments of `partial_fit`."""

    x: npt.NDArray[Any]
    y: Floats
    weight: Floats | None
    family: Family
    link: str
    alpha: float  # of the negative binomial, else 0
    new_pass: bool

    def glm(self, options: Options) -> Glm:
        """Return the model of the rows, as the forms of covariance take it."""
        is_explicit = options.glm_update == "explicit"
        return Glm((self.family.name, self.link), self.alpha, is_explicit, *options.gamma)

    def blocks(self, most: int | None, dtype: str) -> Iterator[Rows]:
        """Yield (x, y, weight) of at most `most` consecutive rows; None is as many as possible."""
        for first, part in given.parts(self.x, most, dtype):
            own = slice(first, first + len(part))
            yield part, self.y[own], None if self.weight is None else self.weight[own]


def checked_rows(
    state: State,
    X: object,
    y: object,
    family: str,
    link: str | None,
    weight: object,
    alpha: float | None,
    new_pass: bool,
) -> RowsToFit:
    """Return the arguments of `partial_fit`, or raise an error that names one."""
    kind = family_of(family)
    link = kind.link(link)
    shape = _alpha(kind, alpha)
    if state.options.mode == "qr" and kind.name != "gaussian":
        raise FastoptError(f"family is {family!r}; mode 'qr' allows 'gaussian'")
    flag("new_pass", new_pass)
    x = given.matrix(X, state.options.n_params)
    target = given.vector("y", y, len(x))
    kind.require_domain(target)
    weights = given.weights(weight, len(x))
    for first, part in given.parts(x, dtype=state.form.reads):
        bad = nonfinite_row(part)
        if bad >= 0:
            raise FastoptError(f"X[{first + bad}] has a NaN or an infinity; nothing was done")
    return RowsToFit(x, target, weights, kind, link, shape, new_pass)


def _alpha(family: Family, alpha: float | None) -> float:
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
    waited = state.waits
    if waited:
        state.begin(state.form.coef(), scale_of(rows.x))
    before, history = state.n_obs, state.history
    try:
        state.history = history._replace(
            n_passes=history.n_passes + (rows.new_pass or history.n_passes == 0),
            estimates_dispersion=history.estimates_dispersion or not rows.family.known_dispersion,
            is_linear=history.is_linear and rows.family.name == "gaussian",
            separable=(history.separable or rows.new_pass) and rows.family.name == "bernoulli",
        )
        _absorb_blocks(state, rows)
        if before == 0 and isinstance(state.form, Information):
            most = rows_at_a_time(state.options.n_params)
            state.form.refine(rows.blocks(most, state.form.reads))
    finally:
        if state.n_obs == before:
            state.history = history
            if waited:
                state.begin(state.form.coef(), None)


def _absorb_blocks(state: State, rows: RowsToFit) -> None:
    glm = rows.glm(state.options)
    most = state.options.kind.rows if state.stop else None  # `stop` is evaluated after each block
    for x, y, weight in rows.blocks(most, state.form.reads):
        failure = state.form.rows(glm, x, y, weight)
        if failure:
            raise FastoptError(
                f"{FAILURES[failure]}; {state.n_obs} rows have been absorbed, up to the block that "
                "failed"
            )
        state.check_stop(x, y, rows.link == "identity")


def scale_of(x: npt.NDArray[Any]) -> Floats:
    """Return the diagonal that m0="scale" gives for these rows."""
    n, p = x.shape
    least = max(256, 2 * p)
    if n < least:
        raise FastoptError(f"X has {n} rows; m0='scale' needs {least} in the first call")
    total = np.zeros(p)
    for _, part in given.parts(x):
        total += np.einsum("ij,ij->j", part, part)
    variance: Floats = 100.0 * n / np.where(total > 0, total, np.nan)
    if not np.isfinite(variance).all():
        bad = int(np.argmin(np.isfinite(variance)))
        raise FastoptError(
            f"the mean square of column {bad} of X is {total[bad] / n}, for which m0='scale' "
            "has no finite value"
        )
    return variance


def find_separation(state: State, rows: RowsToFit) -> bool:
    """Record whether the coefficients predict every label so far; return whether to warn.

    If they do, the likelihood has no maximum. Up to 2p rows there is no warning: so few can be
    separated whatever their labels (Cover 1965).
    """
    if not state.history.separable or not len(rows.y):
        return False
    counted = slice(None) if rows.weight is None else rows.weight > 0
    x, y = rows.x[counted], rows.y[counted]
    is_label = bool(((y == 0) | (y == 1)).all())
    separable = is_label and bool((np.where(y > 0, 1, -1) * (x @ state.form.coef()) > 0).all())
    state.history = state.history._replace(separable=separable)
    return separable and len(y) > 2 * state.options.n_params
