"""Fits of a table: maximum likelihood, one epoch of stochastic gradients, rows one at a time.

Each function of a library takes the family and the rows, and returns (intercept, coefficients).
The libraries keep their default tolerances, and compute standard errors where they have them;
"glum" does without and "glum, errors" with them.  scikit-learn has none.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import numpy as np
from scipy import sparse

from bench.peers.cases import FASTOPT, FASTOPT_COARSE, FASTOPT_PARTIAL, Case

Fit = Callable[[str, Any, np.ndarray], np.ndarray]
Learn = Callable[[Any, Any], object]  # from one row and its observation
Learner = Callable[[str, np.ndarray, np.ndarray], tuple[Learn, bool]]  # True: rows are dicts
Made = tuple[Callable[[], None], int, Callable[[], np.ndarray] | None]
FEW = 5000  # rows of a first fit, which loads modules, so that their memory does not count
ALPHA, ETA0 = 1e-4, 0.01  # of the epochs


def drawn(case: Case) -> tuple[Any, np.ndarray, float]:
    """Return X, y, and the approximate standard error of each coefficient.

    The columns are independent, and those of dense rows have a mean of about 0 and a variance of
    about 1.
    """
    rng = np.random.default_rng(0)
    coef = rng.standard_normal(case.p) * 0.5 / np.sqrt(case.nonzeros or case.p)
    if case.nonzeros:
        shape = case.rows, case.nonzeros
        X: Any = sparse.csr_array(
            (
                rng.standard_normal(math.prod(shape)),
                np.sort(rng.integers(0, case.p, shape, dtype=np.int32), axis=1).ravel(),
                np.arange(0, math.prod(shape) + 1, case.nonzeros, dtype=np.int32),
            ),
            shape=(case.rows, case.p),
        )
        X.sum_duplicates()
    else:
        X = rng.standard_normal((case.rows, case.p))
        if case.task == "epoch":  # GLMClassifier.fit standardises columns, SGDClassifier does not
            X = (X - X.mean(axis=0)) / X.std(axis=0)
    z = X @ coef - 0.5
    if case.rule == "gaussian":
        return X, z + rng.standard_normal(case.rows), case.rows**-0.5
    if case.rule == "poisson":
        mean = np.exp(z)
        return X, rng.poisson(mean).astype(float), mean.sum() ** -0.5
    mean = 1 / (1 + np.exp(-z))
    return X, (rng.random(case.rows) < mean).astype(float), (mean * (1 - mean)).sum() ** -0.5


def whole(fit: Fit, case: Case) -> Made:
    """Return a call that fits all rows, and the coefficients of its last fit."""
    X, y, stderr = drawn(case)
    unit = stderr if case.task == "fit" else 1.0
    found = np.empty(0)

    def call(X: Any = X, y: np.ndarray = y) -> None:
        nonlocal found
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # one epoch is no convergence
            found = fit(case.rule, X, y)

    call(X[:FEW], y[:FEW])
    return call, 1, lambda: found / unit


def row_by_row(make: Learner, case: Case) -> Made:
    """Return a call that learns from all rows one at a time.

    The model has learnt from all of them at once before, or from none.
    """
    X, y, _ = drawn(case)
    learn, as_dicts = make(case.rule, X, y)
    rows: Iterable[Any]
    if as_dicts:
        rows = [dict(enumerate(x)) for x in X.tolist()]
        targets: Iterable[Any] = y.tolist()
    else:
        rows, targets = list(X[:, None]), list(y[:, None])
    pairs = list(zip(rows, targets, strict=True))

    def call() -> None:
        for x, target in pairs:
            learn(x, target)

    return call, case.rows, None


# Maximum likelihood


def ours(family: str, X: Any, y: np.ndarray, tol: float | None = None) -> np.ndarray:
    from fastopt.estimators import GLMClassifier, GLMRegressor

    is_binary = family == "binomial"
    model: Any = GLMClassifier(tol=tol) if is_binary else GLMRegressor(family, tol=tol)
    model.fit(X, y)
    return _with_errors(np.append(model.intercept_, model.coef_), model.stderr_)


def in_sklearn(family: str, X: Any, y: np.ndarray) -> np.ndarray:
    from sklearn.linear_model import LinearRegression, LogisticRegression, PoissonRegressor

    model = {
        "binomial": LogisticRegression(C=np.inf, solver="newton-cholesky"),
        "poisson": PoissonRegressor(alpha=0, solver="newton-cholesky"),
        "gaussian": LinearRegression(),
    }[family].fit(X, y)
    return np.append(model.intercept_, model.coef_)


def in_statsmodels(family: str, X: Any, y: np.ndarray) -> np.ndarray:
    import statsmodels.api as sm

    design = sm.add_constant(X)
    if family == "gaussian":
        found = sm.OLS(y, design).fit()
    else:
        kinds = {"binomial": sm.families.Binomial, "poisson": sm.families.Poisson}
        found = sm.GLM(y, design, family=kinds[family]()).fit()
    return _with_errors(found.params, found.bse)


def in_glum(family: str, X: Any, y: np.ndarray, has_errors: bool = False) -> np.ndarray:
    from glum import GeneralizedLinearRegressor

    model = GeneralizedLinearRegressor(family=family, alpha=0).fit(X, y)
    coef = np.append(model.intercept_, model.coef_)
    return _with_errors(coef, model.std_errors(X, y)) if has_errors else coef


def _with_errors(coef: np.ndarray, stderr: np.ndarray) -> np.ndarray:
    """Return the coefficients if there are standard errors."""
    if not np.all(np.asarray(stderr) > 0):
        raise ValueError("a standard error is not positive")
    return coef


# One epoch in the order of the rows


def our_epoch(family: str, X: Any, y: np.ndarray, is_partial: bool = False) -> np.ndarray:
    from fastopt.estimators import GLMClassifier

    model = GLMClassifier(
        solver="sgd", eta0=ETA0, alpha=ALPHA, max_iter=1, shuffle=False,
        fit_intercept=not sparse.issparse(X),
    )  # fmt: skip
    if is_partial:
        model.partial_fit(X, y, classes=np.arange(2.0))
    else:
        model.fit(X, y)
    return np.append(model.intercept_, model.coef_)


def epoch_in_sklearn(family: str, X: Any, y: np.ndarray) -> np.ndarray:
    from sklearn.linear_model import SGDClassifier

    model = SGDClassifier(
        "log_loss", learning_rate="constant", eta0=ETA0, alpha=ALPHA, max_iter=1, tol=None,
        shuffle=False, fit_intercept=not sparse.issparse(X),
    ).fit(X, y)  # fmt: skip
    return np.append(model.intercept_, model.coef_)


# Rows one at a time


def our_filter(family: str, X: np.ndarray, y: np.ndarray) -> tuple[Learn, bool]:
    from fastopt.estimators import KalmanClassifier, KalmanRegressor

    model: Any = KalmanClassifier() if family == "binomial" else KalmanRegressor(family)
    return model.fit(X, y).partial_fit, False


def sgd_in_sklearn(family: str, X: np.ndarray, y: np.ndarray) -> tuple[Learn, bool]:
    from sklearn.linear_model import SGDClassifier, SGDRegressor

    model: Any = SGDClassifier("log_loss") if family == "binomial" else SGDRegressor()
    return model.fit(X, y).partial_fit, False


def sgd_in_river(family: str, X: np.ndarray, y: np.ndarray) -> tuple[Learn, bool]:
    from river import linear_model

    is_binary = family == "binomial"
    model: Any = (linear_model.LogisticRegression if is_binary else linear_model.LinearRegression)()
    return model.learn_one, True


def bayesian_in_river(family: str, X: np.ndarray, y: np.ndarray) -> tuple[Learn, bool]:
    from river import linear_model

    return linear_model.BayesianLinearRegression().learn_one, True


FITS: dict[str, Fit] = {
    FASTOPT: ours,
    FASTOPT_COARSE: partial(ours, tol=0.01),
    "scikit-learn": in_sklearn,
    "statsmodels": in_statsmodels,
    "glum": in_glum,
    "glum, errors": partial(in_glum, has_errors=True),
}
EPOCHS: dict[str, Fit] = {
    FASTOPT: our_epoch,
    FASTOPT_PARTIAL: partial(our_epoch, is_partial=True),
    "scikit-learn": epoch_in_sklearn,
}
ONLINE: dict[str, Learner] = {
    FASTOPT: our_filter,
    "scikit-learn": sgd_in_sklearn,
    "river": sgd_in_river,
    "river Bayesian": bayesian_in_river,
}


def makers(case: Case) -> dict[str, Callable[[Case], Made]]:
    """Return for each library the function that makes the call of a case."""
    if case.task == "online":
        absent = "river Bayesian" if case.rule == "binomial" else ""  # it is for gaussian rows
        return {name: partial(row_by_row, make) for name, make in ONLINE.items() if name != absent}
    fits = EPOCHS if case.task == "epoch" else FITS
    # For the gaussian one round is exact, and standard errors take glum 10 s at 500 columns.
    absent = (FASTOPT_COARSE, "glum, errors") if case.rule == "gaussian" else ()
    return {name: partial(whole, fit) for name, fit in fits.items() if name not in absent}
