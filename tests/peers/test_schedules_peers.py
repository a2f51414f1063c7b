"""The schedules equal those of torch.optim.lr_scheduler, optax and Keras at every step."""

import os

os.environ["KERAS_BACKEND"] = "jax"  # read when Keras is imported

import jax
import keras
import numpy as np
import optax
import pytest
import torch
from keras.optimizers import schedules as of_keras
from torch.optim import lr_scheduler as of_torch

from fastopt import schedules as ours

jax.config.update("jax_enable_x64", True)
keras.config.set_floatx("float64")

STEPS = 60

TORCH = [
    (ours.multi_step(0.3, [3, 7, 20], 0.4), lambda opt: of_torch.MultiStepLR(opt, [3, 7, 20], 0.4)),
    (
        ours.cyclic(0.3, 0.02, 3, 5),
        lambda opt: of_torch.CyclicLR(opt, 0.02, 0.3, 3, 5, cycle_momentum=False),
    ),
    (
        ours.cyclic(0.3, 0.02, 4, mode="triangular2"),
        lambda opt: of_torch.CyclicLR(opt, 0.02, 0.3, 4, mode="triangular2", cycle_momentum=False),
    ),
    (
        ours.cyclic(0.3, 0.02, 3, 5, "exp_range", 0.9),
        lambda opt: of_torch.CyclicLR(
            opt, 0.02, 0.3, 3, 5, mode="exp_range", gamma=0.9, cycle_momentum=False
        ),
    ),
    (
        ours.cosine_restarts(0.3, 4, 2, 0.02),
        lambda opt: of_torch.CosineAnnealingWarmRestarts(opt, 4, 2, 0.02),
    ),
    (
        ours.join([ours.exponential(0.3, 0.9), ours.step_decay(0.3, 5, 0.5)], [13]),
        lambda opt: of_torch.SequentialLR(
            opt, [of_torch.ExponentialLR(opt, 0.9), of_torch.StepLR(opt, 5, 0.5)], [13]
        ),
    ),
]


@pytest.mark.parametrize(("schedule", "make"), TORCH, ids=[repr(s) for s, _ in TORCH])
@pytest.mark.filterwarnings("ignore::UserWarning")  # torch warns that there was no optimizer step
def test_torch(schedule, make):
    opt = torch.optim.SGD([torch.zeros(1)], lr=0.3)
    theirs = make(opt)
    for t in range(1, STEPS):
        assert schedule(t) == pytest.approx(opt.param_groups[0]["lr"], rel=1e-12, abs=1e-15)
        opt.step()
        theirs.step()


# A schedule, that of another library, and the number of steps by which the latter lags behind.
FUNCTIONS = [
    (ours.exponential(0.3, 0.7, 4), optax.exponential_decay(0.3, 4, 0.7), 0),
    (
        ours.exponential(0.3, 0.7, 4, True),
        optax.exponential_decay(0.3, 4, 0.7, staircase=True),
        0,
    ),
    (
        ours.multi_step(0.3, [3, 7, 20], 0.4),
        optax.piecewise_constant_schedule(0.3, {3: 0.4, 7: 0.4, 20: 0.4}),
        0,
    ),
    (
        ours.join([ours.exponential(0.3, 0.9), ours.cosine(0.2, 9), ours.constant(0.1)], [4, 20]),
        optax.join_schedules(
            [
                optax.exponential_decay(0.3, 1, 0.9),
                optax.cosine_decay_schedule(0.2, 9),
                optax.constant_schedule(0.1),
            ],
            [4, 20],
        ),
        0,
    ),
    (ours.exponential(0.3, 0.7, 4), of_keras.ExponentialDecay(0.3, 4, 0.7), 0),
    (ours.exponential(0.3, 0.7, 4, True), of_keras.ExponentialDecay(0.3, 4, 0.7, True), 0),
    (ours.inverse_time(0.3, 0.2, 1.0, 4), of_keras.InverseTimeDecay(0.3, 4, 0.2), 0),
    (ours.inverse_time(0.3, 0.2, 1.0, 4, True), of_keras.InverseTimeDecay(0.3, 4, 0.2, True), 0),
    (
        ours.piecewise_constant([3, 7], [0.1, 0.3, 0.0]),
        of_keras.PiecewiseConstantDecay([3, 7], [0.1, 0.3, 0.0]),
        1,
    ),
    (
        ours.cosine_restarts(0.3, 4, 1.7, 0.03, 0.8),
        of_keras.CosineDecayRestarts(0.3, 4, t_mul=1.7, m_mul=0.8, alpha=0.1),
        0,
    ),
    (
        ours.cosine_restarts(0.3, 4, 1, 0.03, 0.8),
        of_keras.CosineDecayRestarts(0.3, 4, t_mul=1.0, m_mul=0.8, alpha=0.1),
        0,
    ),
]


@pytest.mark.parametrize(
    ("schedule", "theirs", "late"), FUNCTIONS, ids=[repr(s) for s, *_ in FUNCTIONS]
)
def test_optax_and_keras(schedule, theirs, late):
    for t in range(1, STEPS):
        their_lr = float(theirs(jax.numpy.asarray(t - 1 + late, "float64")))
        assert schedule(t) == pytest.approx(their_lr, rel=1e-6, abs=1e-9)


@pytest.mark.parametrize(
    "options",
    [
        {"patience": 2},
        {"patience": 0, "cooldown": 3},
        {"patience": 1, "threshold": 0.05},
        {"patience": 1, "threshold": 0.3, "threshold_mode": "abs", "cooldown": 1},
        {"patience": 3, "mode": "max"},
    ],
    ids=str,
)
def test_plateau_of_torch(options):
    """The losses have noise and spikes in both directions."""
    opt = torch.optim.SGD([torch.zeros(1)], lr=0.3)
    theirs = of_torch.ReduceLROnPlateau(opt, factor=0.5, eps=0.0, **options)
    schedule = ours.ReduceOnPlateau(0.3, factor=0.5, **options)
    rng = np.random.default_rng(0)
    metrics = 5 / np.arange(1, 101) + rng.uniform(0, 1, 100)
    metrics[[20, 60]] = 50.0, 1e-3
    for metric in metrics:
        theirs.step(metric)
        schedule.report(metric)
        assert schedule(1) == opt.param_groups[0]["lr"]
    assert schedule(1) < 0.3
