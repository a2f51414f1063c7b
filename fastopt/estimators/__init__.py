"""Generalized linear models with standard errors, from data of any size, as scikit-learn has them.

| module | what it answers |
|---|---|
| `glm_regressor` | `GLMRegressor`: a mean for each row |
| `glm_classifier` | `GLMClassifier`: labels of two or more classes |
| `kalman_regressor` | `KalmanRegressor`: a filter of rows as they come |
| `kalman_classifier` | `KalmanClassifier`: the same with class labels |
| `kalman_base` | what these two share |
| `online` | `OnlineFilter`: a filter with an intercept, whose first rows determine its prior |
| `base` | what the estimators share with scikit-learn: checks, attributes, warnings |
| `reporting` | `Inference`: standard errors, tests and summaries of the estimators |
| `inference` | standard errors, intervals and tests of a fit |
| `restrictions` | linear restrictions written as equations |
| `robust` | robust covariances: HC0 to HC3 and clusters |
| `rows` | the rows of a block at the coefficients of a fit |
| `likelihood` | log-likelihoods from sums |
| `summary` | the printed summary: statsmodels' own, or a table here |
| `statsmodels_results` | a fit as statsmodels' GLMResults, without rows |
| `statsmodels_mnlogit` | a multinomial fit as statsmodels' MultinomialResults, without rows |
| `extras` | optional libraries, imported where they are used |
| `fitted` | `Fitted`: what is known of a fitted model when its rows are gone |
| `fitting` | how a model is fitted to a source, and the record of the fit |
| `problem` | `Problem`: a model with its data as scoring sees them |
| `scoring` | Fisher scoring from sums, with or without a penalty |
| `columns` | the first pass: means and ranges of the columns, a sample of the rows |
| `moments` | the sums over a block of rows that a round needs |
| `_glm` | the Cython boundary of `csrc/glm` |
| `multinomial` | the same for several classes |
| `model` | a family with its link and parameter |
| `by_epochs` | what `fit` and `partial_fit` do with a solver that takes epochs |
| `epoch_fit` | how a model is fitted by epochs: order, losses, when it ends |
| `epochs` | the steps of an update rule on rows, and their state |
| `_epochs` | the boundary of csrc/epochs |
| `sparse` | the sums over the rows of a CSR matrix |
| `source` | `Source`: what a fit reads |
| `sources` | the kinds of data that a fit reads, one module each |
| `block` | `Block`: a block of rows |
| `dask` | the same models for collections of Dask |
"""

try:
    import sklearn as _sklearn  # noqa: F401
except ImportError as error:
    raise ImportError(
        "fastopt.estimators needs scikit-learn: pip install 'fastopt[estimators]'"
    ) from error

from fastopt.estimators.base import SeparationWarning
from fastopt.estimators.block import Block
from fastopt.estimators.glm_classifier import GLMClassifier
from fastopt.estimators.glm_regressor import GLMRegressor
from fastopt.estimators.kalman_classifier import KalmanClassifier
from fastopt.estimators.kalman_regressor import KalmanRegressor
from fastopt.estimators.moments import Moments, moments

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
