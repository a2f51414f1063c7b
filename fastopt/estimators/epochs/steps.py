"""Epochs: the steps of an update rule on the rows of a model, and their state between calls.

Step t takes the rows i of a mini-batch and the gradient of::

    mean(weight_i deviance_i / 2) + alpha (l1_ratio |w|_1 + (1 - l1_ratio) |w|^2 / 2)

at the coefficients w and the intercept, and updates them by the rule.  L2 is part of the gradient.
L1 is soft thresholding for SGD (Duchi & Singer 2009), which makes coefficients 0; FTRL has its own;
for the other rules it is part of the gradient, and a coefficient stops at 0 before it changes its
sign (Andrew & Gao 2007).

Columns of dense rows are standardised implicitly, unless the rule is FTRL; the penalty is that of
the coefficients of X itself.  A step of SGD in which the learning rate times the L2 penalty of a
standardised column is 1 or more, and could diverge, takes its proximal operator instead of its
gradient.  CSR rows are not standardised, and a step updates the columns present
in its rows only.  For SGD and FTRL this equals a step on the same dense rows, and for AdaGrad
without a penalty.  With the other rules, the states of a column change only in the steps in which
it is present, and its penalty counts once for each step since the last of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from scipy.sparse import issparse  # type: ignore[import-untyped]

from fastopt import optimizers
from fastopt._checks import Choice, OrNone, Real, Whole, at_least_0, flag, fraction
from fastopt._errors import FastoptError
from fastopt.estimators._epochs import Steps, Table
from fastopt.estimators._glm import squares
from fastopt.estimators.scoring.model import Model
from fastopt.estimators.sources.block import Block, contiguous, dense

__all__ = ["SOLVERS", "EpochOptions", "Epochs", "Scaling", "scaling_of"]

Array = np.ndarray[Any, np.dtype[Any]]
Floats = np.ndarray[Any, np.dtype[np.float64]]
Wholes = np.ndarray[Any, np.dtype[np.int64]]

# The class of each solver, and the options that distinguish it from the class's defaults.
SOLVERS: Mapping[str, tuple[Any, Mapping[str, Any]]] = {
    "sgd": (optimizers.SGD, {"lr": 0.01}),
    "momentum": (optimizers.SGD, {"momentum": 0.9}),
    "nesterov": (optimizers.SGD, {"momentum": 0.9, "nesterov": True}),
    "adagrad": (optimizers.Adagrad, {}),
    "adadelta": (optimizers.Adadelta, {}),
    "rmsprop": (optimizers.RMSprop, {"lr": 0.001}),
    "adam": (optimizers.Adam, {}),
    "adamax": (optimizers.Adamax, {}),
    "nadam": (optimizers.NAdam, {}),
    "ftrl": (optimizers.Ftrl, {"lr": 0.1, "beta": 1.0}),
}
KERNELS = {"sgd", "momentum", "adagrad", "adadelta", "rmsprop", "adam", "adamax", "nadam", "ftrl"}

NUMBERS = 2**22  # of X between two checks for KeyboardInterrupt


@dataclass(frozen=True)
class EpochOptions:
    """The checked options of steps; see `fastopt.estimators.GLMRegressor` for their meaning.

    Attributes
    ----------
    solver : str
        A key of `SOLVERS`.
    rule_options : dict
        Options of the solver's class, other than those of `SOLVERS`.
    alpha, l1_ratio : float
    learning_rate : "constant", "invscaling", "optimal" or callable
    eta0 : float or None
        None: the class's own.
    power_t : float
    batch_size : int
    average : bool or int
        The first step of the average; True is 1.
    standardize : bool
    n_threads : int
        0: the default of OpenMP.
    """

    solver: str = "sgd"
    rule_options: Mapping[str, Any] = field(default_factory=dict)
    alpha: float = 0.0
    l1_ratio: float = 0.0
    learning_rate: str | Callable[[int], float] = "constant"
    eta0: float | None = None
    power_t: float = 0.25
    batch_size: int = 1
    average: bool | int = False
    standardize: bool = True
    n_threads: int = 0

    def __post_init__(self) -> None:
        """Raise an error that names an option outside its range."""
        Choice(tuple(SOLVERS))("solver", self.solver)
        at_least_0("alpha", self.alpha)
        fraction("l1_ratio", self.l1_ratio)
        if not callable(self.learning_rate):
            Choice(("constant", "invscaling", "optimal"))("learning_rate", self.learning_rate)
        OrNone(at_least_0)("eta0", self.eta0)
        Real()("power_t", self.power_t)
        Whole(1)("batch_size", self.batch_size)
        if not isinstance(self.average, bool):
            Whole(1)("average", self.average)
        flag("standardize", self.standardize)
        if self.learning_rate == "optimal" and self.alpha == 0:
            raise FastoptError("learning_rate is 'optimal' and alpha is 0; allowed: alpha > 0")

    def optimizer(self, w: Floats) -> Any:
        """Return an optimizer of the rule, whose checks and initial states are used."""
        cls, own = SOLVERS[self.solver]
        return cls(w, **{**own, **self.rule_options})

    def rates(self, base: float, t: int, n: int) -> Floats:
        """Return the learning rates of n steps after t, or one number if all are the same."""
        eta0 = base if self.eta0 is None else self.eta0
        if self.learning_rate == "constant":
            return np.array([eta0], dtype=float)
        if callable(self.learning_rate):
            steps = range(t + 1, t + 1 + n)
            rates = np.array([self.learning_rate(step) for step in steps], dtype=float)
            if not (np.isfinite(rates).all() and (rates >= 0).all()):
                raise FastoptError("learning_rate returned a number that is negative or not finite")
            return rates
        number = np.arange(t, t + n, dtype=float)
        if self.learning_rate == "optimal":
            size = math.sqrt(1.0 / math.sqrt(self.alpha))
            return 1.0 / (self.alpha * (1.0 / (size * self.alpha) + number))
        return np.asarray(eta0 / (number + 1.0) ** self.power_t)


class Scaling(NamedTuple):
    """What is subtracted from each column, and by what the difference is multiplied."""

    mean: Floats
    factor: Floats


def scaling_of(blocks: Callable[[], Iterable[Block]], fit_intercept: bool) -> Scaling:
    """Return the means of the columns and one over their standard deviations.

    Without an intercept, 0 and one over the root mean square.  The factor of a constant column is
    1.

    Parameters
    ----------
    blocks : callable
        Returns the dense rows, in blocks.
    fit_intercept : bool

    Returns
    -------
    Scaling

    Raises
    ------
    FastoptError
        The mean or variance of a column is not finite.
    """
    total, mean, sums = 0.0, np.zeros(0), np.zeros(0)
    for block in blocks():
        p, weight = block.x.shape[1], block.total_weight()
        if not mean.size:
            mean, sums = np.zeros(p), np.zeros(p)
        most = max(128, NUMBERS // 32 // max(1, p))
        for i in range(0, block.n, most):
            own = slice(i, i + most)
            part = None if weight is None else contiguous(weight[own])
            total = squares(dense(block.x, own), part, total, mean, sums)
    if not (np.isfinite(mean).all() and np.isfinite(sums).all()):
        raise FastoptError("the variance of a column of X is not finite; divide X by its size")
    deviation = np.sqrt(sums / total if fit_intercept else sums / total + mean**2)
    if not fit_intercept:
        mean = np.zeros_like(mean)
    is_constant = deviation <= 1e-14 * np.abs(mean)
    return Scaling(mean, 1.0 / np.where(is_constant, 1.0, deviation))


class Epochs:
    """A model that is fitted by steps: its coefficients, and the state of the rule.

    Parameters
    ----------
    model : Model
    n_features : int
    options : EpochOptions
    is_sparse : bool
        Whether the rows will be CSR.
    scaling : Scaling, optional
        Standardises the columns.
    start : array of shape (n_features + 1,), optional
        Coefficients and intercept, of X itself.  Default 0.

    Attributes
    ----------
    t : int
        Steps taken.
    """

    def __init__(
        self,
        model: Model,
        n_features: int,
        options: EpochOptions,
        is_sparse: bool = False,
        scaling: Scaling | None = None,
        start: Floats | None = None,
    ) -> None:
        self.model, self.options, self.is_sparse = model, options, is_sparse
        self.scaling = scaling
        self.w = np.zeros(n_features + 1)
        if start is not None:
            self.w[:] = start
            if scaling is not None:
                self.w[:-1] /= scaling.factor
                self.w[-1] += float(scaling.mean @ start[:-1])
        optimizer = options.optimizer(self.w)
        group = optimizer.param_groups[0]
        self.rule, hyperparameters = group.for_c()[:2]
        if self.rule not in KERNELS:
            raise FastoptError(
                f"rule_options is {dict(options.rule_options)!r}, which needs the rule "
                f"{self.rule!r}; epochs have the rules {', '.join(sorted(KERNELS))}"
            )
        if group["weight_decay"] or group["l1"] or group["bounds"] or group["maximize"]:
            raise FastoptError(
                "rule_options has weight_decay, l1, bounds or maximize; use alpha and l1_ratio"
            )
        self.base = float(group["lr"])
        self.states = [np.array(optimizer.state[0][name]) for name in group.state_names]
        scalars = tuple(group.rule._scalars.values())
        self.counts: tuple[int, int, tuple[float, ...], tuple[float, ...]]
        self.counts = 0, 0, scalars, hyperparameters
        self.average = self.w.copy() if options.average else None
        l2 = options.alpha * (1.0 - options.l1_ratio)
        l1 = options.alpha * options.l1_ratio
        self.penalty = l1, l2
        is_exact = self.rule in ("sgd", "ftrl")
        self.last: Wholes | None = None
        if is_sparse and (l1 or l2) and not is_exact:
            self.last = np.zeros(n_features, dtype=np.int64)
        if is_sparse and self.average is not None and (l1 or self.rule == "ftrl"):
            raise FastoptError(
                f"average is {options.average!r}; allowed for a sparse X with solver='ftrl' or "
                "l1_ratio > 0: False"
            )
        self._steps: Any = None

    @property
    def t(self) -> int:
        return self.counts[0]

    @property
    def is_finite(self) -> bool:
        """Whether all coefficients and states are finite."""
        return all(bool(np.isfinite(array).all()) for array in (self.w, *self.states))

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_steps": None}

    def copy(self) -> Epochs:
        """Return a copy that shares no array that steps change.

        Returns
        -------
        Epochs
        """
        new = object.__new__(Epochs)
        new.__dict__.update(self.__getstate__())
        new.w = self.w.copy()
        new.states = [state.copy() for state in self.states]
        new.average = None if self.average is None else self.average.copy()
        new.last = None if self.last is None else self.last.copy()
        return new

    def coefficients(self) -> Floats:
        """Return the coefficients of X itself, then the intercept; averaged if they are.

        Returns
        -------
        array of shape (n_features + 1,)
        """
        use_average = self.average is not None and self.counts[1] > 0
        w = self.average if use_average else self.w
        assert w is not None
        found = w.copy()
        if self.scaling is not None:
            with np.errstate(over="ignore", invalid="ignore"):
                found[:-1] *= self.scaling.factor
                found[-1] -= float(self.scaling.mean @ found[:-1])
        if not self.model.fit_intercept:
            found[-1] = 0.0
        return found

    def table(self, block: Block, weight: Floats | None = None) -> Table:
        """Return rows for `take`, or raise an error for a CSR matrix that is not valid.

        Parameters
        ----------
        block : Block
        weight : array of shape (n,), optional
            Replaces the weights of the block.

        Returns
        -------
        Table
        """
        x, y = block.x, np.ascontiguousarray(block.y, dtype=float)
        weight = block.total_weight() if weight is None else weight
        if issparse(x):
            table = Table(*_arrays_of(x), x.shape[1], y, weight, block.offset)
            if table.increases:
                return table
            x = x.copy()  # a row may have a column twice
            x.has_canonical_format = False
            x.sum_duplicates()
            return Table(*_arrays_of(x), x.shape[1], y, weight, block.offset)
        if x.strides[1] != x.itemsize or x.strides[0] < x.shape[1] * x.itemsize:
            x = np.ascontiguousarray(x)
        return Table(x, None, None, x.shape[1], y, weight, block.offset)

    def take(self, table: Table, n: int, order: Wholes | None = None) -> Floats:
        """Take the steps of n rows; return the linear predictor that each row had in its step.

        Parameters
        ----------
        table : Table
        n : int
            Rows; all of the table or of ``order``.
        order : array of shape (n,), optional
            Numbers of rows.

        Returns
        -------
        array of shape (n,)

        Raises
        ------
        FastoptError
            The score of a row is not finite: the steps diverge, or the link allows no such
            predictor.  The steps before it have been taken.
        """
        options = self.options
        rates = options.rates(self.base, self.t, -(-n // options.batch_size))
        z = np.zeros(n)
        steps = self._of_c()
        try:
            bad = steps.rows(table, order, rates, z, max(1, NUMBERS // len(self.w)))
        finally:
            self.counts = steps.counts
        if bad >= 0 or not np.isfinite(self.w).all():
            raise FastoptError(
                f"the coefficients are not finite after step {self.t:,}; use a smaller eta0, now "
                f"{rates[0]:g}" + ("" if self.scaling else ", or scale the columns of X")
            )
        return z

    def loss(self, table: Table, z: Floats, order: Wholes | None = None) -> float:
        """Return the sum of weight times half the unit deviance of rows.

        Parameters
        ----------
        table : Table
        z : array of shape (n,)
            Linear predictors, such as `take` returns.
        order : array of shape (n,), optional
            Numbers of rows, as for `take`.

        Returns
        -------
        float
        """
        return float(self._of_c().loss(table, order, z))

    def penalty_at(self, coefficients: Floats) -> float:
        """Return the penalty of coefficients of X itself.

        Parameters
        ----------
        coefficients : array of shape (n_features + 1,)

        Returns
        -------
        float
        """
        l1, l2 = self.penalty
        w = coefficients[:-1]
        with np.errstate(over="ignore", invalid="ignore"):
            return l1 * float(np.abs(w).sum()) + 0.5 * l2 * float(w @ w)

    def _of_c(self) -> Any:
        if self._steps is None:
            (l1, l2), options = self.penalty, self.options
            l1_of = l2_of = None
            p = len(self.w) - 1
            if not self.is_sparse and self.rule != "ftrl":
                factor = np.ones(p) if self.scaling is None else self.scaling.factor
                has_each = (self.scaling is not None and bool(l1 or l2)) or (
                    l1 > 0 and self.rule != "sgd"
                )
                if has_each:
                    l2_of = l2 * factor**2
                if l1 or (has_each and self.rule == "sgd"):
                    l1_of = l1 * factor
            mean, factor_ = (None, None) if self.scaling is None else self.scaling
            self._steps = Steps(
                (self.model.family, self.model.link),
                self.model.shape,
                self.model.fit_intercept,
                self.rule,
                self.w,
                tuple(self.states),
                self.average,
                int(options.average),
                l1,
                l2,
                l1_of,
                l2_of,
                mean,
                factor_,
                self.is_sparse,
                self.last,
                options.batch_size,
                options.n_threads,
            )
            self._steps.counts = self.counts
        return self._steps


def _arrays_of(x: Any) -> tuple[Array, Wholes, Array]:
    """Return the values of a CSR matrix, where its rows start, and its columns, for `Table`."""
    return (
        np.ascontiguousarray(x.data),
        np.ascontiguousarray(x.indptr, dtype=np.int64),
        np.ascontiguousarray(x.indices, dtype=np.int32),
    )
