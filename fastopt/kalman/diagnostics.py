"""When `KalmanSGD.partial_fit` warns: rows sorted by y, or inconsistent information."""

from __future__ import annotations

import numpy as np
from scipy.special import gammaln  # type: ignore[import-untyped]

from fastopt.kalman import starting
from fastopt.kalman._kalman import observe_rows
from fastopt.kalman.covariance import Floats
from fastopt.kalman.data import RowsToFit
from fastopt.kalman.state import State

LEAST_ROWS = 64  # with fewer rows, equal labels or a disagreement may be chance
MOST_PARAMS = 500  # limit for the comparison, which takes n p^2 operations
ALLOWED = (0.75, 1.3)  # the range of `information_ratio` without a warning
MOST_BEFORE = 10  # earlier rows per row of a call whose order matters
BY_CHANCE = 1e-9  # the probability below which an order is not random
MOST_BY_CHANCE = 12  # so few rows are sorted with a higher probability: 2 / 12! > BY_CHANCE


def order_of(state: State, rows: RowsToFit) -> str:
    """Return in which way the order of the rows depends on y, as text; "" if it does not."""
    if is_sorted(state, rows):
        return "the rows of this call are sorted by y"
    if has_one_class_first(state, rows):
        return f"the first rows all have y = {rows.y[0]:g}"
    return ""


def has_one_class_first(state: State, rows: RowsToFit) -> bool:
    """Return whether the first rows of the first call have equal labels and later rows do not.

    False if the initial state is the maximum of the likelihood of all these rows, since their order
    has no effect then.
    """
    if rows.family.name != "binomial" or state.n_obs or not _depends_on_order(state, rows):
        return False
    first = max(LEAST_ROWS, 2 * state.options.n_params)
    y = rows.y
    return len(y) > first and bool((y[:first] == y[0]).all()) and not bool((y == y[0]).all())


def is_sorted(state: State, rows: RowsToFit) -> bool:
    """Return whether the rows of this call are sorted by y, but not by chance.

    False if their order has no effect, or little effect because many more rows precede them.
    """
    y = rows.y
    if not _depends_on_order(state, rows) or state.n_obs > MOST_BEFORE * len(y):
        return False
    if not (y[1:] >= y[:-1]).all() and not (y[1:] <= y[:-1]).all():
        return False
    equal = np.unique(y, return_counts=True)[1]
    sorted_orders = np.log(2.0) + float(gammaln(equal + 1.0).sum())
    return bool(sorted_orders - gammaln(len(y) + 1.0) < np.log(BY_CHANCE))


def _depends_on_order(state: State, rows: RowsToFit) -> bool:
    family = rows.family.name
    return family != "gaussian" and not starting.takes_all(state, family, len(rows.y))


def may_be_separated(state: State, rows: RowsToFit) -> bool:
    """Return whether all labels so far were predicted correctly, and these rows have labels."""
    return state.history.separable and rows.family.name == "binomial"


def can_compare(state: State, rows: RowsToFit) -> bool:
    """Return whether `information_ratio` is meaningful for these rows and options."""
    options = state.options
    return (
        rows.family.name != "gaussian"
        and options.kind.kept == "full"
        and options.forgetting == 1.0
        and not options.is_bounded
        and options.n_params <= MOST_PARAMS
        and len(rows.y) >= least_rows(options.n_params)
    )


def least_rows(n_params: int) -> int:
    """Return the number of rows from which `information_ratio` is meaningful."""
    return max(LEAST_ROWS, 10 * n_params)


def information_ratio(state: State, rows: RowsToFit, before: Floats | None) -> float:
    """Return the ratio of Fisher's information of these rows to what the filter gained from them.

    before : the covariance M0 before these rows; None is that of the initial state.

    Fisher's information at the final coefficients is measured by the sum of ``u x'Mx``.  If the
    filter gained this information, M^-1 - M0^-1, the sum is p - tr(M M0^-1).  In random order, the
    ratio is near 1, whatever the distribution of x.  If the order depends on y, it is not, because
    the filter has weighted rows at coefficients that were far from the final ones.
    """
    most = max(1024, 50 * state.options.n_params)
    sample = rows.part(slice(None, None, -(-len(rows.y) // most)))
    coef, m = state.form.coef(), state.form.covariance()
    x = np.asarray(sample.x, dtype=np.float64)
    z = x @ coef + (0.0 if sample.offset is None else sample.offset)
    weight = observe_rows(rows.model, rows.alpha, np.ascontiguousarray(sample.y), z)[3]
    if sample.weight is not None:
        weight = weight * sample.weight
    fisher = float(np.mean(weight * np.einsum("ij,ij->i", x @ m, x))) * len(rows.y)
    start = state.origin[1] if before is None else before
    inverse = np.diag(1.0 / start) if start.ndim == 1 else np.linalg.inv(start)
    return fisher / max(1e-300, state.options.n_params - float(np.sum(m * inverse)))


def disagrees(state: State, rows: RowsToFit, before: Floats | None) -> bool:
    """Return whether `information_ratio` differs from 1 by more than rounding and chance explain.

    False if the coefficients separate the labels, because there is hardly any information then.
    """
    if not can_compare(state, rows) or state.history.separable:
        return False
    ratio = information_ratio(state, rows, before)
    return not ALLOWED[0] <= ratio <= ALLOWED[1]
