"""scikit-learn's own checks of estimators."""

import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

from fastopt.estimators import GLMClassifier, GLMRegressor

ESTIMATORS = [
    GLMRegressor(),
    GLMRegressor("poisson"),
    GLMRegressor("gamma", alpha=0.1, l1_ratio=0.5),
    GLMClassifier(),
    GLMClassifier("cloglog", alpha=0.01),
    GLMClassifier(alpha=0.01, l1_ratio=0.5),
]


@pytest.mark.filterwarnings("ignore")
@parametrize_with_checks(ESTIMATORS)
def test_scikit_learn_checks(estimator, check):
    check(estimator)
