"""The first pass over the data: means and ranges of the columns, and a sample of the rows."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from fastopt._errors import FastoptError
from fastopt.estimators._glm import columns
from fastopt.estimators.block import Block, dense
from fastopt.estimators.likelihood import saturated_sums
from fastopt.estimators.model import Model
from fastopt.estimators.moments import rows_at_a_time
from fastopt.estimators.source import Source
from fastopt.estimators.sparse import column_sums, pays

__all__ = ["Columns", "columns_of"]

Floats = np.ndarray[Any, np.dtype[np.float64]]

STRIDE = 16  # the sample has every 16th row
SAMPLE_NUMBERS = 2**20  # elements of X in the sample; every 32nd row, ... if there are more
ROWS = 4096  # rows that are read at a time


@dataclass(frozen=True)
class Columns:
    """What the first pass finds out.

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
        What the log-likelihood needs of y: see `fastopt.estimators.likelihood`.
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
    low, high, total = np.full(p, np.inf), np.full(p, -np.inf), np.zeros(p)
    y_sum = np.zeros(model.n_classes or 1)
    n, weight_sum, offset_sum = 0, 0.0, None
    has_labels = bool(model.n_classes) or model.family == "bernoulli"
    sample = _Sample(p)
    saturated = np.zeros(2)
    row, rows = 0, rows_at_a_time(p)
    for block in source.blocks():
        _require_usable(block, model, row)
        used = block.of_positive_weight()
        if not used.n:
            row += block.n
            continue
        weight = used.total_weight()
        for first in range(0, used.n, rows):
            own = slice(first, first + rows)
            part = None if weight is None else np.ascontiguousarray(weight[own])
            if pays(used.x):
                low_of_x, high_of_x, total_of_x = column_sums(used.x[own], part)
                low, high = np.minimum(low, low_of_x), np.maximum(high, high_of_x)
                total += total_of_x
            else:
                columns(dense(used.x, own), part, low, high, total)
        if not np.isfinite(total).all():
            _require_finite(block.x, row)
        n += used.n
        weight_sum += used.n if weight is None else float(weight.sum())
        has_labels = has_labels and bool(model.n_classes or np.isin(used.y, (0.0, 1.0)).all())
        y_sum += _sum_of_y(used, weight, model.n_classes)
        if used.offset is not None:
            of_block = used.offset.sum() if weight is None else weight @ used.offset
            offset_sum = (offset_sum or 0.0) + float(of_block)
        row += block.n
        sample.add(used)
        if not model.n_classes:  # the log-likelihood of certain classes is 0
            saturated += saturated_sums(
                model.family, used.y, model.shape, used.weight, used.frequency
            )
    if not n:
        raise FastoptError("no row has a positive weight; at least one is needed")
    mean = np.where(low == high, low, total / weight_sum)
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
        n,
        weight_sum,
        mean,
        np.maximum(high - mean, mean - low),
        anchor,
        value,
        y_sum / weight_sum,
        has_labels,
        None if offset_sum is None else offset_sum / weight_sum,
        sample.whole(),
        saturated,
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
