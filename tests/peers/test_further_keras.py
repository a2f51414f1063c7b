"""Every step of further rules against Keras, in float64 on its JAX backend."""

import os

os.environ["KERAS_BACKEND"] = "jax"  # read when Keras is imported

import jax
import keras
import numpy as np
import pytest
from peers.side_by_side import GRADS, START, assert_same_path

import fastopt

jax.config.update("jax_enable_x64", True)
keras.config.set_floatx("float64")

DECAY = {"weight_decay": 0.1}
B12 = {"beta_1": 0.8, "beta_2": 0.95}
PENALTIES = {
    "l1_regularization_strength": 0.1,
    "l2_regularization_strength": 0.2,
    "l2_shrinkage_regularization_strength": 0.3,
}

# Class and options of Keras, whose spellings create() takes too; the tolerance.
CASES = [
    ("Lion", {}, 1e-13),
    ("Lion", {**B12, **DECAY}, 1e-13),
    ("Ftrl", {}, 1e-13),
    ("Ftrl", {**PENALTIES, "initial_accumulator_value": 0.5, "beta": 0.4}, 1e-13),
    ("Lamb", {}, 1e-13),
    ("Lamb", {**B12, "epsilon": 0.01, **DECAY}, 1e-13),
    ("Adafactor", {}, 1e-6),  # the mean of Keras rounds to float32
    (
        "Adafactor",
        {"beta_2_decay": -0.7, "epsilon_1": 0.01, "epsilon_2": 2.0, "clip_threshold": 1.1},
        1e-6,
    ),
    # Keras adds its 1e-7 to the norm, fastopt takes the larger of the two.
    ("Muon", {}, 1e-8),
    (
        "Muon",
        {"momentum": 0.8, "nesterov": False, "ns_steps": 4, **DECAY}
        | {"muon_a": 3.0, "muon_b": -4.0, "muon_c": 2.0},
        1e-6,
    ),
]
IDS = [f"{name}-{'-'.join(options)}" for name, options, _ in CASES]


def stepper(peer, start):
    """Return a function that takes a step of an optimizer of Keras."""
    theirs = keras.Variable(start, dtype="float64")
    peer.build([theirs])

    def step(g, rate):
        peer.learning_rate = rate
        peer.apply([g], [theirs])
        return np.asarray(theirs.value)

    return step


@pytest.mark.parametrize("lr", [None, 0.1], ids=["default-lr", "lr"])
@pytest.mark.parametrize(("name", "options", "tolerance"), CASES, ids=IDS)
def test_same_path_as_keras(name, options, tolerance, lr):
    w = START.copy()
    rate = {} if lr is None else {"learning_rate": lr}
    opt = fastopt.create(name, w, convention="keras", **rate, **options)
    peer = getattr(keras.optimizers, name)(**rate, **options)
    assert opt.lr == float(peer.learning_rate)
    assert_same_path(opt, w, stepper(peer, START), opt.lr, tolerance)


def test_vectors_of_muon_are_updated_by_adamw():
    """Keras puts the epsilon of its AdamW elsewhere, which matters less the smaller it is."""
    options = {"adam_beta_1": 0.8, "adam_beta_2": 0.95, "adam_weight_decay": 0.1, "epsilon": 1e-14}
    w = START[0].copy()
    opt = fastopt.create("muon", w, convention="keras", learning_rate=0.1, **options)
    step = stepper(keras.optimizers.Muon(learning_rate=0.1, **options), START[0])
    for g in GRADS[:, 1]:
        opt.step(g)
        assert np.abs(w - step(g, 0.1)).max() < 1e-9
    assert np.abs(w - START[0]).max() > 0.1
