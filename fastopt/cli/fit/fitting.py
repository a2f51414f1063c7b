"""The fit of a model to a file, and what is known of it then."""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastopt._errors import FastoptError
from fastopt.cli.fit.choice import estimator_for, values_of
from fastopt.cli.fit.columns import ROLES, Prepared, prepare
from fastopt.cli.fit.display import Display
from fastopt.cli.fit.model_file import model_values
from fastopt.cli.fit.wording import in_options
from fastopt.cli.race.data.table import some_of
from fastopt.cli.rows.encoding import Encoding
from fastopt.cli.rows.formulas import formula_values
from fastopt.cli.rows.opening import is_sparse, open_sparse
from fastopt.cli.rows.watched import Watched
from fastopt.cli.text import notice
from fastopt.estimators import Block, GLMClassifier
from fastopt.estimators.epochs.steps import SOLVERS
from fastopt.estimators.sources.array import ArraySource
from fastopt.estimators.sources.labels import class_indices
from fastopt.estimators.sources.opening import Opened
from fastopt.families import family_of

_MOST_COLUMNS = 8192  # of a fit by scoring, whose matrices have as many rows


@dataclass(frozen=True)
class Fit:
    """A fitted estimator."""

    estimator: Any
    names: list[str]  # of the columns of the matrix
    target: str
    n: int
    rows: Any  # a source whose y is the index of the class, for a classifier
    model: dict[str, Any]  # the object of the model file
    notes: list[str]
    warnings: list[str]


def fit_file(args: argparse.Namespace) -> Fit:
    """Fit the model of the arguments to their file."""
    notice(f"Reading {args.data}")
    return _fit_sparse(args) if is_sparse(args.data) else _fit_table(prepare(args.data, args), args)


@contextmanager
def _caught() -> Iterator[list[str]]:
    """Collect the texts of warnings."""
    texts: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield texts
    texts += [in_options(str(warning.message)) for warning in caught]


def _fit_table(prepared: Prepared, args: argparse.Namespace) -> Fit:
    notes = prepared.notes
    values = values_of(prepared.rows.observations())
    if not len(values):
        raise FastoptError(f"{args.data}: no rows of a positive weight")
    features = prepared.features
    if not isinstance(features, Encoding):
        args.intercept = args.intercept and features.has_intercept
    estimator = estimator_for(args, prepared.target, values, notes)
    is_classifier = isinstance(estimator, GLMClassifier)
    _require_link(args, is_classifier)
    names = list(features.names)
    n = prepared.rows.n_rows
    with Display(n) as display, _caught() as texts:
        opened = Opened(
            Watched(prepared.rows, display.report),
            np.empty((0, len(names))),
        )
        columns = {name: column for name, column in prepared.roles.items() if name != "y"}
        estimator.fit(opened, prepared.target, **columns)
    rows = prepared.rows
    if is_classifier:
        rows = rows.with_target(class_indices(estimator.classes_))
    columns_of_file, formula = None, None
    if isinstance(features, Encoding):
        columns_of_file = [{"name": own.name, "levels": own.levels} for own in features.encoded]
    else:
        formula = formula_values(features, prepared.means)
    model = model_values(
        estimator,
        prepared.target,
        names,
        columns_of_file,
        formula,
        fills=prepared.fills,
        offset=args.offset,
        exposure=args.exposure,
        zero_based=None,
    )
    _note_result(estimator, notes)
    return Fit(estimator, names, prepared.target, n, rows, model, notes, texts)


def _require_link(args: argparse.Namespace, is_classifier: bool) -> None:
    if args.exposure is None:
        return
    link = args.link or "logit"
    if not is_classifier:
        link = family_of(args.family or "gaussian").link(args.link)
    if link != "log":
        raise FastoptError(
            f"--exposure needs the log link, as --family poisson has; the link is {link!r}"
        )


def _note_result(estimator: Any, notes: list[str]) -> None:
    """Add sentences on the classes, and on constant and dependent columns."""
    if isinstance(estimator, GLMClassifier):
        first, *others = map(repr, estimator.classes_.tolist())
        if len(others) == 1:
            notes.append(f"The model is that of the probability of {others[0]}, not of {first}.")
        elif not estimator.alpha:
            notes.append(f"Coefficients are relative to the class {first}.")
    dependent = getattr(estimator, "dependent_", ())
    if not dependent:
        return
    if estimator.fitted_.n_equations > 1:  # "x1[label]"
        dependent = dict.fromkeys(name.rpartition("[")[0] for name in dependent)
    notes.append(f"Constant, or combinations of columns before: {some_of([*dependent])}.")


def _fit_sparse(args: argparse.Namespace) -> Fit:
    for option in (*ROLES, "drop", "formula", "impute"):
        if getattr(args, option):
            raise FastoptError(
                f"--{option.replace('_', '-')} needs columns with names, which {args.data} does "
                "not have"
            )
    data = open_sparse(args.data)
    n, p = data.X.shape
    if p > _MOST_COLUMNS and args.solver not in SOLVERS:
        raise FastoptError(
            f"{args.data}: {p:,} columns are too many for standard errors, which need "
            f"{8 * p * p / 1e9:,.0f} GB for a matrix; --solver adagrad fits without them"
        )
    notes: list[str] = []
    whole = data.y.astype(np.int64)
    y = whole if np.array_equal(whole, data.y) else data.y
    estimator = estimator_for(args, "y", np.unique(y)[[0, 1, -1][: len(np.unique(y))]], notes)
    is_classifier = isinstance(estimator, GLMClassifier)
    with _caught() as texts:
        estimator.fit(data.X, y)
    names = [f"x{j + 1}" for j in range(p)]
    target = class_indices(estimator.classes_)(y, range(n)) if is_classifier else y.astype(float)
    model = model_values(
        estimator,
        "y",
        names,
        None,
        None,
        fills={},
        offset=None,
        exposure=None,
        zero_based=data.zero_based,
    )
    _note_result(estimator, notes)
    rows = ArraySource(Block(data.X, target))
    return Fit(estimator, names, "y", n, rows, model, notes, texts)
