"""Every step of every rule against Keras, in float64.

Keras runs on its JAX backend: of the others, all but TensorFlow round products to float32.
"""

import os

os.environ["KERAS_BACKEND"] = "jax"  # read when Keras is imported

import jax
import keras
import numpy as np
import pytest
from peers.side_by_side import START, assert_same_path

import fastopt

jax.config.update("jax_enable_x64", True)
keras.config.set_floatx("float64")  # also for its learning rate and constants

DECAY = {"weight_decay": 0.1}
MOMENTUM = {"momentum": 0.8}
BETAS = {"betas": (0.8, 0.95)}
B12 = {"beta_1": 0.8, "beta_2": 0.95}

# Rule and options of fastopt; class and options of Keras.
CASES = [
    ("sgd", {}, "SGD", {}),
    ("sgd", DECAY, "SGD", DECAY),
    ("sgd", MOMENTUM, "SGD", MOMENTUM),
    ("sgd", {**MOMENTUM, "nesterov": True}, "SGD", {**MOMENTUM, "nesterov": True}),
    ("momentum", {}, "SGD", {"momentum": 0.9}),
    ("nesterov", DECAY, "SGD", {"momentum": 0.9, "nesterov": True, **DECAY}),
    ("adagrad", {}, "Adagrad", {}),
    (
        "adagrad",
        {"initial_accumulator_value": 0.0, "eps": 0.01, **DECAY},
        "Adagrad",
        {"initial_accumulator_value": 0.0, "epsilon": 0.01, **DECAY},
    ),
    ("adadelta", {}, "Adadelta", {}),
    (
        "adadelta",
        {"rho": 0.7, "eps": 0.01, **DECAY},
        "Adadelta",
        {"rho": 0.7, "epsilon": 0.01, **DECAY},
    ),
    ("rmsprop", {}, "RMSprop", {}),
    (
        "rmsprop",
        {"alpha": 0.7, "eps": 0.01, **DECAY},
        "RMSprop",
        {"rho": 0.7, "epsilon": 0.01, **DECAY},
    ),
    ("rmsprop", {"centered": True}, "RMSprop", {"centered": True}),
    ("rmsprop", MOMENTUM, "RMSprop", MOMENTUM),
    (
        "rmsprop",
        {**MOMENTUM, "centered": True, "eps": 0.01, **DECAY},
        "RMSprop",
        {**MOMENTUM, "centered": True, "epsilon": 0.01, **DECAY},
    ),
    ("adam", {}, "Adam", {}),
    ("adam", {**BETAS, "eps": 0.01, **DECAY}, "Adam", {**B12, "epsilon": 0.01, **DECAY}),
    ("adam", {**BETAS, "amsgrad": True}, "Adam", {**B12, "amsgrad": True}),
    ("amsgrad", {"eps": 0.01}, "Adam", {"amsgrad": True, "epsilon": 0.01}),
    ("adamw", {}, "AdamW", {}),
    (
        "adamw",
        {**BETAS, "eps": 0.01, "amsgrad": True, **DECAY},
        "AdamW",
        {**B12, "epsilon": 0.01, "amsgrad": True, **DECAY},
    ),
    ("adamax", {}, "Adamax", {}),
    ("adamax", {**BETAS, "eps": 0.01, **DECAY}, "Adamax", {**B12, "epsilon": 0.01, **DECAY}),
    ("nadam", {}, "Nadam", {}),
    ("nadam", {**BETAS, "eps": 0.01, **DECAY}, "Nadam", {**B12, "epsilon": 0.01, **DECAY}),
]

CLASS_OF = {name: keras_class for name, _, keras_class, _ in CASES}
OPTIONS_OF_NAMES = {"momentum", "nesterov", "amsgrad"}


@pytest.mark.parametrize(
    ("name", "options", "keras_options"),
    [(name, options, theirs) for name, options, _, theirs in CASES],
    ids=[f"{name}-{'-'.join(options)}" for name, options, *_ in CASES],
)
def test_spellings_of_keras_mean_the_same(name, options, keras_options):
    if name in ("momentum", "nesterov", "amsgrad"):  # names that Keras has as options
        keras_options = {k: v for k, v in keras_options.items() if k not in OPTIONS_OF_NAMES}
    made = fastopt.create(
        name, START.copy(), convention="keras", learning_rate=0.3, **keras_options
    )
    ours = fastopt.create(name, START.copy(), convention="keras", lr=0.3, **options)
    assert made.param_groups[0].options == ours.param_groups[0].options
    getattr(keras.optimizers, CLASS_OF[name])(learning_rate=0.3, **keras_options)


@pytest.mark.parametrize("lr", [None, 0.1], ids=["default-lr", "lr"])
@pytest.mark.parametrize(
    ("name", "options", "keras_class", "keras_options"),
    CASES,
    ids=[f"{name}-{'-'.join(options)}" for name, options, *_ in CASES],
)
def test_same_path_as_keras(name, options, keras_class, keras_options, lr):
    w = START.copy()
    if lr is None:
        opt = fastopt.create(name, w, convention="keras", **options)
        peer = getattr(keras.optimizers, keras_class)(**keras_options)
    else:
        opt = fastopt.create(name, w, convention="keras", lr=lr, **options)
        peer = getattr(keras.optimizers, keras_class)(learning_rate=lr, **keras_options)
    assert opt.lr == float(peer.learning_rate)
    theirs = keras.Variable(START, dtype="float64")
    peer.build([theirs])

    def peer_step(g, rate):
        peer.learning_rate = rate
        peer.apply([g], [theirs])
        return np.asarray(theirs.value)

    # Both compute in float64; they differ in the order of a few roundings per step.
    assert_same_path(opt, w, peer_step, opt.lr, 1e-13)
