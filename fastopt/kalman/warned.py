"""How `KalmanSGD.partial_fit` absorbs rows and warns; an error in place of a warning undoes it."""

from __future__ import annotations

import warnings

from fastopt.kalman import diagnostics
from fastopt.kalman.data import RowsToFit
from fastopt.kalman.rows import absorb_rows, is_separated
from fastopt.kalman.state import State

SORTED = (
    "one pass over rows in this order can end far from the maximum of the likelihood; shuffle the "
    "rows, or use fit(), which finds it in any order"
)
STACK_LEVEL = 4  # a warning is reported at the caller of `partial_fit`


def absorb_and_warn(state: State, rows: RowsToFit) -> None:
    """Absorb rows; warn if their order matters or their labels are separated.

    If the warning is turned into an error, the state is unchanged.
    """
    found = diagnostics.order_of(state, rows)
    if found:
        warnings.warn(f"{found}; {SORTED}", stacklevel=STACK_LEVEL)
    compares = not found and diagnostics.can_compare(state, rows)
    may_warn = compares or diagnostics.may_be_separated(state, rows)
    before = state.as_dict() if may_warn and _warnings_are_errors() else None
    covariance = state.form.covariance() if compares and state.n_obs else None
    absorb_rows(state, rows)
    try:
        if is_separated(state, rows):
            warnings.warn(
                "every label so far is predicted correctly (complete separation, or rows "
                "sorted by y); if the labels are separated, the likelihood has no maximum, and "
                "m0 determines the size of the coefficients",
                stacklevel=STACK_LEVEL,
            )
        if compares and diagnostics.disagrees(state, rows, covariance):
            warnings.warn(
                "the information that the filter gained from these rows and Fisher's "
                "differ by more than 25 %, so that stderr is not right; this happens to rows "
                f"sorted by y and to labels that are nearly separated: {SORTED}",
                stacklevel=STACK_LEVEL,
            )
    except UserWarning:
        if before is not None:
            state.load(before)
        raise


def _warnings_are_errors() -> bool:
    """Return whether a filter turns warnings into errors, so that the state must be saved."""
    return any(entry[0] == "error" for entry in warnings.filters)
