"""`GLMRegressor` and `GLMClassifier` for data in Dask collections."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import dask
import dask.array as da
import numpy as np
from sklearn.utils.validation import check_is_fitted

from fastopt._errors import FastoptError
from fastopt.estimators import glm_classifier, glm_regressor
from fastopt.estimators.base import GLMBase
from fastopt.estimators.dask.chunks import Chunks, chunks_of, is_dask
from fastopt.estimators.dask.opening import open_any_rows
from fastopt.estimators.dask.rows import in_block
from fastopt.estimators.epochs.by_epochs import takes_epochs
from fastopt.estimators.inference.estimates import quantile, require_likelihood
from fastopt.estimators.scoring.problem import Options
from fastopt.estimators.sources.iterable import parts_of
from fastopt.estimators.sources.opening import Rows
from fastopt.estimators.sources.tables import is_table, table_of

__all__ = ["GLMClassifier", "GLMRegressor"]


class _OnDask(GLMBase):
    """What both estimators do with collections of Dask; the base class handles other data."""

    _open_rows = staticmethod(open_any_rows)
    _base: type[GLMBase]

    def _options(self, y: Any = None) -> Options:
        # The name of a Dask array is a hash.
        return super()._options(None if isinstance(y, da.Array) else y)

    def _open(
        self, X: Any, link: str, is_fit: bool, with_y: bool = True, **given: Any
    ) -> Rows | None:
        if is_fit and is_dask(X) and takes_epochs(self):
            raise FastoptError(
                f"solver is {self.solver!r}, which takes one row after the other in one process; "
                "solver='scoring' is needed for Dask"
            )
        return super()._open(X, link, is_fit, with_y, **given)

    def _by_block(
        self,
        method: str,
        X: Any,
        shifts: dict[str, Any],
        shape: tuple[int, ...] = (),
        dtype: Any = np.float64,
        interval: float | None = None,
    ) -> Any:
        """Return Dask arrays of what a method of the base returns for the rows of each block."""
        if interval is not None:
            require_likelihood(self.fitted_)
            quantile(self.fitted_, interval)
        shifts = {name: value for name, value in shifts.items() if value is not None}
        # Checks names and lengths.
        self._open(X, self._fitted_model.link, is_fit=False, with_y=False, **shifts)
        chunks = chunks_of(X, shifts)
        local = self._base.__new__(self._base)
        local.__dict__.update(self.__dict__)
        shared = dask.delayed(local, traverse=False, pure=False)
        of_block = dask.delayed(in_block, pure=False)
        options = dict(chunks.names) if interval is None else {**chunks.names, "interval": interval}
        results = [
            of_block(i, _predicted, shared, method, item, options, shape, dtype)
            for i, item in enumerate(chunks.items)
        ]
        if interval is None:
            return _joined(results, chunks, shape, dtype)
        return tuple(_joined([r[j] for r in results], chunks, shape, dtype) for j in range(3))


def _predicted(
    local: GLMBase,
    method: str,
    item: Any,
    options: dict[str, Any],
    shape: tuple[int, ...],
    dtype: Any,
) -> Any:
    X, rest = parts_of(item)
    if not (len(table_of(X)) if is_table(X) else X.shape[0]):
        empty = np.empty((0, *shape), dtype)
        return (empty,) * 3 if "interval" in options else empty
    shifts = {name: rest[name] for name in ("offset", "exposure") if name in rest}
    return getattr(local, method)(X, **options, **shifts)


def _joined(parts: Sequence[Any], chunks: Chunks, shape: tuple[int, ...], dtype: Any) -> Any:
    arrays = [
        da.from_delayed(part, (n, *shape), dtype)
        for part, n in zip(parts, chunks.lengths, strict=True)
    ]
    return da.concatenate(arrays, allow_unknown_chunksizes=True)


class GLMRegressor(_OnDask, glm_regressor.GLMRegressor):
    """`fastopt.estimators.GLMRegressor` for data in Dask collections.

    Parameters, attributes and results are the same, except that `solver` must be "scoring", the
    default.  Each round is one Dask computation, with the scheduler that is in use: that of a
    ``distributed.Client`` if there is one, else threads.

    Notes
    -----
    X is a Dask array, a Dask DataFrame, or a list of `Delayed` or futures.  Of these, each is a
    block of rows as in a list of chunks for `fastopt.estimators.GLMRegressor.fit`: (X, y),
    (X, y, sample_weight), a dict with the names of the arguments, or a table.  y, sample_weight and
    the like are the names of columns; or collections of Dask with the blocks of X, such as a Series
    of the same frame; or, if the number of rows in each block of X is known, arrays.  Arrays may
    have unknown chunk sizes, as ``X[mask]`` and ``y[mask]`` have.

    Blocks are converted to numbers and kept in the memory of the workers (of this process without
    a client) for the rounds of a fit.  With ``dask.config.set({"fastopt.persist": False})`` they
    are computed again in each round, for data larger than the memory of all workers.

    With cov_type="cluster", the sums of each cluster come to this process.

    Examples
    --------
    >>> import dask.array as da
    >>> from fastopt.estimators.dask import GLMRegressor
    >>> X = da.arange(8.0, chunks=3)[:, None]
    >>> y = da.from_array([1, 1, 2, 2, 3, 5, 6, 9], chunks=3)
    >>> model = GLMRegressor(family="poisson").fit(X, y)
    >>> model.coef_.round(4)
    array([0.3332])
    >>> model.predict(X)[-2:].compute().round(2)
    array([6.33, 8.83])
    """

    _base = glm_regressor.GLMRegressor

    def predict(
        self, X: Any, offset: Any = None, exposure: Any = None, *, interval: float | None = None
    ) -> Any:
        """Return the predicted means.

        Parameters
        ----------
        X, offset, exposure, interval
            As for `fastopt.estimators.GLMRegressor.predict`, or collections of Dask.

        Returns
        -------
        dask.array.Array of shape (n,)
            An array of NumPy if X is no collection of Dask.  With ``interval``, a tuple of three:
            means, lower and upper ends.
        """
        if not is_dask(X):
            return super().predict(X, offset, exposure, interval=interval)
        check_is_fitted(self)
        shifts = dict(offset=offset, exposure=exposure)
        return self._by_block("predict", X, shifts, interval=interval)


class GLMClassifier(_OnDask, glm_classifier.GLMClassifier):
    """`fastopt.estimators.GLMClassifier` for data in Dask collections.

    Parameters, attributes and results are the same, except that `solver` must be "scoring", the
    default.  See `GLMRegressor` for the data.

    Examples
    --------
    >>> import dask.array as da
    >>> from fastopt.estimators.dask import GLMClassifier
    >>> X = da.arange(8.0, chunks=3)[:, None]
    >>> y = da.from_array(["a", "a", "b", "a", "a", "b", "b", "b"], chunks=3)
    >>> model = GLMClassifier().fit(X, y)
    >>> model.predict(X).compute().tolist()
    ['a', 'a', 'a', 'a', 'b', 'b', 'b', 'b']
    """

    _base = glm_classifier.GLMClassifier

    def decision_function(self, X: Any, offset: Any = None) -> Any:
        """Return the linear predictors.

        Parameters
        ----------
        X, offset
            As for `fastopt.estimators.GLMClassifier.decision_function`, or collections of Dask.

        Returns
        -------
        dask.array.Array of shape (n,) or (n, n_classes)
            An array of NumPy if X is no collection of Dask.
        """
        if not is_dask(X):
            return super().decision_function(X, offset)
        shape = () if self._n_classes() == 2 else (self._n_classes(),)
        return self._by_block("decision_function", X, {"offset": offset}, shape)

    def predict_proba(self, X: Any, offset: Any = None, *, interval: float | None = None) -> Any:
        """Return the probabilities of the classes.

        Parameters
        ----------
        X, offset, interval
            As for `fastopt.estimators.GLMClassifier.predict_proba`, or collections of Dask.

        Returns
        -------
        dask.array.Array of shape (n, n_classes)
            An array of NumPy if X is no collection of Dask.  With ``interval``, a tuple of three.
        """
        if not is_dask(X):
            return super().predict_proba(X, offset, interval=interval)
        shape = (self._n_classes(),)
        if interval is not None and shape != (2,):
            raise FastoptError(f"interval needs two classes; there are {shape[0]}")
        shifts = {"offset": offset}
        return self._by_block("predict_proba", X, shifts, shape, interval=interval)

    def predict_log_proba(self, X: Any, offset: Any = None) -> Any:
        """Return the logarithms of the probabilities of the classes.

        Parameters
        ----------
        X, offset
            As for `decision_function`.

        Returns
        -------
        dask.array.Array of shape (n, n_classes)
            An array of NumPy if X is no collection of Dask.
        """
        if not is_dask(X):
            return super().predict_log_proba(X, offset)
        shape = (self._n_classes(),)
        return self._by_block("predict_log_proba", X, {"offset": offset}, shape)

    def predict(self, X: Any, offset: Any = None) -> Any:
        """Return the most probable class of each row.

        Parameters
        ----------
        X, offset
            As for `decision_function`.

        Returns
        -------
        dask.array.Array of shape (n,)
            An array of NumPy if X is no collection of Dask.
        """
        if not is_dask(X):
            return super().predict(X, offset)
        self._n_classes()
        dtype = self.classes_.dtype
        return self._by_block("predict", X, {"offset": offset}, dtype=dtype)

    def _n_classes(self) -> int:
        check_is_fitted(self)
        return len(self.classes_)
