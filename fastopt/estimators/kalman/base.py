"""What `KalmanRegressor` and `KalmanClassifier` share: options, rows, results."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from fastopt._checks import Whole, flag
from fastopt._errors import FastoptError
from fastopt.estimators.base import GLMBase
from fastopt.estimators.inference.fitted import Fitted
from fastopt.estimators.inference.summary import Summary, filter_table
from fastopt.estimators.kalman.online import SAMPLE, OnlineFilter
from fastopt.estimators.scoring.model import Model
from fastopt.estimators.sources.array import ArraySource
from fastopt.estimators.sources.block import Block
from fastopt.estimators.sources.interleaved import interleaved, joined
from fastopt.estimators.sources.source import reading

Floats = np.ndarray[Any, np.dtype[np.float64]]

NO_LIKELIHOOD = (
    "{} has no likelihood and no deviance, which need another pass over the rows; fit a "
    "GLMRegressor or a GLMClassifier"
)
CHUNK = 2**20  # elements of X that are copied in random order at a time


class Sample:
    """Some of the rows of a stream, regularly spaced.

    Parameters
    ----------
    least : int
        How many rows at least, if there are as many.
    """

    def __init__(self, least: int) -> None:
        self.n = 0
        self._least, self._step, self._next = least, 1, 0
        self._blocks: list[Block] = []

    def add(self, block: Block, keep: bool) -> None:
        """Count rows, and keep some of them.

        Parameters
        ----------
        block : Block
        keep : bool
            False only counts them.
        """
        if keep and self._next < self.n + block.n:
            own = np.arange(self._next - self.n, block.n, self._step)
            self._blocks.append(block.part(own))
            self._next += len(own) * self._step
            if sum(each.n for each in self._blocks) > 2 * self._least:
                self._blocks = [self.rows().part(slice(None, None, 2))]
                self._next = 2 * self._step * self._blocks[0].n
                self._step *= 2
        self.n += block.n

    def rows(self) -> Block:
        """Return the rows that were kept.

        Returns
        -------
        Block
        """
        return joined(self._blocks)


def _parts(block: Block, of: OnlineFilter, random: Any) -> Iterator[Block]:
    """Yield all rows in parts, in random order unless `random` is None."""
    order = np.arange(block.n) if random is None else random.permutation(block.n)
    step = max(of.most_first_rows, CHUNK // block.x.shape[1])
    for first in range(0, block.n, step):
        yield block.part(order[first : first + step])


class KalmanBase(GLMBase):
    """The rows and filters of an estimator: one filter, or one for each class."""

    _filters: list[OnlineFilter]
    _role_columns: tuple[str, ...] = ()
    _accepts_sparse = False
    formula = None

    def _model(self) -> Model:
        """Return the model, or raise an error that names an option."""
        raise NotImplementedError

    @property
    def _fitted_model(self) -> Model:  # type: ignore[override]
        return self._filters[0].model

    def _new_filters(self, n_features: int, number: int) -> list[OnlineFilter]:
        """Return new filters with the estimator's options, or raise if one is not allowed."""
        model = self._model()
        options = {
            name: getattr(self, name)
            for name in (
                "m0",
                "mode",
                "covariance",
                "forgetting",
                "max_trace",
                "dispersion",
                "dtype",
                "n_threads",
            )
        }
        return [OnlineFilter(n_features, model, **options) for _ in range(number)]

    # Rows

    def _absorb_few(self, X: object, y: object) -> bool:
        """Absorb few rows in little time; return False if that cannot be done."""
        return "feature_names_in_" not in self.__dict__ and self._filters[0].absorb_few(X, y)

    def _absorb_all(
        self, filters: list[OnlineFilter], source: Any, targets: Callable[[Floats], list[Floats]]
    ) -> None:
        """Absorb all rows `epochs` times, in random order; ``targets(y)[i]`` is y for filter i."""
        epochs = Whole(1)("epochs", self.epochs)
        places = Whole(1)("interleave", self.interleave)
        shuffle = flag("shuffle", self.shuffle)
        random = check_random_state(self.random_state)
        is_whole = isinstance(source, ArraySource)  # in memory, so that any order is possible
        warned = False
        if is_whole and not shuffle:
            y = source.block.y
            warned = any(
                each.warn_of_sorted_rows(own) for each, own in zip(filters, targets(y), strict=True)
            )
        sample, epoch = Sample(max(SAMPLE, 50 * filters[0].n_features)), 0
        try:
            for epoch in range(epochs):
                begins = epoch > 0
                if is_whole:
                    blocks = _parts(source.block, filters[0], random if shuffle else None)
                elif shuffle:
                    blocks = interleaved(source, places, random)
                else:
                    blocks = source.blocks()
                with reading(blocks) as found:
                    for block in found:
                        for each, y in zip(filters, targets(block.y), strict=True):
                            each.absorb(block.with_y(y), new_pass=begins, warn=False)
                        begins = False
                        sample.add(block, epoch == 0)
        except KeyboardInterrupt:
            self._filters, self.n_iter_ = filters, epoch + 1
            raise
        if not sample.n:
            raise FastoptError("no row has a positive weight; at least one is needed")
        rows = sample.rows()
        for each, y in zip(filters, targets(rows.y), strict=True) if not warned else ():
            each.warn_of_order(rows.with_y(y), sample.n)
        self._filters, self.n_iter_ = filters, epochs

    def _predictors(self, X: Any, offset: Any = None) -> Floats:
        """Return the linear predictor of each row: a column for each filter."""
        check_is_fitted(self)
        model = self._filters[0].model
        w = np.column_stack([each.coef() for each in self._filters])
        z = None if offset is not None else self._plain_predictors(X, w)
        if z is not None:
            return z
        first = int(model.fit_intercept)
        found = []
        for block in self._blocks_to_predict(X, model, offset=offset, exposure=None):
            z = block.x @ w[first:] + (w[0] if first else 0.0)
            found.append(z if block.offset is None else z + block.offset[:, None])
        return np.concatenate(found)

    def _plain_predictors(self, X: Any, w: Floats) -> Floats | None:
        """Return the linear predictors of an array that needs no conversion, in little time.

        None for anything else.  A number of X that is not finite makes its predictor not finite.
        """
        filters = self._filters[0]
        if (
            type(X) is not np.ndarray
            or X.ndim != 2
            or X.dtype.char not in "df"
            or not X.dtype.isnative
            or not len(X)
            or X.shape[1] != filters.n_features
            or hasattr(self, "feature_names_in_")
        ):
            return None
        first = int(filters.model.fit_intercept)
        with np.errstate(all="ignore"):
            z: Floats = X @ w[first:] + (w[0] if first else 0.0)
        return z if np.isfinite(z).all() else None

    # Results

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "_filters")

    def _fitted_filters(self) -> list[OnlineFilter]:
        """Return the filters; an AttributeError before the first rows."""
        check_is_fitted(self)
        return self._filters

    def _fit(self) -> Fitted:
        return self.fitted_

    @property
    def fitted_(self) -> Fitted:  # type: ignore[override]
        """The coefficients, with what tests and intervals need."""
        return self._reports()[0]

    def _reports(self) -> list[Fitted]:
        names = getattr(self, "feature_names_in_", None)
        filters = self._fitted_filters()
        pairs = zip(filters, self._y_names(), strict=True)
        return [each.fitted(names, y_name) for each, y_name in pairs]

    def _y_names(self) -> list[str]:
        return ["y"]

    def _of_features(self, values: Floats) -> Floats:
        return values[int(self._filters[0].model.fit_intercept) :]

    def _of_intercept(self, values: Floats) -> float:
        return float(values[0]) if self._filters[0].model.fit_intercept else 0.0

    @property
    def n_obs_(self) -> int:
        """The number of rows of positive weight that were absorbed, in all passes."""
        return self._fitted_filters()[0].n_obs

    @property
    def filter_(self) -> Any:
        """The `KalmanSGD` of the centred columns; a list of them for more than two classes."""
        filters = [each.filter for each in self._fitted_filters()]
        return filters[0] if len(filters) == 1 else filters

    @property
    def deviance_(self) -> float:
        """Not available: a filter keeps no sum of the rows that has the deviance."""
        raise AttributeError(NO_LIKELIHOOD.format(type(self).__name__))

    null_deviance_ = llf_ = aic_ = bic_ = deviance_

    def to_statsmodels(self, *_: Any, **__: Any) -> Any:
        """Not available: statsmodels' results need the likelihood."""
        raise AttributeError(NO_LIKELIHOOD.format(type(self).__name__))

    def summary(self, *, level: float = 0.95) -> Summary:
        """Return the fit as a table, to be printed.

        Parameters
        ----------
        level : float
            The coverage of the intervals. Default 0.95.

        Returns
        -------
        Summary
            Coefficients, standard errors, tests and intervals.
        """
        return Summary(
            "\n\n".join(filter_table(each, level, type(self).__name__) for each in self._reports())
        )

    def merge(self, other: Any) -> Any:
        """Add everything that another estimator has absorbed.

        The result is that of one estimator for the rows of both.  It is exact up to rounding for
        the Gaussian family, and as long as one of the two has had few rows only, which are kept.

        Parameters
        ----------
        other : estimator of the same class
            With the same options and classes.

        Returns
        -------
        self

        Raises
        ------
        FastoptError, TypeError
            The estimators differ, or there is no exact sum: for other families than the Gaussian,
            and with forgetting.  Nothing has changed then.
        """
        if type(other) is not type(self):
            raise TypeError(f"other is a {type(other).__name__}; a {type(self).__name__} is needed")
        check_is_fitted(self)
        check_is_fitted(other)
        self._require_mergeable(other)
        merged = [each.copy() for each in self._filters]
        for own, theirs in zip(merged, other._filters, strict=True):
            own.merge(theirs)
        self._filters = merged
        return self

    def _require_mergeable(self, other: Any) -> None:
        pass
