"""The file of a fitted model: JSON with what a prediction needs, and no code."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fastopt._errors import FastoptError
from fastopt.cli.json_values import finite_or_none
from fastopt.cli.rows.encoding import Column, Encoding
from fastopt.cli.rows.filled import Fill
from fastopt.cli.rows.formulas import formula_of
from fastopt.estimators import GLMClassifier, GLMRegressor
from fastopt.estimators.inference.fitted import Fitted
from fastopt.estimators.sources.formula import Formula

FORMAT, VERSION = "fastopt fit model", 1
_PARAMETERS = ("family", "link", "overdispersion", "power", "fit_intercept")


@dataclass(frozen=True)
class StoredModel:
    """A model from a file, and how rows are read for it."""

    estimator: Any
    target: str
    columns: list[Column] | Formula | None  # None: svmlight
    fills: dict[str, Fill]
    offset: str | None
    exposure: str | None
    has_inference: bool
    zero_based: bool | None
    texts: tuple[str, ...]  # columns of text

    @property
    def column_names(self) -> list[str]:
        """The columns of a file that are features."""
        if isinstance(self.columns, list):
            return [column.name for column in self.columns]
        return [] if self.columns is None else list(self.columns.columns)

    def features(self, place: Callable[[int], str]) -> Encoding | Formula:
        """Return how the columns of a table become rows of a matrix."""
        if isinstance(self.columns, list):
            return Encoding(self.columns, place)
        assert self.columns is not None
        return self.columns


def model_values(
    estimator: Any,
    target: str,
    names: list[str],
    columns: list[dict[str, Any]] | None,
    formula: dict[str, Any] | None,
    **rest: Any,
) -> dict[str, Any]:
    """Return the object of a model file.

    Parameters
    ----------
    estimator : GLMRegressor or GLMClassifier
    target : str
    names : list of str
        Of the columns of the matrix.
    columns : list of dict or None
        Name and levels of each column of the file.
    formula : dict or None
    rest : dict
        fills, offset, exposure, zero_based.

    Raises
    ------
    FastoptError
        A coefficient is not finite.
    """
    own = estimator.get_params()
    if not (np.isfinite(estimator.coef_).all() and np.isfinite(estimator.intercept_).all()):
        raise FastoptError("the fit ended with coefficients that are not finite")
    classes = getattr(estimator, "classes_", None)
    return {
        "format": FORMAT,
        "version": VERSION,
        "estimator": type(estimator).__name__,
        "parameters": {name: own[name] for name in _PARAMETERS if name in own},
        "target": target,
        "classes": None if classes is None else classes.tolist(),
        "names": names,
        "coef": np.atleast_2d(estimator.coef_).tolist(),
        "intercept": np.atleast_1d(estimator.intercept_).tolist(),
        "converged": bool(estimator.converged_),
        "columns": columns,
        "formula": formula,
        **rest,
        "inference": _inference(getattr(estimator, "fitted_", None)),
    }


def _inference(fitted: Fitted | None) -> dict[str, Any] | None:
    """Return what an interval needs; None if there are no standard errors."""
    if fitted is None or fitted.penalty or fitted.n_equations > 1:
        return None
    covariance = fitted.centred_covariance
    if not np.isfinite(covariance).all():
        return None
    return {
        "family": fitted.family,
        "link": fitted.link,
        "shape": fitted.shape,
        "coef": fitted.coef.tolist(),
        "covariance": covariance.tolist(),
        "center": None if fitted.center is None else fitted.center.tolist(),
        "anchor": fitted.anchor,
        "anchor_value": fitted.anchor_value,
        "has_intercept": fitted.has_intercept,
        "use_t": fitted.use_t,
        "df_resid": finite_or_none(fitted.df_resid),
        "n_groups": fitted.n_groups,
        "n": fitted.n,
    }


def load_model(path: Path) -> StoredModel:
    """Return the model in a file; no code of the file is run.

    Raises
    ------
    FastoptError
        It is no model file.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:  # of the encoding too
        values = None
    if not isinstance(values, dict) or values.get("format") != FORMAT:
        raise FastoptError(f"{path}: not a model file of `fastopt fit`")
    if values.get("version") != VERSION:
        raise FastoptError(
            f"{path}: version {values.get('version')!r} of a model file; {VERSION} is needed"
        )
    try:
        return _model_of(values)
    except FastoptError as error:
        raise FastoptError(f"{path}: {error}") from None
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        raise FastoptError(
            f"{path}: a damaged model file ({type(error).__name__}: {error})"
        ) from None


