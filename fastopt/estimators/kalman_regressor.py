"""`KalmanRegressor`: regression by one pass of a Kalman filter, with standard errors."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.utils.validation import check_is_fitted

from fastopt._checks import flag
from fastopt.estimators.glm_regressor import GLMRegressor
from fastopt.estimators.kalman.base import Floats, KalmanBase
from fastopt.estimators.scores import RegressorScore
from fastopt.estimators.scoring.model import Model, model_of
from fastopt.estimators.sources.block import Block

__all__ = ["KalmanRegressor"]

_predict_any: Any = GLMRegressor.predict


class KalmanRegressor(RegressorScore, KalmanBase):
    """Generalized linear regression, online, by the Kalman-based stochastic gradient method.

    For a row x with observation y, predictor z = x'w + offset, mean m = mu(z), slope h = mu'(z) and
    variance function V, with m, h and V at the predictor after the update::

        v = M*x
        s = V(m) / weight + h^2*x'*v
        w += (y - m)*h*weight / V(m) * v
        M -= h^2*v*v' / s

    M is the covariance of the coefficients, which gives the step in each direction: there is no
    learning rate, and standard errors are known after every row. For the Gaussian family the result
    is that of least squares, for any order and any division of the rows into calls. For other
    families one pass ends near the maximum of the likelihood if the rows come in random order;
    `GLMRegressor` finds the maximum itself.

    Parameters
    ----------
    family : str
        "gaussian", "poisson", "gamma", "negative_binomial" or "binomial", as in `GLMRegressor`.
        Default "gaussian".
    link : str, optional
        "identity" (gaussian), "log" (poisson, gamma, negative_binomial), "inverse" (gamma),
        "logit", "probit" or "cloglog" (binomial). Default: the first that is listed here.
    overdispersion : float, optional
        Of the negative binomial: the variance is m + overdispersion m^2. Default 1.
    m0 : float, array or "scale", optional
        The covariance of the prior, as in `KalmanSGD`: a number, a vector, or a matrix for
        (intercept, coefficients). Default None: so weak a prior that it does not matter if the rows
        determine the coefficients. The first rows then determine its scale; until there are
        max(64, 2p) of them, or max(1024, 16p) for other families than the Gaussian, they are kept.
    fit_intercept : bool
        Default True.
    forgetting : float
        M is divided by this number in (0, 1] before each row, so that old rows count less. Default
        1.
    max_trace : float, optional
        M is not divided by `forgetting` while its trace is at or above this value.
    mode : "auto", "plain", "ud" or "qr"
        How M is stored, as in `KalmanSGD`. Default "auto".
    covariance : "full", "diag" or list of arrays of int
        Which part of M is stored, as in `KalmanSGD`; the intercept has index 0. Default "full".
    dispersion : "estimate", optional
        Estimate the dispersion also for families that fix it at 1, as for overdispersed counts.
    dtype : "float64" or "float32"
        The precision of M. Default "float64".
    epochs : int
        The number of passes of `fit`. Default 1.
    shuffle : bool
        Whether `fit` takes the rows in random order. Default True.
    interleave : int
        With ``shuffle``, `fit` mixes the rows of so many places of a file, a memory-mapped array or
        a large table, which it reads in turn. A parquet file is read from at most as many places as
        it has row groups, and as fit into 128 MB: a place takes 2.5 MB for each column, or less in
        a file with small row groups. ``interleave=1`` takes the least memory; a file of many small
        row groups is mixed best. Default 64. Chunks come in their order.
    random_state : int, RandomState instance or None
        Of the order.
    n_threads : int, optional
        As in `KalmanSGD`.

    Attributes
    ----------
    coef_, stderr_ : array of shape (n_features,)
        The coefficients and their standard errors.
    intercept_, intercept_stderr_ : float
        The same of the intercept; 0 without one.
    covariance_ : array of shape (n_features + 1, n_features + 1)
        The covariance of (intercept_, coef_); without an intercept that of coef_.
    dispersion_ : float
        The ratio of an observation's variance to V(m); NaN for p rows or fewer.
    n_obs_ : int
        The number of rows of positive weight.
    n_iter_ : int
        The number of passes.
    n_features_in_ : int
    feature_names_in_ : array of shape (n_features,)
        If the columns of X have names.
    filter_ : KalmanSGD
        The filter of the rows (1, x - shift), where the shift is the mean of the first rows.

    See Also
    --------
    GLMRegressor : the maximum of the likelihood, for rows in any order.
    fastopt.KalmanSGD : the filter.

    Notes
    -----
    Options that are changed after the first rows have an effect at the next `fit`.

    References
    ----------
    V. Patel, "Kalman-based stochastic gradient method with stop condition and insensitivity to
    conditioning", SIAM J. Optim. 26(4), 2016.

    Examples
    --------
    >>> import numpy as np
    >>> from fastopt.estimators import KalmanRegressor
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(200, 2))
    >>> y = 3 + X @ [1.0, -2.0] + rng.normal(size=200)
    >>> model = KalmanRegressor()
    >>> for x, target in zip(X, y):
    ...     model = model.partial_fit([x], [target])
    >>> print(model.coef_.round(2), model.stderr_.round(2))
    [ 0.95 -1.88] [0.07 0.07]
    """

    def __init__(
        self,
        family: str = "gaussian",
        link: str | None = None,
        *,
        overdispersion: float | None = None,
        m0: Any = None,
        fit_intercept: bool = True,
        forgetting: float = 1.0,
        max_trace: float | None = None,
        mode: str = "auto",
        covariance: Any = "full",
        dispersion: str | None = None,
        dtype: str = "float64",
        epochs: int = 1,
        shuffle: bool = True,
        interleave: int = 64,
        random_state: Any = None,
        n_threads: int | None = None,
    ) -> None:
        self.family = family
        self.link = link
        self.overdispersion = overdispersion
        self.m0 = m0
        self.fit_intercept = fit_intercept
        self.forgetting = forgetting
        self.max_trace = max_trace
        self.mode = mode
        self.covariance = covariance
        self.dispersion = dispersion
        self.dtype = dtype
        self.epochs = epochs
        self.shuffle = shuffle
        self.interleave = interleave
        self.random_state = random_state
        self.n_threads = n_threads

    def _model(self) -> Model:
        flag("fit_intercept", self.fit_intercept)
        return model_of(
            self.family, self.link, self.overdispersion, fit_intercept=self.fit_intercept
        )

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.positive_only = self.family not in ("gaussian", "normal")
        return tags

    def _checked(
        self, X: Any, y: Any, weight: Any, offset: Any, exposure: Any, **read: Any
    ) -> Block:
        """Return checked rows of a positive weight."""
        model = self._model() if read.get("reset", True) else self._fitted_model
        x, y = self._read(X, y, y_numeric=True, **read)
        target = np.ascontiguousarray(y, dtype=np.float64)
        model.kind.require_domain(target)
        rows: Block = self._rows(x, target, model, weight, None, offset, exposure)
        return rows

    def fit(
        self,
        X: Any,
        y: Any = None,
        sample_weight: Any = None,
        *,
        offset: Any = None,
        exposure: Any = None,
    ) -> KalmanRegressor:
        """Absorb all rows, in random order; what was absorbed before is discarded.

        Parameters
        ----------
        X : array, table, file or chunks, of shape (n, p)
            As for `GLMRegressor.fit`.
        y : array of shape (n,), or str
            The observations, or the name of a column of X.
        sample_weight : array of shape (n,), optional
            Precision weights, >= 0: the variance of a row is divided by its weight.
        offset : array of shape (n,), optional
            Added to the linear predictor, with a coefficient of 1.
        exposure : array of shape (n,), optional
            Positive; its logarithm is added to the offset.  For the log link only.

        Returns
        -------
        self

        Raises
        ------
        ValueError, TypeError
            An argument or option is not allowed. Nothing has changed then.

        Warns
        -----
        UserWarning
            ``shuffle`` is False and the rows are sorted by y; or the information that the filter
            gained from the rows and Fisher's information at the final coefficients differ by more
            than 25 %.  Not for the Gaussian family, where the order has no effect.
        """
        with self._unchanged_by(Exception):
            model = self._model()
            per_row = dict(sample_weight=sample_weight, offset=offset, exposure=exposure)
            source: Any = self._open(X, model.link, is_fit=True, y=y, **per_row)
            if source is None:
                source = self._source(self._checked(X, y, sample_weight, offset, exposure))
            filters = self._new_filters(source.n_features, 1)
            self._absorb_all(filters, source, lambda y: [y])
        return self

    def partial_fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        *,
        offset: Any = None,
        exposure: Any = None,
    ) -> KalmanRegressor:
        """Absorb rows, in the order given.

        Parameters
        ----------
        X, y, sample_weight, offset, exposure
            Arrays as for `fit`, but no names of columns; one row or more.  X may be a table with
            the features only.

        Returns
        -------
        self

        Raises
        ------
        ValueError, TypeError
            An argument or option is not allowed. Nothing has changed then.

        Warns
        -----
        UserWarning
            As in `KalmanSGD.partial_fit`, above all if the rows are sorted by y.
        """
        begins = not hasattr(self, "_filters")
        if not begins and sample_weight is offset is exposure is None and self._absorb_few(X, y):
            return self
        with self._unchanged_by(Exception):
            rows = self._checked(X, y, sample_weight, offset, exposure, reset=begins)
            filters = self._new_filters(rows.x.shape[1], 1) if begins else self._filters
            filters[0].absorb(rows)
            if begins:
                self._filters, self.n_iter_ = filters, 1
        return self

    def predict(
        self, X: Any, offset: Any = None, exposure: Any = None, *, interval: float | None = None
    ) -> Any:
        """Return the predicted means.

        Parameters
        ----------
        X, offset, exposure, interval
            As for `GLMRegressor.predict`.

        Returns
        -------
        array of shape (n,)
            Or, with ``interval``, a tuple of three: means, lower and upper ends.
        """
        if offset is exposure is interval is None:
            check_is_fitted(self)
            z = self._plain_predictors(X, self._filters[0].coef())
            if z is not None:
                return self._filters[0].model.mean(z)
        return _predict_any(self, X, offset, exposure, interval=interval)

    @property
    def coef_(self) -> Floats:  # type: ignore[override]
        """The coefficients."""
        return self._of_features(self._fitted_filters()[0].coef())

    @property
    def intercept_(self) -> float:
        """The intercept; 0 without one."""
        return self._of_intercept(self._fitted_filters()[0].coef())

    @property
    def stderr_(self) -> Floats:
        """The standard errors of the coefficients."""
        return self._of_features(self._fitted_filters()[0].stderr())

    @property
    def intercept_stderr_(self) -> float:
        """The standard error of the intercept."""
        return self._of_intercept(self._fitted_filters()[0].stderr())

    @property
    def covariance_(self) -> Floats:
        """The covariance of (intercept_, coef_)."""
        return self._fitted_filters()[0].covariance()

    @property
    def dispersion_(self) -> float:
        """The estimated or known dispersion."""
        return self._fitted_filters()[0].dispersion
