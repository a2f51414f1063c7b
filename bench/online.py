"""Online regression beside scikit-learn and river: python -m bench.online.

Options: --columns 20 --rows 20000.  Each row of the table is one model that absorbs all rows of a
logistic or a least-squares problem, 1 or 32 at a time.  Times are microseconds for a call, the
median of five passes in turn; the first 2048 rows are not timed.  "distance" is that of the
coefficients from the maximum of the likelihood, in standard errors, root mean square.  Numbers of
threads are those of the environment: OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1.
"""

from __future__ import annotations

import argparse
import statistics
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn.linear_model import SGDClassifier, SGDRegressor

from fastopt.estimators import GLMRegressor, KalmanClassifier, KalmanRegressor

FIRST = 2048  # rows before the clock starts
ROUNDS = 5


class River:
    """A linear model of river under the interface of scikit-learn."""

    def __init__(self, model: Any, at_once: int) -> None:
        self.model, self.at_once = model, at_once

    def partial_fit(self, X: np.ndarray, y: np.ndarray, classes: Any = None) -> None:
        if self.at_once > 1:
            import pandas as pd

            self.model.learn_many(pd.DataFrame(X), pd.Series(y))
            return
        for x, target in zip(X, y, strict=True):
            self.model.learn_one(dict(enumerate(x)), target)

    @property
    def coef_(self) -> np.ndarray:
        return np.array([self.model.weights[j] for j in range(len(self.model.weights))])


def models(is_logistic: bool, at_once: int) -> dict[str, Callable[[], Any]]:
    """Return the models by name; those of river only if it is installed."""
    own = KalmanClassifier if is_logistic else KalmanRegressor
    theirs = SGDClassifier(loss="log_loss") if is_logistic else SGDRegressor()
    found: dict[str, Callable[[], Any]] = {
        own.__name__: own,
        type(theirs).__name__: lambda: type(theirs)(**theirs.get_params()),
    }
    try:
        from river import linear_model
    except ImportError:
        return found
    kind = linear_model.LogisticRegression if is_logistic else linear_model.LinearRegression
    return {**found, f"river {kind.__name__}": lambda: River(kind(), at_once)}


def pass_of(model: Any, X: np.ndarray, y: np.ndarray, at_once: int, is_logistic: bool) -> float:
    """Absorb all rows; return the microseconds of a call."""
    classes = {"classes": [0.0, 1.0]} if is_logistic else {}
    model.partial_fit(X[:FIRST], y[:FIRST], **classes)
    parts = [(X[i : i + at_once], y[i : i + at_once]) for i in range(FIRST, len(y), at_once)]
    start = time.perf_counter()
    for x, target in parts:
        model.partial_fit(x, target)
    return (time.perf_counter() - start) / len(parts) * 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--columns", type=int, default=20)
    parser.add_argument("--rows", type=int, default=20_000)
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    rng = np.random.default_rng(0)
    X = rng.normal(size=(given.rows, given.columns))
    z = X @ rng.normal(size=given.columns) / given.columns**0.5
    problems = {
        "logistic": (rng.random(given.rows) < 1 / (1 + np.exp(-z))).astype(float),
        "gaussian": z + rng.normal(size=given.rows),
    }
    print(f"{'problem':<10}{'rows':>5}  {'model':<26}{'us a call':>10}{'distance':>10}")
    for problem, y in problems.items():
        is_logistic = problem == "logistic"
        best = GLMRegressor("binomial" if is_logistic else "gaussian").fit(X, y)
        for at_once in (1, 32):
            makers = models(is_logistic, at_once)
            times: dict[str, list[float]] = {name: [] for name in makers}
            apart = {}
            for _ in range(ROUNDS):
                for name, make in makers.items():
                    model = make()
                    times[name].append(pass_of(model, X, y, at_once, is_logistic))
                    errors = (np.ravel(model.coef_) - best.coef_) / best.stderr_
                    apart[name] = float(np.sqrt(np.mean(errors**2)))
            for name, own in times.items():
                time_of = statistics.median(own)
                print(f"{problem:<10}{at_once:>5}  {name:<26}{time_of:>10.1f}{apart[name]:>10.2g}")


if __name__ == "__main__":
    main()
