"""`ByEpochs`: what `fit` and `partial_fit` do with one of the solvers that take epochs."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from scipy.sparse import issparse  # type: ignore[import-untyped]
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import assert_all_finite

from fastopt._errors import FastoptError
from fastopt.estimators.epochs.fitting import EpochLoop, diverging, fit_by_epochs
from fastopt.estimators.epochs.steps import SOLVERS, EpochOptions, Epochs
from fastopt.estimators.scoring.model import Model
from fastopt.estimators.sources.array import ArraySource
from fastopt.estimators.sources.block import Block
from fastopt.estimators.sources.source import Source

__all__ = ["ByEpochs", "has_partial_fit", "takes_epochs"]

Floats = np.ndarray[Any, np.dtype[np.float64]]


def takes_epochs(estimator: Any) -> bool:
    """Return whether the solver of an estimator takes epochs."""
    return getattr(estimator, "solver", None) in SOLVERS


def has_partial_fit(estimator: Any) -> bool:
    """Return True if an estimator has `partial_fit`, or raise an AttributeError that says why not.

    Parameters
    ----------
    estimator : estimator

    Returns
    -------
    bool

    Raises
    ------
    AttributeError
        The solver does not take epochs.
    """
    if not takes_epochs(estimator):
        raise AttributeError(
            f"partial_fit needs a solver that takes epochs: {', '.join(map(repr, SOLVERS))}; "
            f"solver is {estimator.solver!r}"
        )
    return True


@contextmanager
def _finite(x: Any) -> Iterator[None]:
    """Raise scikit-learn's error if steps fail and a value of x, if any, is not finite."""
    try:
        yield
    except FastoptError:
        if x is not None:
            assert_all_finite(x, input_name="X")
        raise


class ByEpochs:
    """Fits of an estimator that has the parameters of `EpochOptions` and `EpochLoop`."""

    _epochs: Epochs | None = None

    def _epoch_options(self) -> EpochOptions:
        options: Any = self
        return EpochOptions(
            solver=options.solver,
            rule_options=dict(options.rule_options or {}),
            alpha=options.alpha,
            l1_ratio=options.l1_ratio,
            learning_rate=options.learning_rate,
            eta0=options.eta0,
            power_t=options.power_t,
            batch_size=options.batch_size,
            average=options.average,
        )

    def _epoch_loop(self) -> EpochLoop:
        options: Any = self
        return EpochLoop(
            max_iter=options.max_iter,
            tol=1e-4 if options.tol is None else options.tol,
            n_iter_no_change=options.n_iter_no_change,
            early_stopping=options.early_stopping,
            validation_fraction=options.validation_fraction,
            shuffle=options.shuffle,
            random_state=options.random_state,
            verbose=int(options.verbose),
        )

    def _steps_check(self, *weights: Any) -> bool:
        """Return whether each row takes steps, which fail if a value of X is not finite.

        Then no pass over X is needed to find such a value before.
        """
        options: Any = self
        held_out = options.early_stopping is not False
        return takes_epochs(self) and not held_out and all(each is None for each in weights)

    def _fit_epochs(self, source: Source, model: Model) -> Floats:
        """Set the attributes of a fit by epochs, except the coefficients, which are returned."""
        options, loop = self._epoch_options(), self._epoch_loop()
        with _finite(source.block.x if isinstance(source, ArraySource) else None):
            solution = fit_by_epochs(source, model, options, loop)
            if isinstance(source, ArraySource) and not solution.epochs.is_finite:
                assert_all_finite(source.block.x, input_name="X")
        for name in ("fitted_", "dependent_"):
            self.__dict__.pop(name, None)
        self._epochs = solution.epochs
        self.n_iter_ = solution.n_iter
        self.t_ = solution.epochs.t
        self.converged_ = not solution.problem
        self.loss_curve_ = list(solution.losses)
        if solution.problem:
            warnings.warn(
                f"the fit has not converged: {solution.problem}",
                ConvergenceWarning,
                stacklevel=3,
            )
        return solution.coef

    def _begin_partial_fit(self) -> bool:
        """Return whether no steps have been taken yet."""
        estimator: Any = self
        if estimator.formula is not None:
            raise FastoptError(
                f"formula is {estimator.formula!r}; partial_fit takes the columns of X as they are"
            )
        if self._epochs is None:
            estimator._formula, estimator._role_columns = None, ()
        return self._epochs is None

    def _partial_fit_epochs(self, block: Block, model: Model) -> Floats:
        """Take the steps of one pass over the rows, in their order; return the coefficients.

        A failure changes nothing.
        """
        options, old = self._epoch_options(), self._epochs
        is_sparse = issparse(block.x)
        model.kind.require_domain(block.y)
        if old is None:
            epochs = Epochs(model, block.x.shape[1], options, is_sparse)
        else:
            changed = [
                name
                for name, was in vars(old.options).items()
                if name != "standardize" and getattr(options, name) != was
            ]
            if changed or model != old.model:
                raise FastoptError(
                    f"{', '.join(changed) or 'the model'} changed since the first call of "
                    "partial_fit or fit; call fit, or use a new estimator"
                )
            if is_sparse != old.is_sparse:
                raise FastoptError(
                    f"X is {'sparse' if is_sparse else 'dense'}, and was not in the first call of "
                    "partial_fit or fit"
                )
            epochs = old.copy()
        with _finite(block.x):
            table = epochs.table(block)
            loss = epochs.loss(table, epochs.take(table, block.n)) / block.n
            if not epochs.is_finite:
                assert_all_finite(block.x, input_name="X")
        coef = epochs.coefficients()
        loss += epochs.penalty_at(coef)
        if not math.isfinite(loss):
            warnings.warn(
                f"the objective is not finite{diverging(epochs)}", ConvergenceWarning, stacklevel=3
            )
        self._epochs = epochs
        self.n_iter_ = 1
        self.t_ = epochs.t
        self.loss_curve_ = [*getattr(self, "loss_curve_", []), loss]
        return coef
