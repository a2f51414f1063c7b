"""The printed result of a fit."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastopt.cli.fit.summary import Coefficient
from fastopt.estimators.inference.summary import notes_of, table

_MOST = 40  # coefficients of a fit by epochs that are printed


def report(estimator: Any, coefficients: list[Coefficient], notes: list[str]) -> str:
    """Return the summary of a fit, and sentences on what a reader should know.

    The table is that of fastopt.estimators, whether statsmodels is installed or not.

    Parameters
    ----------
    estimator : GLMRegressor or GLMClassifier
    coefficients : list of Coefficient
        Intercepts first.
    notes : list of str
    """
    fitted = getattr(estimator, "fitted_", None)
    if fitted is None:
        return "\n".join([*_of_epochs(estimator, coefficients), *notes])
    with np.errstate(all="ignore"):  # 0/0 where a column has no effect
        return table(fitted, 0.95, [*notes_of(fitted), *notes])


def _of_epochs(estimator: Any, coefficients: list[Coefficient]) -> list[str]:
    shown = sorted(coefficients[1:], key=lambda own: -abs(own.coef))[: _MOST - 1]
    shown = coefficients if len(coefficients) <= _MOST else [coefficients[0], *shown]
    wide = max(len(own.label) for own in shown)
    lines = [
        f"{estimator.n_iter_} epochs of {estimator.solver}, objective "
        f"{estimator.loss_curve_[-1]:.6g}; there are no standard errors.",
        *(f"{own.label:<{wide}}{own.coef:>13.5g}" for own in shown),
    ]
    if len(coefficients) > len(shown):
        lines.append(f"The other {len(coefficients) - len(shown):,} coefficients are smaller.")
    return lines
