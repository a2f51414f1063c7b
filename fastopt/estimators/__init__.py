"""Generalized linear models with standard errors, from data of any size, as scikit-learn has them.

| module | what it answers |
|---|---|
| `glm_regressor` | `GLMRegressor`: a mean for each row |
| `glm_classifier` | `GLMClassifier`: labels of two or more classes |
| `kalman_regressor` | `KalmanRegressor`: a filter of rows as they come |
| `kalman_classifier` | `KalmanClassifier`: the same with class labels |
| `dask` | the same models for collections of Dask |
| `scores` | `score` of regressors and of classifiers, for rows of any kind |
| `base` | what the estimators share with scikit-learn: checks, attributes, warnings |
| `scoring` | maximum likelihood by Fisher scoring, from sums over blocks of rows |
| `inference` | standard errors, tests and summaries of a fit, without its rows |
| `epochs` | fits by epochs of an update rule |
| `kalman` | what the Kalman estimators share |
| `sources` | the kinds of data that a fit reads, one module each |
| `extras` | optional libraries, imported where they are used |
| `_glm` | the Cython boundary of `csrc/glm` |
| `_epochs` | the boundary of csrc/epochs |
"""

try:
    import sklearn as _sklearn  # noqa: F401
except ImportError as error:
    raise ImportError(
        "fastopt.estimators needs scikit-learn; from a checkout: pip install '.[estimators]'"
    ) from error

from fastopt.estimators.base import SeparationWarning
from fastopt.estimators.glm_classifier import GLMClassifier
from fastopt.estimators.glm_regressor import GLMRegressor
from fastopt.estimators.kalman_classifier import KalmanClassifier
from fastopt.estimators.kalman_regressor import KalmanRegressor
from fastopt.estimators.scoring.moments import Moments, moments
from fastopt.estimators.sources.block import Block

__all__ = [
    "Block",
    "GLMClassifier",
    "GLMRegressor",
    "KalmanClassifier",
    "KalmanRegressor",
    "Moments",
    "SeparationWarning",
    "moments",
]
