"""A source that computes its sums elsewhere gives the fit of the same rows in one array."""

import pickle
from copy import deepcopy
from functools import reduce
from itertools import pairwise

import numpy as np
import pytest

from fastopt.estimators import Block
from fastopt.estimators.scoring import columns as of_columns
from fastopt.estimators.scoring.columns import columns_of
from fastopt.estimators.scoring.fitting import fit_source
from fastopt.estimators.scoring.model import model_of
from fastopt.estimators.scoring.problem import Options
from fastopt.estimators.sources.array import ArraySource

RNG = np.random.default_rng(11)
N = 400
X = RNG.normal(size=(N, 3)) + 5.0
Y = RNG.poisson(np.exp(0.2 * X[:, 0] - 1.0)).astype(float)
WHOLE = Block(X, Y, RNG.random(N), 0.1 * X[:, 1], np.tile([1.0, 0.0, 2.0, 1.0], N // 4))
ENDS = (0, 7, 7, 60, 61, 200, 390, N)  # one part is empty


class Elsewhere:
    """Blocks of other processes: functions and results are pickled."""

    n_features = 3
    feature_names = None

    def __init__(self, block):
        self.parts = [block.part(slice(a, b)) for a, b in pairwise(ENDS)]

    def reduced(self, function, combine):
        def sent(value):
            return pickle.loads(pickle.dumps(value))

        return reduce(combine, [sent(sent(function)(part)) for part in self.parts])


@pytest.mark.parametrize(
    ("family", "fit_intercept", "options"),
    [
        ("poisson", True, {}),
        ("poisson", False, {"cov_type": "HC1"}),
        ("gaussian", True, {"cov_type": "HC0"}),
        ("tweedie", True, {}),
        ("negative_binomial", True, {"alpha": 0.1, "l1_ratio": 0.5}),
    ],
)
def test_the_fit_is_that_of_one_array(family, fit_intercept, options):
    model = model_of(family, fit_intercept=fit_intercept)
    own = fit_source(Elsewhere(WHOLE), model, Options(**options)).fitted
    whole = fit_source(ArraySource(WHOLE), model, Options(**options)).fitted
    for name in ("coef", "information", "deviance", "null_deviance", "llf", "llnull", "n", "scale"):
        np.testing.assert_allclose(
            getattr(own, name), getattr(whole, name), rtol=1e-8, atol=1e-9, err_msg=name
        )
    np.testing.assert_allclose(own.centred_covariance, whole.centred_covariance, rtol=1e-7)


@pytest.mark.parametrize("numbers", [2**20, 60, 1])
def test_columns_of_parts_are_those_of_the_whole(numbers, monkeypatch):
    monkeypatch.setattr(of_columns, "SAMPLE_NUMBERS", numbers)
    monkeypatch.setattr(of_columns, "STRIDE", 2)
    source = Elsewhere(WHOLE)
    own, whole = (columns_of(s, model_of("poisson")) for s in (source, ArraySource(WHOLE)))
    for name in ("n", "weight", "mean", "reach", "y_mean", "offset_mean", "saturated"):
        np.testing.assert_allclose(getattr(own, name), getattr(whole, name), rtol=1e-12)
    assert not own.has_labels
    rows = {tuple(row) for row in X}
    assert all(tuple(row) in rows for row in own.sample.x)
    assert len({tuple(row) for row in own.sample.x}) == own.sample.n >= 100


@pytest.mark.parametrize("sizes", [(40, 3000), (3000, 40), (3000, 3000)])
def test_samples_of_parts_are_thinned_to_one_stride(sizes, monkeypatch):
    first, second = of_columns._Sample(1), of_columns._Sample(1)
    monkeypatch.setattr(first, "most", 64)
    monkeypatch.setattr(second, "most", 64)
    for sample, n in zip((first, second), sizes, strict=True):
        sample.stride = 1
        rows = np.arange(float(n))
        for start in range(0, n, 50):
            own = slice(start, start + 50)
            sample.add(Block(rows[own, None], rows[own]))
    first.merge(deepcopy(second))
    whole = first.whole()
    assert whole.n <= 64
    assert first.position == sum(sizes)
    steps = np.diff(whole.y)
    assert (steps[steps > 0] == first.stride).all()
