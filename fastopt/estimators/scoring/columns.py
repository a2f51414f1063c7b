"""The first pass over the data: means and ranges of the columns, and a sample of the rows."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from fastopt._errors import FastoptError
from fastopt.estimators._glm import columns
from fastopt.estimators.inference.likelihood import saturated_sums
from fastopt.estimators.scoring.model import Model
from fastopt.estimators.scoring.moments import rows_at_a_time
from fastopt.estimators.scoring.sparse import column_sums, pays
from fastopt.estimators.sources.block import Block, contiguous, dense
from fastopt.estimators.sources.source import Source, reduced

__all__ = ["Columns", "columns_of"]

Floats = np.ndarray[Any, np.dtype[np.float64]]

STRIDE = 16  # the sample has every 16th row
SAMPLE_NUMBERS = 2**20  # elements of X in the sample; every 32nd row, ... if there are more
ROWS = 4096  # rows that are read at a time


@dataclass(frozen=True)
class Columns:
    """What the first pass has found.

    Attributes
    ----------
    n : int
        Rows of a positive weight.
    weight : float
        The sum of their weights.
    mean : array of shape (p,)
        The weighted means that are subtracted from the columns; 0 if there is neither an intercept
        nor a constant column.
    reach : array of shape (p,)
        The largest distance of a value from the mean.
    anchor : int or None
        The index of a constant column that takes the place of an intercept.
    anchor_value : float
        Its value; 1 for an intercept.
    y_mean : array of shape (1,)
        The weighted mean of y; of a multinomial model the shares of the classes.
    has_labels : bool
        Whether y is the index of a class: all are 0 or 1, or the model is multinomial.
    offset_mean : float or None
        The weighted mean of the offset.
    sample : Block
        About every 16th row.
    saturated : array of shape (2,)
        What the log-likelihood needs of y: see `fastopt.estimators.inference.likelihood`.
    """

    n: int
    weight: float
    mean: Floats
    reach: Floats
    anchor: int | None
    anchor_value: float
    y_mean: Floats
    has_labels: bool
    offset_mean: float | None
    sample: Block
    saturated: Floats


class _Sample:
    """Every k-th row of a stream, for a k that doubles when there are too many."""

    def __init__(self, n_features: int) -> None:
        self.most = max(1024, SAMPLE_NUMBERS // max(1, n_features))
        self.stride, self.position, self.n = STRIDE, 0, 0
        self.parts: list[Block] = []

    def add(self, block: Block) -> None:
        first = -self.position % self.stride
        self.position += block.n
        self._keep(block.part(slice(first, None, self.stride)))
        if self.n > self.most:
            self._halve()

    def merge(self, other: _Sample) -> None:
        """Add the sample of other rows, each with the larger of the two strides."""
        while self.stride < other.stride:
            self._halve()
        while other.stride < self.stride:
            other._halve()
        self.position += other.position
        self.parts += other.parts
        self.n += other.n
        while self.n > self.most:
            self._halve()

    def _halve(self) -> None:
        whole, self.parts, self.n = self.parts, [], 0
        position = 0
        for part in whole:  # one at a time, so that there is no second sample in memory
            self._keep(part.part(slice(position % 2, None, 2)))
            position += part.n
        self.stride *= 2

    def _keep(self, block: Block) -> None:
        if block.n:
            self.parts.append(_copied(block))
            self.n += block.n

    def whole(self) -> Block:
        def of(name: str) -> Any:
            parts = [getattr(part, name) for part in self.parts]
            return None if parts[0] is None else np.concatenate(parts)

        return Block(of("x"), of("y"), of("weight"), of("offset"), of("frequency"))


class _Sums:
    """Sums, ranges and a sample over blocks of rows; they can be merged with those of others."""

    def __init__(self, n_features: int, model: Model) -> None:
        self.model = model
        self.low, self.high = np.full(n_features, np.inf), np.full(n_features, -np.inf)
        self.total = np.zeros(n_features)
        self.y_sum = np.zeros(model.n_classes or 1)
        self.n, self.weight, self.row = 0, 0.0, 0
        self.offset: float | None = None
        self.has_labels = bool(model.n_classes) or model.family == "binomial"
        self.sample = _Sample(n_features)
        self.saturated = np.zeros(2)

    def add(self, block: Block) -> None:
        """Add the rows of a block, or raise an error that names a value."""
        model = self.model
        _require_usable(block, model, self.row)
        used = block.of_positive_weight()
        if not used.n:
            self.row += block.n
            return
        weight, rows = used.total_weight(), rows_at_a_time(len(self.total))
        for first in range(0, used.n, rows):
            own = slice(first, first + rows)
            part = None if weight is None else contiguous(weight[own])
            if pays(used.x):
                low, high, total = column_sums(used.x[own], part)
                self._add_columns(low, high, total)
            else:
                columns(dense(used.x, own), part, self.low, self.high, self.total)
        if not np.isfinite(self.total).all():
            _require_finite(block.x, self.row)
        self.n += used.n
        self.weight += used.n if weight is None else float(weight.sum())
        if not model.n_classes:
            self.has_labels = self.has_labels and bool(np.isin(used.y, (0.0, 1.0)).all())
        self.y_sum += _sum_of_y(used, weight, model.n_classes)
        if used.offset is not None:
            of_block = used.offset.sum() if weight is None else weight @ used.offset
            self.offset = (self.offset or 0.0) + float(of_block)
        self.row += block.n
        self.sample.add(used)
        if not model.n_classes:  # the log-likelihood of certain classes is 0
            self.saturated += saturated_sums(
                model.family, used.y, model.shape, used.weight, used.frequency
            )

    def _add_columns(self, low: Floats, high: Floats, total: Floats) -> None:
        np.minimum(self.low, low, out=self.low)
        np.maximum(self.high, high, out=self.high)
        self.total += total

    def merge(self, other: _Sums) -> _Sums:
        """Add the sums over other rows; return self."""
        self._add_columns(other.low, other.high, other.total)
        for name in ("y_sum", "saturated", "n", "weight", "row"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        if other.offset is not None:
            self.offset = (self.offset or 0.0) + other.offset
        self.has_labels = self.has_labels and other.has_labels
        self.sample.merge(other.sample)
        return self


def _sums_of(n_features: int, model: Model, block: Block) -> _Sums:
    found = _Sums(n_features, model)
    found.add(block)
    return found


def columns_of(source: Source, model: Model) -> Columns:
    """Return the means, ranges and a sample, and check that all values are usable.

    Parameters
    ----------
    source : Source
    model : Model

    Returns
    -------
    Columns

    Raises
    ------
    FastoptError
        X has a NaN or an infinity, y is outside the range of the family, or no row has a positive
        weight.
    """
    p = source.n_features
    if hasattr(source, "reduced"):
        found = reduced(source, partial(_sums_of, p, model), _Sums.merge)
    else:  # the sample has every 16th row, however short the blocks are
        found = _Sums(p, model)
        for block in source.blocks():
            found.add(block)
    if not found.n:
        raise FastoptError("no row has a positive weight; at least one is needed")
    low, high = found.low, found.high
    mean = np.where(low == high, low, found.total / found.weight)
    anchor, value = None, 1.0
    if not model.fit_intercept:
        constant = np.flatnonzero((low == high) & (low != 0))
        if constant.size:
            anchor = int(constant[0])
            value = float(low[anchor])
            mean[anchor] = 0.0
        else:
            mean = np.zeros(p)
    return Columns(
        found.n,
        found.weight,
        mean,
        np.maximum(high - mean, mean - low),
        anchor,
        value,
        found.y_sum / found.weight,
        found.has_labels,
        None if found.offset is None else found.offset / found.weight,
        found.sample.whole(),
        found.saturated,
    )


def _sum_of_y(block: Block, weight: Floats | None, n_classes: int) -> Any:
    """Return the weighted sum of y, or the weight of each class."""
    if n_classes:
        return np.bincount(block.y.astype(np.intp), weight, n_classes)
    return block.y.sum() if weight is None else weight @ block.y


def _require_usable(block: Block, model: Model, row: int) -> None:
    """Raise an error that names the first value of the block that a fit cannot use."""
    try:
        model.kind.require_domain(np.asarray(block.y, dtype=float))
    except FastoptError as error:
        raise FastoptError(str(error) if not row else f"{error}, after {row} rows") from None


def _require_finite(given: Any, row: int) -> None:
    """Raise an error that names the first NaN or infinity, or says that values are too large."""
    for first in range(0, given.shape[0], ROWS):
        x = dense(given, slice(first, first + ROWS))
        bad = np.argwhere(~np.isfinite(x))
        if bad.size:
            i, j = bad[0]
            raise FastoptError(f"X[{row + first + i}, {j}] is {x[i, j]}; a finite number is needed")
    raise FastoptError("the sum of a column of X is not finite; divide X by its size")


def _copied(block: Block) -> Block:
    return replace(block, x=np.array(dense(block.x, slice(None))), y=np.array(block.y))
