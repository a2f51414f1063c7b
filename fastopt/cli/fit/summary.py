"""The result of a fit in JSON."""

from __future__ import annotations

import platform
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

import fastopt
from fastopt import _core
from fastopt._checks import default_threads
from fastopt.cli.json_values import finite_or_none
from fastopt.estimators.inference import estimates
from fastopt.estimators.inference.fitted import Fitted

_NUMBERS = ("deviance", "null_deviance", "llf", "pearson_chi2", "df_resid")


@dataclass(frozen=True)
class Coefficient:
    """A coefficient; what is not known is None. `label` has the class of several, too."""

    label: str
    name: str
    class_label: str | None
    coef: float
    stderr: float | None = None
    statistic: float | None = None
    p_value: float | None = None
    lower: float | None = None
    upper: float | None = None


def coefficients_of(
    estimator: Any, names: list[str]
) -> tuple[list[Coefficient], list[Coefficient]]:
    """Return all coefficients of a fit, and those that are no intercepts.

    Parameters
    ----------
    estimator : GLMRegressor or GLMClassifier
    names : list of str
        The names of the columns.
    """
    fitted: Fitted | None = getattr(estimator, "fitted_", None)
    if fitted is None:
        coefs = np.atleast_1d(np.squeeze(estimator.coef_))
        own = [Coefficient(*_named(names, i, None), coef) for i, coef in enumerate(coefs.tolist())]
        first = float(np.squeeze(estimator.intercept_))
        constant = [Coefficient("const", "const", None, first)] * estimator.fit_intercept
        return [*constant, *own], own
    labels = [None] if fitted.n_equations == 1 else list(fitted.classes[-fitted.n_equations :])
    width = len(fitted.coef) // fitted.n_equations
    columns = [*fitted.names[:1], *names] if fitted.has_intercept else names
    if fitted.has_intercept and fitted.n_equations > 1:
        columns = ["const", *names]
    numbers: list[Any] = [fitted.coef.tolist()]
    if not fitted.penalty:
        with np.errstate(all="ignore"):
            error = estimates.stderr(fitted)
            found = (error, fitted.coef / error, estimates.p_values(fitted))
        numbers += [list(map(finite_or_none, own.tolist())) for own in found]
        ends = estimates.conf_int(fitted, 0.95).T
        numbers += [list(map(finite_or_none, own.tolist())) for own in ends]
    whole = [
        Coefficient(*_named(list(columns), i % width, labels[i // width]), *values)
        for i, values in enumerate(zip(*numbers, strict=True))
    ]
    first = int(fitted.has_intercept)
    return whole, [own for i, own in enumerate(whole) if i % width >= first]


def _named(columns: list[str], at: int, label: str | None) -> tuple[str, str, str | None]:
    name = columns[at]
    return (name if label is None else f"{name}[{label}]"), name, label


def summary(
    data: dict[str, Any],
    estimator: Any,
    coefficients: list[Coefficient],
    settings: dict[str, Any],
    texts: dict[str, list[str]],
    files: dict[str, str | None],
    seconds: float,
) -> dict[str, Any]:
    """Return the object that is written to fit.json, and that `--json` prints."""
    fitted: Fitted | None = getattr(estimator, "fitted_", None)
    sums: dict[str, float | None] = {}
    if fitted is not None:
        sums = {name: finite_or_none(float(getattr(fitted, name))) for name in _NUMBERS}
        sums["dispersion"] = finite_or_none(fitted.scale)
        sums["df_model"] = fitted.df_model
        if not fitted.penalty:
            sums["aic"] = finite_or_none(estimates.aic(fitted))
            sums["bic"] = finite_or_none(estimates.bic(fitted))
    classes = getattr(estimator, "classes_", None)
    return {
        "format": "fastopt fit result",
        "data": data,
        "model": {
            "estimator": type(estimator).__name__,
            "family": fitted.family if fitted is not None else getattr(estimator, "family", None),
            "link": fitted.link if fitted is not None else estimator.link,
            "classes": None if classes is None else classes.tolist(),
            **settings,
        },
        "fit": {
            "converged": bool(estimator.converged_),
            "iterations": int(estimator.n_iter_),
            "objective": [finite_or_none(float(loss)) for loss in estimator.loss_curve_],
            "seconds": seconds,
            **sums,
        },
        "coefficients": [
            {
                ("class" if key == "class_label" else key): value
                for key, value in asdict(own).items()
            }
            for own in coefficients
        ],
        **texts,
        "files": files,
        "versions": {
            "fastopt": fastopt.__version__,
            "python": platform.python_version(),
            "numpy": np.__version__,
            "instruction_set": _core.isa(),
            "threads": default_threads() or _core.max_threads(),
        },
    }