def _model_of(values: dict[str, Any]) -> StoredModel:
    coef, intercept = np.array(values["coef"], float), np.array(values["intercept"], float)
    names = [str(name) for name in values["names"]]
    n_rows = 1
    estimator: Any
    if values["estimator"] == "GLMClassifier":
        estimator = GLMClassifier(**values["parameters"])
        estimator.classes_ = np.array(values["classes"])
        n_classes = len(estimator.classes_)
        n_rows = 1 if n_classes == 2 else n_classes
        estimator._fitted_model = estimator._model(n_classes)
    else:
        estimator = GLMRegressor(**values["parameters"])
        estimator._fitted_model = estimator._model()
    if coef.shape != (n_rows, len(names)) or intercept.shape != (n_rows,):
        raise ValueError(f"coef has shape {coef.shape}")
    is_regressor = isinstance(estimator, GLMRegressor)
    estimator.coef_ = coef[0] if is_regressor else coef
    estimator.intercept_ = float(intercept[0]) if is_regressor else intercept
    estimator.n_features_in_ = len(names)
    estimator.converged_ = bool(values["converged"])
    estimator.fitted_ = _fitted(values["inference"], names)
    columns: list[Column] | Formula | None = None
    texts: list[str] = []
    if values["formula"] is not None:
        columns = formula_of(values["formula"])
        own = columns.names
        texts = [name for name, kind in values["formula"]["row"]["pairs"] if isinstance(kind, str)]
    elif values["columns"] is not None:
        columns = [
            Column(column["name"], None if column["levels"] is None else tuple(column["levels"]))
            for column in values["columns"]
        ]
        own = [name for column in columns for name in column.names]
        texts = [column.name for column in columns if column.levels is not None]
    else:
        own = names
    if own != names:
        raise ValueError("its columns do not belong to its coefficients")
    return StoredModel(
        estimator,
        str(values["target"]),
        columns,
        dict(values["fills"]),
        values["offset"],
        values["exposure"],
        values["inference"] is not None,
        values["zero_based"],
        tuple(texts),
    )


def _fitted(own: dict[str, Any] | None, names: list[str]) -> Fitted | None:
    """Return what is known of the fit: what an interval of a mean needs."""
    if own is None:
        return None
    covariance, nothing = np.array(own["covariance"], float), np.empty((0, 0))
    q = len(names) + own["has_intercept"]
    coef = np.array(own["coef"], float)
    if covariance.shape != (q, q) or coef.shape != (q,):
        raise ValueError(f"covariance has shape {covariance.shape}")
    unknown: dict[str, Any] = dict.fromkeys(
        ("scale", "n_effective", "weight_sum", "deviance", "null_deviance", "llf", "llnull",
         "pearson_chi2"), math.nan,
    )  # fmt: skip
    return Fitted(
        coef=coef,
        names=tuple(["const"][: own["has_intercept"]] + names),
        family=own["family"],
        link=own["link"],
        shape=own["shape"],
        information=nothing,
        inverse=nothing,
        robust=covariance,
        center=None if own["center"] is None else np.array(own["center"], float),
        anchor=own["anchor"],
        anchor_value=own["anchor_value"],
        has_intercept=own["has_intercept"],
        use_t=own["use_t"],
        df_resid=math.nan if own["df_resid"] is None else own["df_resid"],
        n_groups=own["n_groups"],
        n=own["n"],
        df_model=q - 1,
        n_iter=1,
        converged=True,
        **unknown,
    )
