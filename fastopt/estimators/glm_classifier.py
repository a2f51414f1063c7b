"""`GLMClassifier`: binary and multinomial regression with class labels."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted

from fastopt._checks import Choice
from fastopt._errors import FastoptError
from fastopt.estimators.base import (
    intervals,
    linear_predictor,
    warn_of_problems,
)
from fastopt.estimators.epochs.by_epochs import has_partial_fit, takes_epochs
from fastopt.estimators.scores import ClassifierScore, decisions, most_probable
from fastopt.estimators.scoring.fitting import Solution, fit_source
from fastopt.estimators.scoring.model import Model
from fastopt.estimators.scoring.multinomial import log_probabilities
from fastopt.estimators.sources.labels import class_indices, classes_of
from fastopt.estimators.sources.source import Source

__all__ = ["GLMClassifier"]

Array = np.ndarray[Any, np.dtype[Any]]
Floats = np.ndarray[Any, np.dtype[np.float64]]


class GLMClassifier(ClassifierScore):
    """Logistic, probit or complementary log-log regression, fitted by Fisher scoring.

    With two classes, P(y = classes_[1]) = mu(intercept + x'coef + offset).  With C > 2 classes and
    linear predictors z_c, P(y = classes_[c]) = exp(z_c) / sum over classes of exp(z), and the
    coefficients of all classes are fitted together.  `fit` minimises::

        deviance / (2 sum of weights) + alpha (l1_ratio |coef|_1 + (1 - l1_ratio) |coef|^2 / 2)

    The intercept has no penalty.  With ``alpha=0``, the default, this is maximum likelihood, and
    there are standard errors.  In terms of LogisticRegression, ``alpha = 1 / (C * n)``.

    Parameters
    ----------
    link : {"logit", "probit", "cloglog"}
        Default "logit"; the others are for two classes only.
    alpha : float
        Strength of the penalty.  Default 0.
    l1_ratio : float
        The part of the penalty that is L1, from 0 to 1.  Default 0.
    fit_intercept : bool
        Default True.
    solver : str
        "scoring": Fisher scoring.  "auto", the default, chooses it.  For data of many columns:
        epochs of "sgd", "momentum", "nesterov", "adagrad", "adadelta", "rmsprop", "adam", "adamax",
        "nadam" or "ftrl", which need memory for a few numbers per column, read CSR as it is, and
        have `partial_fit`, but no standard errors.  See Notes.
    tol : float, optional
        Scoring ends when the next step is at most this many standard errors long, by default 1e-8;
        epochs end when ``n_iter_no_change`` in a row have not improved the best objective by more
        than this, by default 1e-4.
    max_iter : int
        The most rounds or epochs.  Default 100.
    rank_deficient : {"minimum_norm", "error"}
        As for `GLMRegressor`.
    formula : str, optional
        As for `GLMRegressor`.
    cov_type : {"nonrobust", "HC0", "HC1", "HC2", "HC3", "cluster"}
        As for `GLMRegressor`; "HC2" and "HC3" for two classes only.
    use_t : bool
        Student's t instead of the normal distribution in intervals and tests.  Default False.
    rule_options : dict, optional
        For epochs, as are all parameters from here to ``random_state``: options of the class in
        `fastopt` that has the solver's rule, such as ``{"betas": (0.9, 0.99)}``.
    learning_rate : {"constant", "invscaling", "optimal"} or callable
        eta0; eta0 / t^power_t; 1 / (alpha (t0 + t - 1)) with scikit-learn's t0; or a function of
        the number t of the step, such as a schedule of `fastopt.schedules`.  Default "constant".
    eta0 : float, optional
        Default that of the class; 0.01 for "sgd", 0.1 for "ftrl".
    power_t : float
        Default 0.25.
    batch_size : int
        Rows of a step.  Default 1.
    shuffle : bool or "blocks"
        The order of the rows in each epoch: True, the default, a random one; "blocks" keeps blocks
        of 64 rows together, which takes less time; False the order in which they are.
    average : bool or int
        True: the result is the mean of the coefficients over all steps; 10: from step 10 on.
        Default False.
    early_stopping : bool
        Hold out ``validation_fraction`` of the rows; ``tol`` applies to their mean loss, and the
        result has the coefficients with the lowest.  Default False.
    validation_fraction : float
        Default 0.1.
    n_iter_no_change : int
        Default 5.
    random_state : int, RandomState or None
        Of shuffling and of the held-out rows.  Default None.
    verbose : int
        1 prints a line for each round or epoch.  Default 0.

    Attributes
    ----------
    classes_ : array of shape (n_classes,)
        The labels of rows with a positive weight, sorted.
    coef_ : array of shape (1, n_features_in_) or (n_classes, n_features_in_)
        With two classes, the coefficients of classes_[1].  With more and ``alpha=0``, the first row
        is 0: coefficients are relative to the first class, as in statsmodels' MNLogit.  With an
        L2 penalty the rows sum to 0, as in LogisticRegression; with L1 too, only the intercepts do.
    intercept_ : array of shape (1,) or (n_classes,)
    stderr_, pvalues_ : array of the shape of coef_
        NaN for the first class where coefficients are relative to it.
    intercept_stderr_ : array of the shape of intercept_
    covariance_ : array of shape (q, q)
        Of ``fitted_.coef``.
    n_iter_, converged_, deviance_, null_deviance_, dispersion_, loss_curve_, dependent_, fitted_
        As for `GLMRegressor`.  ``fitted_.coef`` has the intercept first; of several classes, the
        coefficients of one class after the other, without the first class if alpha is 0.
    n_features_in_, feature_names_in_
        As in scikit-learn.

    Warns
    -----
    SeparationWarning
        The likelihood has no maximum: the columns separate the classes.
    ConvergenceWarning
        ``max_iter`` rounds did not suffice, or KeyboardInterrupt ended the fit, which then keeps
        the coefficients of the last round, as MLPClassifier does.  ``converged_`` is False.
        Also if the steps of epochs diverge, so that the objective is not finite, which ends the
        fit, or more than twice that of coefficients of 0.  Coefficients that are not finite are an
        error, as for SGDClassifier.

    Notes
    -----
    ``sample_weight`` and ``freq_weight`` give the same coefficients and standard errors, because
    the dispersion is 1; the number of observations differs, as for `GLMRegressor`.  `score` is the
    accuracy, as for all classifiers of scikit-learn.

    Epochs standardise the columns of dense rows implicitly, except for "ftrl"; the penalty is that
    of ``coef_``.  ``loss_curve_`` has the mean loss of the rows, each before its step, plus the
    penalty.  On a CSR matrix a step updates only the columns present in its rows.  "sgd" and "ftrl"
    give the same result as on dense rows (which are not standardised), and "adagrad" does without a
    penalty; with the others the states of a column change only in the steps in which it is present,
    and its penalty counts once for each step since the last of them.

    References
    ----------
    McCullagh & Nelder 1989, Generalized Linear Models, chapters 4 and 5.

    Examples
    --------
    >>> import numpy as np
    >>> from fastopt.estimators import GLMClassifier
    >>> X = np.arange(8.0)[:, None]
    >>> y = np.array(["no", "no", "yes", "no", "yes", "no", "yes", "yes"])
    >>> model = GLMClassifier().fit(X, y)
    >>> model.coef_.round(4), model.predict([[7.0]])
    (array([[0.5941]]), array(['yes'], dtype='<U3'))
    """

    def __init__(
        self,
        link: str = "logit",
        *,
        alpha: float = 0.0,
        l1_ratio: float = 0.0,
        fit_intercept: bool = True,
        solver: str = "auto",
        tol: float | None = None,
        max_iter: int = 100,
        rank_deficient: str = "minimum_norm",
        formula: Any = None,
        cov_type: str = "nonrobust",
        use_t: bool = False,
        rule_options: dict[str, Any] | None = None,
        learning_rate: Any = "constant",
        eta0: float | None = None,
        power_t: float = 0.25,
        batch_size: int = 1,
        shuffle: bool | str = True,
        average: bool | int = False,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 5,
        random_state: Any = None,
        verbose: int = 0,
    ) -> None:
        self.link = link
        self.alpha = alpha
        self.l1_ratio = l1_ratio
        self.fit_intercept = fit_intercept
        self.solver = solver
        self.tol = tol
        self.max_iter = max_iter
        self.rank_deficient = rank_deficient
        self.formula = formula
        self.cov_type = cov_type
        self.use_t = use_t
        self.rule_options = rule_options
        self.learning_rate = learning_rate
        self.eta0 = eta0
        self.power_t = power_t
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.average = average
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.random_state = random_state
        self.verbose = verbose

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.classifier_tags.multi_class = self.link == "logit" and not takes_epochs(self)
        return tags

    def _model(self, n_classes: int) -> Model:
        intercept = bool(self.fit_intercept)
        if n_classes == 2:
            return Model("binomial", self.link, 0.0, intercept)
        symmetric = self.alpha > 0 and self.l1_ratio > 0
        return Model("multinomial", "logit", 0.0, intercept, n_classes, symmetric)

    def fit(
        self,
        X: Any,
        y: Any = None,
        sample_weight: Any = None,
        *,
        freq_weight: Any = None,
        offset: Any = None,
        groups: Any = None,
    ) -> GLMClassifier:
        """Fit the model.

        Parameters
        ----------
        X : array, sparse matrix, table, file or chunks, of shape (n, p)
            As for `GLMRegressor.fit`, as are names of columns for the other arguments.
        y : array of shape (n,), or str
            Labels of at least two classes.
        sample_weight, freq_weight : array of shape (n,), optional
            Weights, >= 0.
        offset : array of shape (n,), optional
            Added to the linear predictor, with a coefficient of 1.  For two classes only.
        groups : array of shape (n,), optional
            The cluster of each row, for ``cov_type="cluster"``.

        Returns
        -------
        GLMClassifier
            self.

        Raises
        ------
        FastoptError
            An option is outside its range, there are fewer than two classes, or there are more than
            two with an offset, "HC2" or "HC3", or a link other than "logit".
        """
        options = self._options(y)
        Choice(("logit", "probit", "cloglog"))("link", self.link)
        self._require_groups(groups)
        per_row = dict(
            sample_weight=sample_weight, freq_weight=freq_weight, offset=offset, groups=groups
        )
        with self._unchanged_by(BaseException):
            rows = self._open(X, self.link, is_fit=True, y=y, **per_row)
            source: Source
            if rows is None:
                x, y = self._read(X, y, self._steps_check(sample_weight, freq_weight))
                block = self._rows(x, y, Model("binomial", self.link), **per_row)
                classes, index = _labels(block.y)
                check_classification_targets(classes)
                source = self._source(block.with_y(index.astype(float)))
            else:
                classes = classes_of(rows.observations())
                check_classification_targets(classes)
                source = rows.with_target(class_indices(classes))
            if len(classes) < 2:
                raise FastoptError(
                    f"y has {len(classes)} class among the rows of a positive weight; "
                    "two are needed"
                )
            if len(classes) > 2 and self.link != "logit":
                raise FastoptError(
                    f"Only binary classification is supported with link={self.link!r}; y has "
                    f"{len(classes)} classes"
                )
            if len(classes) > 2 and offset is not None:
                raise FastoptError(f"offset needs two classes; y has {len(classes)}")
            if len(classes) > 2 and self.cov_type in ("HC2", "HC3"):
                raise FastoptError(
                    f"cov_type={self.cov_type!r} needs two classes; y has {len(classes)}"
                )
            if len(classes) > 2 and takes_epochs(self):
                raise FastoptError(
                    f"Only binary classification is supported with solver={self.solver!r}; y has "
                    f"{len(classes)} classes"
                )
            model = self._model(len(classes))
            if self._formula is not None:
                model = replace(model, fit_intercept=self._formula.has_intercept)
                options = replace(options, y_name=self._formula.response or options.y_name)
            self._fitted_model = model
            if takes_epochs(self):
                coef = self._fit_epochs(source, model)
                self.classes_ = classes
                self._keep_epochs(coef)
                return self
            options = replace(options, classes=tuple(map(str, classes)))
            solution = fit_source(source, model, options)
            self.classes_ = classes
            self._keep(solution)
        warn_of_problems(solution)
        return self

    def _keep_epochs(self, coef: Floats) -> None:
        self.coef_, self.intercept_ = coef[None, :-1].copy(), coef[-1:].copy()

    @available_if(has_partial_fit)  # type: ignore[untyped-decorator]
    def partial_fit(
        self, X: Any, y: Any, classes: Any = None, sample_weight: Any = None, *, offset: Any = None
    ) -> GLMClassifier:
        """Take the steps of one pass over these rows, in their order; for a solver with epochs.

        Columns are standardised as in an earlier `fit`, or else not at all.  A failed call changes
        nothing.

        Parameters
        ----------
        X, y, sample_weight, offset
            Arrays as for `fit`, but no names of columns.  X may be sparse, or a table with the
            features only.  A row of weight 0 takes no step.
        classes : array of shape (2,), optional
            The labels, which the first call needs, if there was no `fit`.

        Returns
        -------
        GLMClassifier
            self.

        Raises
        ------
        FastoptError
            As `fit`; a label is not among the classes; or an option has changed since the first
            call.
        """
        self._options(y)
        Choice(("logit", "probit", "cloglog"))("link", self.link)
        with self._unchanged_by(BaseException):
            is_first = self._begin_partial_fit()
            known = None if is_first else self.classes_
            if classes is not None:
                given = np.unique(classes)
                if known is not None and not np.array_equal(known, given):
                    raise FastoptError(f"classes is {given}; those of the first call are {known}")
                known = given
            if known is None:
                raise FastoptError(
                    "classes is None; the first call of partial_fit needs the labels"
                )
            if len(known) != 2:
                raise FastoptError(
                    f"Only binary classification is supported with solver={self.solver!r}; there "
                    f"are {len(known)} classes"
                )
            x, y = self._read(X, y, self._steps_check(sample_weight), reset=is_first)
            unknown = ~np.isin(y, known)
            if unknown.any():
                raise FastoptError(f"y has the label {y[unknown][0]!r}; the classes are {known}")
            index = (y == known[1]).astype(float)
            block = self._rows(x, index, self._model(2), sample_weight, None, offset)
            coef = self._partial_fit_epochs(block, self._model(2))
            self.classes_, self._fitted_model = known, self._model(2)
            self._keep_epochs(coef)
        return self

    def _keep(self, solution: Solution) -> None:
        super()._keep(solution)
        fitted, n_classes = solution.fitted, len(self.classes_)
        coef = fitted.coef.reshape(fitted.n_equations, -1)
        if n_classes > 2 and fitted.n_equations < n_classes:
            coef = np.vstack([np.zeros((1, coef.shape[1])), coef])
        if n_classes > 2 and fitted.penalty:
            mean = coef.mean(axis=0)
            if fitted.n_equations == n_classes:  # an L1 penalty depends on shifts
                mean[int(fitted.has_intercept) :] = 0.0
            coef = coef - mean
        first = int(fitted.has_intercept)
        self.coef_ = coef[:, first:].copy()
        self.intercept_ = coef[:, 0].copy() if first else np.zeros(len(coef))

    def _rows_again(self, X: Any, y: Any, **per_row: Any) -> Source:
        target = class_indices(self.classes_)
        rows = self._open(X, self._fitted_model.link, is_fit=False, y=y, **per_row)
        if rows is not None:
            return rows.with_target(target)
        x, y = self._read(X, y, reset=False)
        block = self._rows(x, y, self._fitted_model, **per_row)
        return self._source(block.with_y(target(block.y, range(block.n))))

    def _equations(self, values: Floats) -> Floats:
        """Return a row for each class of coef_, NaN for a class that has no coefficients."""
        rows = values.reshape(self.fitted_.n_equations, -1)
        if len(rows) < len(self.coef_):
            rows = np.vstack([np.full((1, rows.shape[1]), np.nan), rows])
        return rows

    def _like_coef(self, values: Floats) -> Floats:
        return self._equations(values)[:, int(self.fitted_.has_intercept) :]

    def _like_intercept(self, values: Floats) -> Floats:
        if not self.fitted_.has_intercept:
            return np.zeros(len(self.coef_))
        return self._equations(values)[:, 0]

    def _refuse_offset(self, offset: Any) -> None:
        if offset is not None and len(self.classes_) > 2:
            raise FastoptError(f"offset needs two classes; there are {len(self.classes_)}")

    def _predictors(self, X: Any, offset: Any = None) -> Floats:
        check_is_fitted(self)
        self._refuse_offset(offset)
        return linear_predictor(self, X, self._fitted_model, offset)

    def decision_function(self, X: Any, offset: Any = None) -> Floats:
        """Return the linear predictors.

        Parameters
        ----------
        X : array, sparse matrix, table, file or chunks, of shape (n, p)
        offset : array of shape (n,), optional
            As for `fit`.

        Returns
        -------
        array of shape (n,) or (n, n_classes)
            With two classes, minus the predictor for which the probability is 1/2, which is 0
            except for the link "cloglog".
        """
        return decisions(self._predictors(X, offset), self._half)

    def predict_log_proba(self, X: Any, offset: Any = None) -> Floats:
        """Return the logarithms of the probabilities of the classes.

        Parameters
        ----------
        X, offset
            As for `decision_function`.

        Returns
        -------
        array of shape (n, n_classes)
        """
        check_is_fitted(self)
        if len(self.classes_) > 2 or self._fitted_model.link == "logit":
            z = self._predictors(X, offset)
            symmetric = z.shape[1] > 1
            return log_probabilities(
                z, Model("multinomial", "logit", 0.0, True, len(self.classes_), symmetric)
            )
        with np.errstate(divide="ignore"):
            found: Floats = np.log(self.predict_proba(X, offset))
        return found

    def predict_proba(self, X: Any, offset: Any = None, *, interval: float | None = None) -> Any:
        """Return the probabilities of the classes.

        Parameters
        ----------
        X, offset
            As for `decision_function`.
        interval : float, optional
            The coverage of a confidence interval of each probability, such as 0.95, for two
            classes.  See `GLMRegressor.predict`.

        Returns
        -------
        array of shape (n, n_classes)
            Or, with ``interval``, a tuple of three: probabilities, lower and upper ends.
        """
        check_is_fitted(self)
        if interval is not None:
            if len(self.classes_) > 2:
                raise FastoptError(f"interval needs two classes; there are {len(self.classes_)}")
            blocks = self._blocks_to_predict(X, self._fitted_model, offset=offset)
            mean, lower, upper = intervals(blocks, self.fitted_, interval)
            return tuple(
                np.column_stack([1.0 - other, own])
                for own, other in ((mean, mean), (lower, upper), (upper, lower))
            )
        if len(self.classes_) > 2 or self._fitted_model.link == "logit":
            return np.exp(self.predict_log_proba(X, offset))
        mean = self._fitted_model.mean(self._predictors(X, offset)[:, 0])
        return np.column_stack([1.0 - mean, mean])

    def predict(self, X: Any, offset: Any = None) -> Array:
        """Return the most probable class of each row.

        Parameters
        ----------
        X, offset
            As for `decision_function`.

        Returns
        -------
        array of shape (n,)
        """
        index = most_probable(self._predictors(X, offset), self._half)
        found: Array = self.classes_[index]
        return found


def _labels(y: Any) -> tuple[Array, Any]:
    """Return the sorted labels and the index of each row's label; two numbers need no sorting."""
    if y.dtype.kind in "iufb" and len(y):
        low, high = y.min(), y.max()
        is_high = y == high
        if low != high and (is_high | (y == low)).all():
            return np.array([low, high]), is_high
    classes, index = np.unique(y, return_inverse=True)
    return classes, index
