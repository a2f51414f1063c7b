"""How rows of a generalized linear model are absorbed (`KalmanSGD.partial_fit`)."""

from __future__ import annotations

import numpy as np

from fastopt._errors import FastoptError
from fastopt.kalman import starting
from fastopt.kalman.covariance import FAILURES
from fastopt.kalman.covariance.qr import Information
from fastopt.kalman.covariance.refining import rows_at_a_time
from fastopt.kalman.data import RowsToFit
from fastopt.kalman.state import State


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
