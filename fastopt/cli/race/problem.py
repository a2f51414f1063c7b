"""The problem that all rules solve: a model, training rows, and rows held out to test it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from fastopt._errors import FastoptError
from fastopt.arrays.dtypes import Array
from fastopt.cli.race.data.table import Table
from fastopt.models import GLM, MLP

HIDDEN = 64  # width of the hidden layer
MOST_CLASSES = 20  # a target of whole numbers with more different values is numeric


@dataclass(frozen=True)
class Problem:
    """A model and its data, the same for all rules."""

    name: str
    kind: str
    model: MLP
    train: tuple[Array, Array]
    held_out: tuple[Array, Array]
    classes: list[str] | None
    target_scale: str  # how the target was scaled, as text, or ""
    constant_columns: list[str]
    notes: tuple[str, ...]  # sentences on what was left out of the table
    curvature: float  # see `_curvature`
    expected_score: float | None  # the score that every rule should reach, if it is known

    @property
    def score_name(self) -> str:
        """The name of the quantity that `model.score` returns."""
        if self.classes is not None:
            return "accuracy"
        return "R2" if self.model.loss == "squared" else "deviance explained"

    @property
    def description(self) -> str:
        """The kind of model, the widths of its layers and its loss."""
        sizes = "-".join(map(str, self.model.sizes))
        return f"{self.kind} {sizes} with {self.model.loss} loss"


def pose(table: Table, kind: str, seed: int) -> Problem:
    """Return the problem of a table: choose the shape of the model, split and scale the rows.

    Features are standardised on the training rows. A numeric target is standardised as well, and
    the target of a Poisson model is divided by its mean. The learning rates are then independent
    of the unit of the target, as R2 and the fraction of the deviance explained are anyway.
    """
    y, classes = _target(table, kind)
    train, held_out = _split(y, classes is not None, seed)
    scale = ""
    if classes is None:
        y = _scaled(y, train)
        mean, spread = y[train].mean(), y[train].std()
        if spread == 0:
            raise FastoptError(f"{table.name}: the target is constant")
        if kind == "poisson":
            y, scale = y / mean, "divided by its mean"
        else:
            y, scale = (y - mean) / spread, "standardised"
        _require_float32(table.name, ["the target"], table.y[:, None], y[:, None])
        y = y.astype(np.float32)
    X, constant = _standardise(table, train)
    model = _model(kind, X.shape[1], classes)
    return Problem(
        name=table.name,
        kind=kind,
        model=model,
        train=(X[train], y[train]),
        held_out=(X[held_out], y[held_out]),
        classes=classes,
        target_scale=scale,
        constant_columns=[table.columns[i] for i in constant],
        notes=table.notes,
        curvature=_curvature(model, X[train], y[train], seed),
        expected_score=table.expected_accuracy if classes else None,
    )


def _target(table: Table, kind: str) -> tuple[Array, list[str] | None]:
    """Return a numeric target and None, or class numbers from 0 and the names of the classes."""
    y = table.y
    is_text = y.dtype.kind == "U"
    values, codes = np.unique(y, return_inverse=True)
    is_whole = not is_text and bool((values == np.floor(values)).all())
    if kind in ("linear", "poisson"):
        if is_text:
            raise FastoptError(f"{table.name}: the target is text; {kind!r} needs numbers")
        if kind == "poisson" and values[0] < 0:
            raise FastoptError(
                f"{table.name}: the target contains {values[0]:g}; 'poisson' needs values >= 0"
            )
        return y, None
    if kind == "mlp" and not (is_text or (is_whole and len(values) <= MOST_CLASSES)):
        return y, None
    if len(values) > len(y) / 2:
        raise FastoptError(
            f"{table.name}: the target has {len(values)} different values in {len(y)} rows, "
            f"such as {str(values[0])!r}; classes are needed"
        )
    if len(values) == 1:
        raise FastoptError(f"{table.name}: the target is always {str(values[0])!r}")
    return codes, [f"{value:g}" if not is_text else str(value) for value in values]


def _split(y: Array, stratified: bool, seed: int) -> tuple[Array, Array]:
    """Return the indices of training and held-out rows: a random fifth, of each class if any."""
    order = np.random.default_rng(seed).permutation(len(y))
    if stratified:
        order = order[np.argsort(y[order], kind="stable")]
    held_out = np.arange(len(y)) % 5 == 2
    return order[~held_out], order[held_out]


def _standardise(table: Table, train: Array) -> tuple[Array, Array]:
    """Return X with mean 0 and variance 1 on the training rows, and the constant columns.

    Columns that are constant on the training rows become 0 in all rows.
    """
    X = _scaled(table.X, train)
    constant = np.ptp(X[train], axis=0) == 0
    X[:, constant] = 0.0
    spread = X[train].std(axis=0)
    factor = np.divide(1.0, spread, out=np.zeros(len(spread)), where=~constant)
    X = (X - X[train].mean(axis=0)) * factor
    _require_float32(table.name, [f"column {name}" for name in table.columns], table.X, X)
    return X.astype(np.float32), np.flatnonzero(constant)


def _scaled(values: Array, train: Array) -> Array:
    """Return each column times the power of two that makes its training values at most 1.

    This is exact, and squares of the values in the training rows no longer overflow. A value in
    another row becomes infinite if it is too large.
    """
    _, exponent = np.frexp(np.abs(values[train]).max(axis=0))
    with np.errstate(over="ignore"):
        return np.asarray(np.ldexp(values, -exponent))


def _require_float32(table: str, columns: list[str], values: Array, scaled: Array) -> None:
    """Raise an error if a scaled value is outside float32; only held-out values can be."""
    bad = np.argwhere(~(np.abs(scaled) <= np.finfo(np.float32).max))
    if len(bad):
        row, column = bad[0]
        raise FastoptError(
            f"{table}: {columns[column]} is {values[row, column]:g} in a held-out row; after "
            "scaling by the training rows only values within the range of float32 are allowed"
        )


def _model(kind: str, n_features: int, classes: list[str] | None) -> MLP:
    k = 1 if classes is None else len(classes)
    if kind == "mlp":
        return MLP((n_features, HIDDEN, k), loss="squared" if classes is None else "softmax")
    if kind == "logistic" and k > 2:
        return GLM(n_features, "softmax", k)
    return GLM(n_features, kind)


def _curvature(model: MLP, X: Array, y: Array, seed: int) -> float:
    """Return the largest eigenvalue of the Hessian of the loss at the initial parameters.

    It is computed by power iteration with differences of gradients. Learning rates need only two
    digits of it, for which a few thousand rows and a few iterations are enough.
    """
    rng = np.random.default_rng(seed)
    rows = rng.permutation(len(X))[:2000]
    X, y = X[rows], y[rows]
    start = model.init(seed=seed)
    v = {name: rng.standard_normal(shape) for name, shape in model.shapes.items()}
    for _ in range(20):
        step = 1e-4 / _length(v)
        ahead, behind = (
            model.loss_and_grad({k: w + h * v[k] for k, w in start.items()}, X, y)[1]
            for h in (step, -step)
        )
        v = {name: (ahead[name] - behind[name]) / 2e-4 for name in start}
    # The curvature of the Poisson loss grows as the predicted means grow from their initial 1.
    return (3.0 if model.loss == "poisson" else 1.0) * _length(v)


def _length(v: dict[str, Array]) -> float:
    """Return the Euclidean norm of all arrays together."""
    return math.sqrt(sum(float(np.square(part).sum()) for part in v.values()))
