"""Low precision learns: steps smaller than the rounding error add up."""

import ml_dtypes
import numpy as np
import pytest

import fastopt
from fastopt.cli.race.data.load import load
from fastopt.cli.race.problem import pose

BF16 = np.dtype(ml_dtypes.bfloat16)


@pytest.mark.parametrize("dtype", [np.dtype(np.float16), BF16], ids=str)
def test_small_steps_add_up(dtype):
    """10,000 steps of 1e-3 from 1; rounded to nearest, bfloat16 would not change at all."""
    w, g = np.ones(100_000, dtype), np.ones(100_000, dtype)
    near = np.ones(10, dtype)
    opt = fastopt.SGD(w, lr=1e-3, rounding="stochastic")
    still = fastopt.SGD(near, lr=1e-3)
    for _ in range(10_000):
        opt.step(g)
        still.step(g[:10])
    assert w.astype(np.float64).mean() == pytest.approx(-9.0, rel=0.01)
    if dtype == BF16:
        assert (near == 1).all()


def accuracy(seed, **options):
    """Return the accuracy of the race's network on held-out rows of handwritten digits."""
    problem = pose(load(None), "mlp", seed)
    params = problem.model.init(seed=seed, dtype=np.float32)
    opt = fastopt.Adam(params, lr=0.005, **options)
    batches = fastopt.Batches(*problem.train, batch_size=32, seed=seed)
    for _ in range(4):
        for X, y in batches:
            opt.step(problem.model.loss_and_grad(params, X, y)[1])
    return problem.model.score(params, *problem.held_out)


def test_network_learns_as_well_with_bfloat16_state():
    """Mean of five seeds, within half a point."""
    full = np.mean([accuracy(seed) for seed in range(5)])
    moments = np.mean([accuracy(seed, state_dtype="bfloat16") for seed in range(5)])
    assert full > 0.94
    assert abs(moments - full) <= 0.005
