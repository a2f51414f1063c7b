"""How all rows of a model are fitted at once, in any order (`KalmanSGD.fit`)."""

from __future__ import annotations

import numpy as np
from scipy.linalg.lapack import dtrtrs  # type: ignore[import-untyped]

from fastopt._checks import Real, Whole
from fastopt._errors import FastoptError
from fastopt.kalman import starting
from fastopt.kalman.covariance import Floats
from fastopt.kalman.covariance.plain import Plain
from fastopt.kalman.covariance.qr import Information
from fastopt.kalman.covariance.refining import correction, rows_at_a_time
from fastopt.kalman.covariance.ud import UD
from fastopt.kalman.data import RowsToFit
from fastopt.kalman.scoring import Fit, maximum_likelihood
from fastopt.kalman.state import State

tolerance = Real(low=1e-15, high=1.0)


def fit_all(state: State, rows: RowsToFit, tol: float, max_rounds: int) -> None:
    """Replace the state by the maximum-likelihood fit of these rows.

    A failure changes nothing.
    """
    options = state.options
    if options.kind.kept != "full":
        raise FastoptError(f"covariance is {options.kind.kept!r}; fit needs 'full'")
    if options.is_bounded:
        raise FastoptError(f"gamma is {options.given_gamma}; fit needs (None, None)")
    tol = tolerance("tol", tol)
    most = Whole(1)("max_rounds", max_rounds)
    if not len(rows.y):
        raise FastoptError("X has no rows of positive weight; at least one is needed")
    prior = _prior(state, rows)
    w0 = state.origin[0]
    found = maximum_likelihood(rows, w0, prior, tol, most)
    if prior is None and rows.family.name == "gaussian":
        found = _refined(found, rows)
    new = State(options, w0)
    if prior is not None and new.waits:
        new.begin(w0, prior)
    form = new.form
    assert isinstance(form, Plain | UD | Information)
    new.require_done(form.fitted(found.coef, found.root, len(rows.y)))
    if isinstance(form, Information):
        form.correction = found.coef - form.coef()
    new.chooses = False
    new.history = new.history._replace(
        n_passes=1,
        estimates_dispersion=options.estimates or not rows.family.known_dispersion,
        # Merging subtracts the information of a finite start; a maximum of the likelihood has none.
        is_linear=new.history.is_linear
        and rows.family.name == "gaussian"
        and (prior is not None or options.mode == "qr"),
        separable=False,
        family=rows.family.name,
        link=rows.link,
        alpha=rows.alpha,
    )
    if new.stop is not None:
        for (x, y, _), _ in rows.blocks(None, form.reads):
            new.stop.add_rows(x, y)
        new.stop.evaluate(form, new.dispersion, rows.link == "identity")
    state.restore_kept(new.kept())


def _refined(found: Fit, rows: RowsToFit) -> Fit:
    """Return a least-squares fit that is corrected for the rounding errors of its sums."""
    most = rows_at_a_time(len(found.coef))
    blocks = (block for block, _ in rows.blocks(most, "float64"))
    solved = np.asarray(dtrtrs(found.root[:-1, :-1], found.root[:-1, -1])[0])
    return found._replace(coef=solved + correction(found.root, blocks))


def _prior(state: State, rows: RowsToFit) -> Floats | None:
    """Return the covariance of the prior; None for maximum likelihood."""
    options = state.options
    if options.m0 is None or options.mode == "qr":
        return None
    return starting.scale_of(rows) if isinstance(options.m0, str) else state.origin[1]
