"""`GLMRegressor`: a generalized linear model with one mean for each row."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted

from fastopt.estimators.base import (
    intervals,
    linear_predictor,
    warn_of_problems,
)
from fastopt.estimators.epochs.by_epochs import has_partial_fit, takes_epochs
from fastopt.estimators.scores import RegressorScore, rows_again
from fastopt.estimators.scoring.fitting import fit_source
from fastopt.estimators.scoring.model import Model, model_of
from fastopt.estimators.sources.source import Source

__all__ = ["GLMRegressor"]

Floats = np.ndarray[Any, np.dtype[np.float64]]


class GLMRegressor(RegressorScore):
    """Generalized linear model, fitted by Fisher scoring, with standard errors.

    The mean of y is m = mu(intercept + x'coef + offset), with variance dispersion * V(m) / weight.
    `fit` minimises::

        deviance / (2 sum of weights) + alpha (l1_ratio |coef|_1 + (1 - l1_ratio) |coef|^2 / 2)

    which is the objective of scikit-learn's PoissonRegressor and of glum; the intercept has no
    penalty.  With ``alpha=0``, the default, this is maximum likelihood, and there are standard
    errors.  The result depends neither on the order of the rows nor on the means of the columns.

    Parameters
    ----------
    family : str
        "gaussian" (V = 1), "poisson" (m), "gamma" (m^2), "inverse_gaussian" (m^3),
        "negative_binomial" (m + overdispersion m^2), "tweedie" (m^power) or "binomial" (m (1 - m);
        y is a share from 0 to 1, and sample_weight the number of trials).  Default "gaussian".
    link : str, optional
        "identity" (gaussian), "log" (poisson, gamma, inverse_gaussian, negative_binomial, tweedie),
        "inverse" (gamma), "inverse_squared" (inverse_gaussian), "logit", "probit" or "cloglog"
        (binomial).  Default: the first that is listed here for the family.
    alpha : float
        Strength of the penalty.  Default 0.
    l1_ratio : float
        The part of the penalty that is L1, from 0 to 1.  Default 0.
    overdispersion : float, optional
        Of the negative binomial, as ``alpha`` in statsmodels.  Default 1.  An error for others.
    power : float, optional
        Of the Tweedie family, 1 < power < 2.  Default 1.5.  An error for others.
    fit_intercept : bool
        Default True.  If False and a column of X is constant, that column takes its place for
        everything but the penalty.
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
        What to do if columns of X are combinations of others and there is no L2 penalty.
        "minimum_norm", the default: the coefficients of the least norm of those that fit best, as
        LinearRegression.  "error": an error that names the columns.
    formula : str, optional
        Which columns of a table are the features, as ``"y ~ a + C(b)"`` or only its right side, in
        the language of formulaic.  It decides on the intercept, too.  Default: all columns.
    cov_type : {"nonrobust", "HC0", "HC1", "HC2", "HC3", "cluster"}
        The covariance of the coefficients. "nonrobust", the default: the inverse information.
        Others need one more pass over X; "cluster" needs ``groups`` in `fit`.
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
    coef_ : array of shape (n_features_in_,)
    intercept_ : float
        0 without an intercept.
    n_iter_ : int
        Rounds.
    converged_ : bool
        Whether the last step was at most ``tol`` standard errors long, or epochs ended by ``tol``.
    dispersion_ : float
        1 for poisson, binomial and negative_binomial; else Pearson's chi-squared divided by the
        degrees of freedom.
    deviance_, null_deviance_ : float
        Of the fit, and of the model with an intercept (and the offset) only.
    stderr_, pvalues_ : array of shape (n_features_in_,)
        Standard errors, and p-values of the hypotheses that a coefficient is 0.
    intercept_stderr_ : float
    covariance_ : array of shape (n_features_in_ + 1, n_features_in_ + 1)
        Of (intercept_, coef_); without an intercept of coef_.
    llf_, aic_, bic_ : float
        Log-likelihood and information criteria, as in statsmodels.
    loss_curve_ : list of float
        The objective at the start and after each round but the last.
    dependent_ : tuple of str
        Columns that are combinations of those before them.
    fitted_ : Fitted
        Everything that is known of the fit.  No rows are kept.
    n_features_in_, feature_names_in_
        As in scikit-learn.

    Warns
    -----
    SeparationWarning
        The likelihood has no maximum.
    ConvergenceWarning
        ``max_iter`` rounds did not suffice, or KeyboardInterrupt ended the fit, which then keeps
        the coefficients of the last round, as MLPRegressor does.  ``converged_`` is False.
        Also if the steps of epochs diverge, so that the objective is not finite, which ends the
        fit, or more than twice that of coefficients of 0.  Coefficients that are not finite are an
        error, as for SGDRegressor.

    Notes
    -----
    With ``alpha > 0`` there are no standard errors, p-values, intervals, tests, AIC or BIC: an
    error says so.  A penalty shrinks coefficients towards 0, so intervals around them would not
    cover the parameters with the stated probability.

    ``sample_weight`` are precision weights (``var_weights`` in statsmodels): the variance of y is
    divided by them, and each row counts once.  ``freq_weight`` are frequencies (``freq_weights`` in
    statsmodels): a row of frequency 3 counts as three equal rows.  Both give the same coefficients;
    the degrees of freedom, and so an estimated dispersion, differ.  Rows of weight 0 are left out.
    The log-likelihood of shares (binomial) includes the binomial coefficient of the trials, as in
    R, and in statsmodels if y has two columns, successes and failures.

    Epochs standardise the columns of dense rows implicitly, except for "ftrl"; the penalty is that
    of ``coef_``.  ``loss_curve_`` has the mean loss of the rows, each before its step, plus the
    penalty.  On a CSR matrix a step updates only the columns present in its rows.  "sgd" and "ftrl"
    give the same result as on dense rows (which are not standardised), and "adagrad" does without a
    penalty; with the others the states of a column change only in the steps in which it is present,
    and its penalty counts once for each step since the last of them.

    References
    ----------
    McCullagh & Nelder 1989, Generalized Linear Models.

    Examples
    --------
    >>> import numpy as np
    >>> from fastopt.estimators import GLMRegressor
    >>> X = np.arange(8.0)[:, None]
    >>> y = np.array([1, 1, 2, 2, 3, 5, 6, 9])
    >>> model = GLMRegressor(family="poisson").fit(X, y)
    >>> model.coef_.round(4), model.predict([[8.0]]).round(2)
    (array([0.3332]), array([12.32]))
    """

    def __init__(
        self,
        family: str = "gaussian",
        link: str | None = None,
        *,
        alpha: float = 0.0,
        l1_ratio: float = 0.0,
        overdispersion: float | None = None,
        power: float | None = None,
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
        self.family = family
        self.link = link
        self.alpha = alpha
        self.l1_ratio = l1_ratio
        self.overdispersion = overdispersion
        self.power = power
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
        tags.target_tags.positive_only = self.family not in ("gaussian", "normal")
        return tags

    def _model(self) -> Model:
        return model_of(
            self.family, self.link, self.overdispersion, self.power, bool(self.fit_intercept)
        )

    def fit(
        self,
        X: Any,
        y: Any = None,
        sample_weight: Any = None,
        *,
        freq_weight: Any = None,
        offset: Any = None,
        exposure: Any = None,
        groups: Any = None,
    ) -> GLMRegressor:
        """Fit the model.

        Parameters
        ----------
        X : array, table, file or chunks, of shape (n, p)
            An array or a sparse matrix; a table of pandas, polars or Arrow; the path of a parquet
            file or directory; a memory-mapped array; or chunks, see Notes.
        y : array of shape (n,), or str
            The observations, or the name of a column of X, which is then no feature.  Not needed if
            the chunks or a formula have it.
        sample_weight : array of shape (n,), or str, optional
            Precision weights, >= 0; or the name of a column, as for all that follows.
        freq_weight : array of shape (n,), optional
            Frequencies, >= 0.
        offset : array of shape (n,), optional
            Added to the linear predictor, with a coefficient of 1.
        exposure : array of shape (n,), optional
            Positive; its logarithm is added to the offset.  For the log link only.
        groups : array of shape (n,), optional
            The cluster of each row, for ``cov_type="cluster"``.

        Returns
        -------
        GLMRegressor
            self.

        Raises
        ------
        FastoptError
            An option or a value is outside its range or missing, or no row has a positive weight.
        TypeError
            A column is not numeric, or X can be read only once.

        Notes
        -----
        Chunks are a list, or a function that returns an iterable, and is called for each round and
        once or twice before: of (X, y), of (X, y, sample_weight), of dicts with the names of these
        arguments, or of tables.  Only some thousand rows of a file, of a memory-mapped array or of
        the chunks of a function are in memory at a time::

            model.fit("file.parquet", y="price", sample_weight="w")
            model.fit(numpy.load("x.npy", mmap_mode="r"), y)
            model.fit(lambda: pandas.read_csv("file.csv", chunksize=100_000), y="price")
        """
        options, model = self._options(y), self._model()
        per_row = dict(
            sample_weight=sample_weight,
            freq_weight=freq_weight,
            offset=offset,
            exposure=exposure,
            groups=groups,
        )
        self._require_groups(groups)
        with self._unchanged_by(BaseException):
            source: Source | None = self._open(X, model.link, is_fit=True, y=y, **per_row)
            if self._formula is not None:
                model = replace(model, fit_intercept=self._formula.has_intercept)
                options = replace(options, y_name=self._formula.response or options.y_name)
            if source is None:
                check = self._steps_check(sample_weight, freq_weight)
                x, y = self._read(X, y, check, y_numeric=True)
                source = self._source(self._rows(x, y.astype(float, copy=False), model, **per_row))
            self._fitted_model = model
            if takes_epochs(self):
                self._keep_epochs(self._fit_epochs(source, model))
                return self
            solution = fit_source(source, model, options)
            self._keep(solution)
        warn_of_problems(solution)
        return self

    def _keep_epochs(self, coef: Floats) -> None:
        self.coef_, self.intercept_ = coef[:-1].copy(), float(coef[-1])

    @available_if(has_partial_fit)  # type: ignore[untyped-decorator]
    def partial_fit(
        self, X: Any, y: Any, sample_weight: Any = None, *, offset: Any = None, exposure: Any = None
    ) -> GLMRegressor:
        """Take the steps of one pass over these rows, in their order; for a solver with epochs.

        Columns are standardised as in an earlier `fit`, or else not at all.  A failed call changes
        nothing.

        Parameters
        ----------
        X, y, sample_weight, offset, exposure
            Arrays as for `fit`, but no names of columns.  X may be sparse, or a table with the
            features only.  A row of weight 0 takes no step.

        Returns
        -------
        GLMRegressor
            self.

        Raises
        ------
        FastoptError
            As `fit`; or an option has changed since the first call.
        """
        self._options(y)
        model = self._model()
        with self._unchanged_by(BaseException):
            is_first = self._begin_partial_fit()
            check = self._steps_check(sample_weight)
            x, y = self._read(X, y, check, y_numeric=True, reset=is_first)
            y = y.astype(float, copy=False)
            block = self._rows(x, y, model, sample_weight, None, offset, exposure)
            self._keep_epochs(self._partial_fit_epochs(block, model))
            self._fitted_model = model
        return self

    def predict(
        self, X: Any, offset: Any = None, exposure: Any = None, *, interval: float | None = None
    ) -> Any:
        """Return the predicted means.

        Parameters
        ----------
        X : array, sparse matrix, table, file or chunks, of shape (n, p)
        offset, exposure : array of shape (n,), optional
            As for `fit`.  Default 0 and 1, even if the fit had others, as in statsmodels.
        interval : float, optional
            The coverage of a confidence interval of each mean, such as 0.95.  The interval of the
            linear predictor is transformed by the inverse link, as in statsmodels'
            ``get_prediction(X).conf_int()``.  It is not for a new observation, which varies more.

        Returns
        -------
        array of shape (n,)
            Or, with ``interval``, a tuple of three: means, lower and upper ends.

        Raises
        ------
        NotFittedError
            `fit` has not been called.
        FastoptError
            ``interval`` is not between 0 and 1, or the fit has no standard errors.
        ValueError
            X has not the columns of the fit.
        """
        check_is_fitted(self)
        model = self._fitted_model
        if interval is not None:
            blocks = self._blocks_to_predict(X, model, offset=offset, exposure=exposure)
            return intervals(blocks, self.fitted_, interval)
        return model.mean(linear_predictor(self, X, model, offset, exposure))

    def _rows_again(self, X: Any, y: Any, **per_row: Any) -> Source:
        return rows_again(self, X, y, **per_row)
