"""How a model is fitted by epochs: the order of the rows, the loss of each epoch, when it ends."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.sparse import issparse  # type: ignore[import-untyped]
from sklearn.utils import check_random_state

from fastopt._checks import Choice, Real, Whole, flag
from fastopt._errors import FastoptError
from fastopt.estimators.epochs.steps import EpochOptions, Epochs, scaling_of
from fastopt.estimators.scoring.model import Model
from fastopt.estimators.sources.array import ArraySource
from fastopt.estimators.sources.block import Block
from fastopt.estimators.sources.source import Source

__all__ = ["EpochLoop", "EpochSolution", "diverging", "fit_by_epochs", "shuffled"]

Floats = np.ndarray[Any, np.dtype[np.float64]]
Wholes = np.ndarray[Any, np.dtype[np.int64]]

BLOCK_ROWS = 64  # that "blocks" keeps together
ROWS = 2**14  # whose deviance is computed at a time
MOST_LOSS = 2.0  # times the objective of coefficients of 0: above, steps diverge


@dataclass(frozen=True)
class EpochLoop:
    """When epochs end, and in which order they take the rows.

    Attributes
    ----------
    max_iter : int
    tol : float or None
        None: all ``max_iter`` epochs are taken.
    n_iter_no_change : int
    early_stopping : bool
    validation_fraction : float
    shuffle : bool or "blocks"
    random_state : int, RandomState or None
    verbose : int
    """

    max_iter: int = 100
    tol: float | None = 1e-4
    n_iter_no_change: int = 5
    early_stopping: bool = False
    validation_fraction: float = 0.1
    shuffle: bool | str = True
    random_state: Any = None
    verbose: int = 0

    def __post_init__(self) -> None:
        """Raise an error that names an option outside its range."""
        Whole(1)("max_iter", self.max_iter)
        Whole(1)("n_iter_no_change", self.n_iter_no_change)
        flag("early_stopping", self.early_stopping)
        Real(0.0, 1.0)("validation_fraction", self.validation_fraction)
        if not 0.0 < self.validation_fraction < 1.0:
            raise FastoptError(
                f"validation_fraction is {self.validation_fraction!r}; allowed: 0 < value < 1"
            )
        Choice((False, True, "blocks"))("shuffle", self.shuffle)


@dataclass(frozen=True)
class EpochSolution:
    """The end of a fit by epochs.

    Attributes
    ----------
    epochs : Epochs
        The state, from which further steps can be taken.
    coef : array of shape (p + 1,)
        The coefficients of X, then the intercept.
    losses : list of float
        The objective of each epoch: the mean over the rows, each at the coefficients before its
        step, plus the penalty after the last.
    n_iter : int
    problem : str
        Why the fit has not converged; "" if it has.
    """

    epochs: Epochs
    coef: Floats
    losses: list[float]
    n_iter: int
    problem: str = ""


def shuffled(n: int, shuffle: bool | str, random: Any) -> Wholes | None:
    """Return an order of n rows, or None for the order in which they are.

    Parameters
    ----------
    n : int
    shuffle : bool or "blocks"
        "blocks" permutes blocks of 64 consecutive rows, and not the rows in them.
    random : RandomState

    Returns
    -------
    array of shape (n,) or None
    """
    if shuffle is False:
        return None
    if shuffle is True:
        return np.asarray(random.permutation(n), dtype=np.int64)
    first = BLOCK_ROWS * np.asarray(random.permutation(-(-n // BLOCK_ROWS)), dtype=np.int64)
    order = (first[:, None] + np.arange(BLOCK_ROWS)).ravel()
    return order[order < n]


def sum_of_losses(model: Model, block: Block, z: Floats, weight: Floats | None) -> float:
    """Return the sum of weight times half the unit deviance at linear predictors."""
    total = 0.0
    with np.errstate(all="ignore"):
        for i in range(0, block.n, ROWS):
            own = slice(i, i + ROWS)
            y = np.ascontiguousarray(block.y[own], dtype=float)
            deviance = model.observe(y, z[own]).deviance
            total += float(deviance.sum() if weight is None else deviance @ weight[own])
    return 0.5 * total


class _Rows:
    """The rows of a source, those of the steps and those that are held out, block by block."""

    def __init__(self, source: Source, fraction: float, random: Any) -> None:
        self.source, self.fraction = source, fraction
        self.seed = random.randint(2**31 - 1) if fraction else 0
        self.kept: list[tuple[Block, Block | None]] | None = None
        if isinstance(source, ArraySource):
            self.kept = list(self._split())

    def _split(self) -> Iterator[tuple[Block, Block | None]]:
        for i, block in enumerate(self.source.blocks()):
            n_held = math.ceil(self.fraction * block.n)
            if not 0 < n_held < block.n:
                yield block, None
                continue
            held = np.zeros(block.n, dtype=bool)
            held[check_random_state(self.seed + i).permutation(block.n)[:n_held]] = True
            yield block.part(np.flatnonzero(~held)), block.part(np.flatnonzero(held))

    def pairs(self) -> Iterator[tuple[Block, Block | None]]:
        return self._split() if self.kept is None else iter(self.kept)

    def blocks(self) -> Iterator[Block]:
        return (block for block, _ in self.pairs())

    def mean_loss(self, model: Model, coef: Floats) -> float:
        """Return the weighted mean of half the unit deviance, of rows held out if there are any."""
        loss = total = 0.0
        for kept, held in self.pairs():
            block = held if self.fraction else kept
            if block is not None:
                with np.errstate(over="ignore", invalid="ignore"):
                    z = np.ascontiguousarray(block.x @ coef[:-1] + coef[-1])
                    z = z if block.offset is None else z + block.offset
                weight = block.total_weight()
                loss += sum_of_losses(model, block, z, weight)
                total += float(block.n if weight is None else weight.sum())
        if not total:
            raise FastoptError(
                f"validation_fraction is {self.fraction!r}; no row of positive weight was held "
                "out. Each block of rows keeps at least one for the steps"
            )
        return loss / total


def fit_by_epochs(
    source: Source, model: Model, options: EpochOptions, loop: EpochLoop
) -> EpochSolution:
    """Return the coefficients after epochs over the rows.

    The rows of each block are shuffled, if any; blocks are taken in the order of the source.

    Parameters
    ----------
    source : Source
        Dense rows or CSR.
    model : Model
    options : EpochOptions
    loop : EpochLoop

    Returns
    -------
    EpochSolution

    Raises
    ------
    FastoptError
        y is outside the range of the family, or the steps diverge.
    """
    began = time.perf_counter()
    random = check_random_state(loop.random_state)
    rows = _Rows(source, loop.validation_fraction if loop.early_stopping else 0.0, random)
    is_sparse, scale = _first_pass(rows, model)
    scaling = None
    if options.standardize and not is_sparse and options.solver != "ftrl":
        scaling = scaling_of(rows.blocks, model.fit_intercept)
    epochs = Epochs(model, source.n_features, options, is_sparse, scaling)
    prepared = _Prepared(rows, epochs, scale)
    losses: list[float] = []
    best, best_coef, waited = np.inf, epochs.coefficients(), 0
    problem = (
        f"max_iter={loop.max_iter} epochs were taken before the objective settled. Increase "
        "max_iter or tol"
    )
    try:
        for epoch in range(loop.max_iter):
            loss = prepared.take_epoch(loop.shuffle, random)
            coef = epochs.coefficients()
            losses.append(loss + epochs.penalty_at(coef))
            score = rows.mean_loss(model, coef) if loop.early_stopping else losses[-1]
            if loop.verbose:
                seconds = time.perf_counter() - began
                part = f", validation loss {score:.8g}" if loop.early_stopping else ""
                print(f"epoch {epoch + 1}: objective {losses[-1]:.8g}{part}, {seconds:.1f} s")
            if not (math.isfinite(losses[-1]) and math.isfinite(score)):
                problem = f"the objective is not finite after epoch {epoch + 1}{diverging(epochs)}"
                break
            waited = waited + 1 if loop.tol is not None and score > best - loop.tol else 0
            if score < best:
                best, best_coef = score, coef
            if waited >= loop.n_iter_no_change:
                start = rows.mean_loss(model, np.zeros_like(coef))
                last = best if loop.early_stopping else losses[-1]
                problem = ""
                if last > MOST_LOSS * start:
                    problem = (
                        f"the objective is {last:.3g}, and {start:.3g} with coefficients of 0"
                        f"{diverging(epochs)}"
                    )
                break
    except KeyboardInterrupt:
        if not losses:
            raise
        problem = f"interrupted in epoch {len(losses) + 1}"
    coef = best_coef if loop.early_stopping else epochs.coefficients()
    return EpochSolution(epochs, coef, losses, len(losses), problem)


def diverging(epochs: Epochs) -> str:
    """Return the end of a message on steps that diverge, with what helps."""
    eta0 = epochs.options.eta0
    return (
        ", because the steps diverge. Use a smaller eta0, now "
        f"{epochs.base if eta0 is None else eta0:g}"
    )


def _first_pass(rows: _Rows, model: Model) -> tuple[bool, float | None]:
    """Return whether the rows are sparse, and the factor that makes the mean weight 1, or None."""
    n, total, is_sparse, is_weighted = 0, 0.0, False, False
    for block in rows.blocks():
        model.kind.require_domain(block.y)
        weight = block.total_weight()
        n += block.n
        total += float(block.n if weight is None else weight.sum())
        is_weighted |= weight is not None
        is_sparse |= issparse(block.x)
    return is_sparse, n / total if is_weighted else None


class _Prepared:
    """The steps of an epoch; arrays in memory are prepared once."""

    def __init__(self, rows: _Rows, epochs: Epochs, scale: float | None) -> None:
        self.rows, self.epochs, self.scale = rows, epochs, scale
        self.kept = None if rows.kept is None else list(self._parts())

    def _parts(self) -> Iterator[tuple[int, Any]]:
        for block in self.rows.blocks():
            weight = block.total_weight()
            if self.scale is not None:
                weight = np.full(block.n, self.scale) if weight is None else weight * self.scale
            yield block.n, self.epochs.table(block, weight)

    def take_epoch(self, shuffle: bool | str, random: Any) -> float:
        """Take the steps of all rows; return their mean loss."""
        loss, total = 0.0, 0
        for n, table in self._parts() if self.kept is None else self.kept:
            order = shuffled(n, shuffle, random)
            loss += self.epochs.loss(table, self.epochs.take(table, n, order), order)
            total += n
        return loss / total
