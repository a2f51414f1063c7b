"""When two filters can be merged exactly, and how (`KalmanSGD.merge`)."""

from __future__ import annotations

import numpy as np

from fastopt._errors import FastoptError
from fastopt.kalman.covariance.merging import merged
from fastopt.kalman.covariance.qr import Information
from fastopt.kalman.state import State


def merge(state: State, other: State) -> None:
    """Add everything that `other` has absorbed to `state`; or raise an error that says why not."""
    require_mergeable(state, other)
    own, others = state.form, other.form
    if isinstance(own, Information) and isinstance(others, Information):
        state.require_done(own.absorb(others))
    else:
        _require_same_start(state, other)
        w, m, moved = merged(
            (own.coef(), own.covariance()), (others.coef(), others.covariance()), other.origin
        )
        form = state.options.make_form(w, m)
        mine, theirs = own.counts, others.counts
        form.counts = (mine[0] + theirs[0], mine[1] + theirs[1], mine[2] + theirs[2] + moved)
        state.form = form
    before, added = state.history, other.history
    state.history = before._replace(
        n_passes=max(before.n_passes, added.n_passes),
        estimates_dispersion=before.estimates_dispersion or added.estimates_dispersion,
        separable=before.separable and added.separable,
    )
    if state.stop and other.stop:
        state.stop.merge(other.stop)
        state.stop.evaluate(state.form, state.dispersion, has_identity_link=True)


def require_mergeable(state: State, other: State) -> None:
    """Raise unless the options and the histories of two filters allow an exact merge."""
    mine, theirs = state.options, other.options
    if theirs.n_params != mine.n_params:
        raise FastoptError(f"other has {theirs.n_params} coefficients, this {mine.n_params}")
    if mine.mode != theirs.mode or mine.gamma != theirs.gamma:
        raise FastoptError(
            f"mode and gamma are {mine.mode!r}, {mine.given_gamma} here and {theirs.mode!r}, "
            f"{theirs.given_gamma} in other; they must be equal"
        )
    kept, others_kept = mine.kind.kept, theirs.kind.kept
    if kept != "full" or others_kept != "full":
        raise FastoptError(
            f"covariances are {kept!r} and {others_kept!r}; merging is exact for 'full' only"
        )
    if not (state.history.is_linear and other.history.is_linear):
        raise FastoptError(
            "merging is exact only for rows of the gaussian family, absorbed by partial_fit "
            "without forgetting"
        )
    passes, others_passes = state.history.n_passes, other.history.n_passes
    if passes and others_passes and passes != others_passes:
        raise FastoptError(
            f"this filter has absorbed its rows {passes} times, other {others_passes} times; "
            "the numbers of passes must be equal"
        )


def _require_same_start(state: State, other: State) -> None:
    """Raise unless both filters started from the same finite m0 and w0, or from the default m0.

    The default is a prior that depends on the first rows; that of `other` is subtracted.
    """
    state.require_covariance()
    other.require_covariance()
    default = state.options.m0 is None and other.options.m0 is None
    for mine, theirs in zip(state.origin, other.origin, strict=True):
        if not (np.array_equal(mine, theirs) or (default and mine is not state.origin[0])):
            raise FastoptError(
                "the filters started from different m0 or w0, which would be counted twice; "
                "start both from the same, or from an infinite m0"
            )
