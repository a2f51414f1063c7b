"""How rows of a generalized linear model are absorbed."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastopt._errors import FastoptError
from fastopt.families import family_of
from fastopt.kalman import diagnostics, starting
from fastopt.kalman.covariance import FAILURES, Floats
from fastopt.kalman.covariance.qr import Information
from fastopt.kalman.covariance.refining import rows_at_a_time
from fastopt.kalman.data import RowsToFit
from fastopt.kalman.state import State

FEW_FLOPS = 5e7  # a call of fewer operations need not check for signals


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
        done = starting.begin(state, rows) if state.is_open else 0
        state.history = history._replace(
            n_passes=history.n_passes + (rows.new_pass or history.n_passes == 0),
            estimates_dispersion=history.estimates_dispersion or not rows.family.known_dispersion,
            is_linear=history.is_linear and rows.family.name == "gaussian",
            separable=(history.separable or rows.new_pass) and rows.family.name == "binomial",
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


def absorb_few_rows(
    state: State, x: object, y: object, shift: Floats | None = None, has_intercept: bool = False
) -> bool:
    """Absorb rows of the same model as before in little time; return False if that cannot be done.

    The result is that of `absorb_rows`, and there is no reason for a warning.  It is done for few
    rows in arrays that need no conversion (see `_kalman.Rows.few_rows`), without weights, offsets
    or a new pass.
    """
    if state.few_of is not state.history:
        state.few, state.few_of = _few(state), state.history
    if state.few is None:
        return False
    failure = state.form._filter.few_rows(*state.few, x, y, shift, has_intercept)  # type: ignore[attr-defined]
    if failure:
        raise FastoptError(f"{FAILURES[failure]}; {state.n_obs} rows have been absorbed")
    return failure is not None


def _few(state: State) -> tuple[Any, ...] | None:
    """Return the first arguments of `few_rows` for rows like those before; None if there are none.

    There are none while the labels are separable, because every call then checks that.
    """
    history, options = state.history, state.options
    if not history.family or state.is_open or state.stop or options.mode == "qr":
        return None
    if history.separable and history.family == "binomial":
        return None
    family, p = family_of(history.family), options.n_params
    most = max(2, int(FEW_FLOPS / (3 * p * p + 1e4)))
    is_gaussian = family.name == "gaussian"
    return (
        (family.name, history.link),
        history.alpha,
        options.glm_update == "explicit",
        *options.gamma,
        family.low,
        family.high,
        family.open_low,
        most if is_gaussian else diagnostics.MOST_BY_CHANCE,
        most if is_gaussian else min(most, diagnostics.least_rows(p)),
    )


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
