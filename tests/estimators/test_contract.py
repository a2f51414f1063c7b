"""scikit-learn's own checks of estimators."""

import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

from fastopt.estimators import GLMClassifier, GLMRegressor

BY_EPOCHS = [
    GLMRegressor(solver="adam"),
    GLMRegressor("poisson", solver="sgd", alpha=0.01, batch_size=4),
    GLMClassifier(solver="ftrl", alpha=0.01, l1_ratio=0.5),
    GLMClassifier(solver="momentum", alpha=0.01, early_stopping=True),
]
# As for SGDClassifier: a row that is left out, or that is there twice, changes the order of steps.
NOT_BY_STEPS = {
    f"check_sample_weight_equivalence_on_{kind}_data": "steps depend on the order of the rows"
    for kind in ("dense", "sparse")
}

ESTIMATORS = [
    GLMRegressor(),
    GLMRegressor("poisson"),
    GLMRegressor("gamma", alpha=0.1, l1_ratio=0.5),
    GLMClassifier(),
    GLMClassifier("cloglog", alpha=0.01),
    GLMClassifier(alpha=0.01, l1_ratio=0.5),
    *BY_EPOCHS,
]


@pytest.mark.filterwarnings("ignore")
@parametrize_with_checks(
    ESTIMATORS, expected_failed_checks=lambda own: NOT_BY_STEPS if own in BY_EPOCHS else {}
)
def test_scikit_learn_checks(estimator, check):
    check(estimator)
