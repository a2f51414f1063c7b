"""`KalmanClassifier`: classification by one pass of a Kalman filter, with standard errors."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.utils.multiclass import _check_partial_fit_first_call, check_classification_targets

from fastopt._checks import flag
from fastopt._errors import FastoptError
from fastopt.estimators.inference import estimates as inference
from fastopt.estimators.inference.fitted import Fitted
from fastopt.estimators.kalman.base import Floats, KalmanBase
from fastopt.estimators.scores import ClassifierScore
from fastopt.estimators.scoring.model import Model, model_of
from fastopt.estimators.sources.block import Block
from fastopt.estimators.sources.labels import class_indices, classes_of
from fastopt.kalman._kalman import marks_of

__all__ = ["KalmanClassifier"]

Array = np.ndarray[Any, np.dtype[Any]]


class KalmanClassifier(ClassifierScore, KalmanBase):
    """Logistic, probit or cloglog regression, online, by the Kalman-based stochastic gradient.

    The update is that of `KalmanRegressor` for the binomial family. There is no learning rate, and
    standard errors are known after every row. One pass ends near the maximum of the likelihood if
    the rows come in random order; `GLMClassifier` finds the maximum itself.

    For more than two classes there is one filter for each class against all others, as in
    scikit-learn's SGDClassifier. Probabilities are those of the filters, divided by their sum.
    `GLMClassifier` fits the multinomial model jointly.

    Parameters
    ----------
    link : "logit", "probit" or "cloglog"
        Default "logit".
    m0, fit_intercept, forgetting, max_trace, mode, covariance, dispersion, dtype
        As in `KalmanRegressor`.
    epochs, shuffle, interleave, random_state, n_threads
        As in `KalmanRegressor`.

    Attributes
    ----------
    classes_ : array of shape (n_classes,)
    coef_, stderr_ : array of shape (1, n_features), or (n_classes, n_features)
        The coefficients and their standard errors; for two classes those of ``classes_[1]``.
    intercept_, intercept_stderr_ : array of shape (1,), or (n_classes,)
        The same of the intercepts; 0 without them.
    covariance_ : array of shape (n_features + 1, n_features + 1), or one more axis in front
        The covariance of (intercept, coefficients), for each class if there are more than two;
        without an intercept that of the coefficients.
    n_obs_, n_iter_, n_features_in_, feature_names_in_
        As in `KalmanRegressor`.
    filter_ : KalmanSGD, or list of them

    See Also
    --------
    GLMClassifier : the maximum of the likelihood, for rows in any order.
    fastopt.KalmanSGD : the filter.

    References
    ----------
    V. Patel, "Kalman-based stochastic gradient method with stop condition and insensitivity to
    conditioning", SIAM J. Optim. 26(4), 2016.

    Examples
    --------
    >>> import numpy as np
    >>> from fastopt.estimators import KalmanClassifier
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(1000, 2))
    >>> y = np.where(X @ [1.0, -2.0] + rng.logistic(size=1000) > 0, "yes", "no")
    >>> model = KalmanClassifier(random_state=0).fit(X, y)
    >>> print(model.coef_.round(1), model.stderr_.round(1))
    [[ 1.3 -2.2]] [[0.1 0.1]]
    >>> model.predict([[1.0, -1.0]])
    array(['yes'], dtype='<U3')
    """

    def __init__(
        self,
        link: str = "logit",
        *,
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
        self.link = link
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
        return model_of("binomial", self.link, fit_intercept=self.fit_intercept)

    def _checked(
        self, X: Any, y: Any, sample_weight: Any, offset: Any, **read: Any
    ) -> tuple[Block, Array]:
        """Return checked rows of a positive weight, whose y is an index, and their labels."""
        x, labels = self._read(X, y, **read)
        check_classification_targets(labels)
        index = np.arange(len(x), dtype=np.float64)
        model = self._model() if read.get("reset", True) else self._fitted_model
        rows = self._rows(x, index, model, sample_weight, None, offset)
        return rows, np.asarray(labels)[rows.y.astype(int)]

    def _refuse_offset(self, offset: Any) -> None:
        if offset is not None and len(self.classes_) > 2:
            raise FastoptError(
                f"offset is given for {len(self.classes_)} classes; it is allowed for two classes "
                "only"
            )

    def _targets(self, index: Floats) -> list[Floats]:
        """Return y of each filter, 1 for rows of its class, from the indices of the classes."""
        positive = [1] if len(self.classes_) == 2 else range(len(self.classes_))
        return [(index == each).astype(np.float64) for each in positive]

    def fit(
        self,
        X: Any,
        y: Any = None,
        sample_weight: Any = None,
        *,
        offset: Any = None,
    ) -> KalmanClassifier:
        """Absorb all rows, in random order; what was absorbed before is discarded.

        Parameters
        ----------
        X : array, table, file or chunks, of shape (n, p)
            As for `GLMRegressor.fit`.
        y : array of shape (n,), or str
            Labels of two classes or more, or the name of a column of X.
        sample_weight : array of shape (n,), optional
            How many equal rows a row stands for.
        offset : array of shape (n,), optional
            Added to the linear predictor; for two classes only.

        Returns
        -------
        self

        Raises
        ------
        ValueError, TypeError
            An argument or option is not allowed. Nothing has changed then.

        Warns
        -----
        SeparationWarning
            The coefficients predict every label.
        UserWarning
            ``shuffle`` is False and the rows are sorted by y; or the information that the filter
            gained from the rows and Fisher's information at the final coefficients differ by more
            than 25 %.
        """
        with self._unchanged_by(Exception):
            model = self._model()
            per_row = dict(sample_weight=sample_weight, offset=offset)
            source: Any = self._open(X, model.link, is_fit=True, y=y, **per_row)
            if source is None:
                rows, labels = self._checked(X, y, sample_weight, offset)
                self.classes_, index = np.unique(labels, return_inverse=True)
                source = self._source(rows.with_y(index.astype(float)))
            else:
                self.classes_ = classes_of(source.observations())
                check_classification_targets(self.classes_)
                source = source.with_target(class_indices(self.classes_))
            n_classes = len(self.classes_)
            if n_classes < 2:
                raise FastoptError(
                    f"y has {n_classes} class of positive weight; two or more classes are needed"
                )
            self._refuse_offset(offset)
            filters = self._new_filters(source.n_features, 1 if n_classes == 2 else n_classes)
            self._absorb_all(filters, source, self._targets)
        return self

    def partial_fit(
        self,
        X: Any,
        y: Any,
        classes: Any = None,
        sample_weight: Any = None,
        *,
        offset: Any = None,
    ) -> KalmanClassifier:
        """Absorb rows, in the order given.

        Parameters
        ----------
        X, y, sample_weight, offset
            Arrays as for `fit`, but no names of columns; one row or more.  X may be a table with
            the features only.
        classes : array of shape (n_classes,)
            All labels that will occur; needed in the first call only.  Later ones must be equal.

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
        if (
            not begins
            and sample_weight is offset is None
            and (classes is None or self._has_classes(classes))
            and self._absorb_few_labels(X, y)
        ):
            return self
        with self._unchanged_by(Exception):
            rows, labels = self._checked(X, y, sample_weight, offset, reset=begins)
            _check_partial_fit_first_call(self, classes)
            if len(self.classes_) < 2:
                raise FastoptError(f"classes is {self.classes_}; two or more classes are needed")
            self._refuse_offset(offset)
            index = class_indices(self.classes_)(labels, range(len(labels)))
            targets = self._targets(index)
            number = len(targets)
            filters = self._new_filters(rows.x.shape[1], number) if begins else self._filters
            for each, y_own in zip(filters, targets, strict=True):
                each.absorb(rows.with_y(y_own))
            if begins:
                self._filters, self.n_iter_ = filters, 1
        return self

    def _has_classes(self, classes: Any) -> bool:
        """Return whether these are obviously `classes_`: the same numbers in the same order."""
        known = self.classes_
        if type(classes) is not np.ndarray:
            return type(classes) is list and classes == known.tolist()
        same = classes.dtype == known.dtype and classes.shape == known.shape
        return bool(same) and classes.tobytes() == known.tobytes()

    def _absorb_few_labels(self, X: Any, y: Any) -> bool:
        """Absorb few rows with numbers as labels in little time; return False if not possible."""
        classes = self.classes_
        marks = marks_of(y, classes)
        if marks is not None:
            return self._absorb_few(X, marks)
        if type(y) is not np.ndarray or y.dtype.kind not in "biuf" or classes.dtype.kind in "OU":
            return False
        found = y == classes[1]
        if len(classes) == 2:
            known = np.count_nonzero(found) + np.count_nonzero(y == classes[0]) == y.size
            return known and self._absorb_few(X, found.astype(float))
        targets = [(y == label).astype(float) for label in classes]
        if sum(map(np.count_nonzero, targets)) != y.size or not self._absorb_few(X, targets[0]):
            return False
        for each, target in zip(self._filters[1:], targets[1:], strict=True):
            if not each.absorb_few(X, target):
                each.absorb(Block(X, target))
        return True

    def decision_function(self, X: Any, offset: Any = None) -> Floats:
        """Return the linear predictors, minus that of a probability of 1/2.

        Parameters
        ----------
        X : array or DataFrame of shape (n, p)
        offset : array of shape (n,), optional

        Returns
        -------
        array of shape (n,), or (n, n_classes) for more than two classes
            Above 0 where `predict` returns ``classes_[1]``.
        """
        z = self._predictors(X, offset)
        z -= self._filters[0].model.predictor(0.5)
        return z[:, 0] if len(self.classes_) == 2 else z

    def predict(self, X: Any, offset: Any = None) -> Array:
        """Return the most probable class of each row.

        Parameters
        ----------
        X : array or DataFrame of shape (n, p)
        offset : array of shape (n,), optional

        Returns
        -------
        array of shape (n,)
        """
        z = self.decision_function(X, offset)
        index = (z > 0).astype(int) if z.ndim == 1 else z.argmax(axis=1)
        chosen: Array = self.classes_[index]
        return chosen

    @property
    def pvalues_(self) -> Floats:
        """The two-sided p-values of coef_."""
        return np.stack([self._of_features(inference.p_values(each)) for each in self._reports()])

    def conf_int(self, *, level: float = 0.95) -> Floats:
        """Return confidence intervals of (intercept, coefficients).

        Parameters
        ----------
        level : float
            The coverage. Default 0.95.

        Returns
        -------
        array of shape (p + 1, 2), or (n_classes, p + 1, 2) for more than two classes
            Lower and upper ends; without an intercept, of the coefficients only.
        """
        found = [inference.conf_int(each, level) for each in self._reports()]
        return found[0] if len(found) == 1 else np.stack(found)

    def _fit(self) -> Fitted:
        if len(self._fitted_filters()) > 1:
            raise FastoptError(
                f"there are {len(self.classes_)} classes, each with separate coefficients; "
                "this is available for two classes only"
            )
        return self.fitted_

    def _y_names(self) -> list[str]:
        positive = self.classes_[-1:] if len(self.classes_) == 2 else self.classes_
        return [f"y = {label}" for label in positive]

    def predict_proba(self, X: Any, offset: Any = None) -> Floats:
        """Return the probability of each class.

        Parameters
        ----------
        X : array or DataFrame of shape (n, p)
        offset : array of shape (n,), optional

        Returns
        -------
        array of shape (n, n_classes)
            In the order of `classes_`.
        """
        mean = self._filters_mean(X, offset)
        if mean.shape[1] == 1:
            return np.column_stack([1.0 - mean, mean])
        total = mean.sum(axis=1, keepdims=True)
        return np.where(total > 0, mean / np.where(total > 0, total, 1.0), 1.0 / mean.shape[1])

    def _filters_mean(self, X: object, offset: object) -> Floats:
        z = self._predictors(X, offset)
        return self._filters[0].model.mean(z)

    def predict_log_proba(self, X: Any, offset: Any = None) -> Floats:
        """Return the logarithm of the probability of each class.

        Parameters
        ----------
        X : array or DataFrame of shape (n, p)
        offset : array of shape (n,), optional

        Returns
        -------
        array of shape (n, n_classes)
        """
        with np.errstate(divide="ignore"):
            return np.log(self.predict_proba(X, offset))

    def _require_mergeable(self, other: KalmanClassifier) -> None:
        if not np.array_equal(self.classes_, other.classes_):
            raise FastoptError(
                f"the classes are {self.classes_} here and {other.classes_} in other; they must be "
                "equal"
            )

    @property
    def coef_(self) -> Floats:  # type: ignore[override]
        """The coefficients, for each filter."""
        return np.stack([self._of_features(each.coef()) for each in self._fitted_filters()])

    @property
    def intercept_(self) -> Floats:
        """The intercepts; 0 without them."""
        return np.array([self._of_intercept(each.coef()) for each in self._fitted_filters()])

    @property
    def stderr_(self) -> Floats:
        """The standard errors of the coefficients."""
        return np.stack([self._of_features(each.stderr()) for each in self._fitted_filters()])

    @property
    def intercept_stderr_(self) -> Floats:
        """The standard errors of the intercepts."""
        return np.array([self._of_intercept(each.stderr()) for each in self._fitted_filters()])

    @property
    def covariance_(self) -> Floats:
        """The covariance of (intercept, coefficients), for each filter."""
        found = [each.covariance() for each in self._fitted_filters()]
        return found[0] if len(found) == 1 else np.stack(found)
