"""Every step of every rule against optax, in float64."""

import jax
import jax.numpy as jnp
import optax
import pytest
from peers.side_by_side import LR_FACTORS, START, assert_same_path

import fastopt

jax.config.update("jax_enable_x64", True)

MOMENTUM = {"momentum": 0.8}
BETAS = {"betas": (0.8, 0.95)}
B12 = {"b1": 0.8, "b2": 0.95}

# Rule and options of fastopt; alias and options of optax, without the learning rate.
CASES = [
    ("sgd", {}, optax.sgd, {}),
    ("sgd", MOMENTUM, optax.sgd, MOMENTUM),
    ("momentum", {}, optax.sgd, {"momentum": 0.9}),
    ("nesterov", {}, optax.sgd, {"momentum": 0.9, "nesterov": True}),
    ("nesterov", MOMENTUM, optax.sgd, {**MOMENTUM, "nesterov": True}),
    ("adagrad", {}, optax.adagrad, {}),
    (
        "adagrad",
        {"initial_accumulator_value": 0.0, "eps": 0.01},
        optax.adagrad,
        {"initial_accumulator_value": 0.0, "eps": 0.01},
    ),
    ("adadelta", {}, optax.adadelta, {}),
    (
        "adadelta",
        {"rho": 0.7, "eps": 1e-3, "weight_decay": 0.1},
        optax.adadelta,
        {"rho": 0.7, "eps": 1e-3, "weight_decay": 0.1},
    ),
    ("rmsprop", {}, optax.rmsprop, {}),
    ("rmsprop", {"alpha": 0.7, "eps": 0.01}, optax.rmsprop, {"decay": 0.7, "eps": 0.01}),
    (
        "rmsprop",
        {"eps": 0.01, "eps_root": 0.0},
        optax.rmsprop,
        {"eps": 0.01, "eps_in_sqrt": False},
    ),
    (
        "rmsprop",
        {"initial_accumulator_value": 0.2},
        optax.rmsprop,
        {"initial_scale": 0.2},
    ),
    ("rmsprop", {"bias_correction": True}, optax.rmsprop, {"bias_correction": True}),
    ("rmsprop", {"centered": True}, optax.rmsprop, {"centered": True}),
    (
        "rmsprop",
        {"centered": True, "eps": 0.01, "eps_root": 0.0},
        optax.rmsprop,
        {"centered": True, "eps": 0.01, "eps_in_sqrt": False},
    ),
    ("rmsprop", MOMENTUM, optax.rmsprop, MOMENTUM),
    (
        "rmsprop",
        {**MOMENTUM, "nesterov": True},
        optax.rmsprop,
        {**MOMENTUM, "nesterov": True},
    ),
    (
        "rmsprop",
        {**MOMENTUM, "nesterov": True, "bias_correction": True, "eps": 0.01, "eps_root": 0.0},
        optax.rmsprop,
        {**MOMENTUM, "nesterov": True, "bias_correction": True, "eps": 0.01}
        | {"eps_in_sqrt": False},
    ),
    (
        "rmsprop",
        {**MOMENTUM, "centered": True, "bias_correction": True, "eps": 0.01}
        | {"initial_accumulator_value": 0.2, "nesterov": True},
        optax.rmsprop,
        {**MOMENTUM, "centered": True, "bias_correction": True, "eps": 0.01}
        | {"initial_scale": 0.2, "nesterov": True},
    ),
    ("adam", {}, optax.adam, {}),
    (
        "adam",
        {**BETAS, "eps": 0.01, "eps_root": 0.02},
        optax.adam,
        {**B12, "eps": 0.01, "eps_root": 0.02},
    ),
    ("adam", {"eps": 0.01}, optax.adam, {"eps": 0.01}),
    ("amsgrad", BETAS, optax.amsgrad, B12),
    (
        "amsgrad",
        {"eps": 0.01, "eps_root": 0.02},
        optax.amsgrad,
        {"eps": 0.01, "eps_root": 0.02},
    ),
    (
        "amsgrad",
        {**BETAS, "bias_correction": (False, True)},
        optax.amsgrad,
        {**B12, "bias_correction_mu": False},
    ),
    (
        "amsgrad",
        {**BETAS, "bias_correction": (True, False)},
        optax.amsgrad,
        {**B12, "bias_correction_nu": False},
    ),
    ("adamw", {}, optax.adamw, {}),
    (
        "adamw",
        {**BETAS, "weight_decay": 0.1, "eps": 0.01, "eps_root": 0.02},
        optax.adamw,
        {**B12, "weight_decay": 0.1, "eps": 0.01, "eps_root": 0.02},
    ),
    ("adamax", {}, optax.adamax, {}),
    ("adamax", {**BETAS, "eps": 0.01}, optax.adamax, {**B12, "eps": 0.01}),
    (
        "adamax",
        {"weight_decay": 0.1, "decoupled_weight_decay": True},
        optax.adamaxw,
        {"weight_decay": 0.1},
    ),
    ("nadam", {}, optax.nadam, {}),
    (
        "nadam",
        {**BETAS, "eps": 0.01, "eps_root": 0.02},
        optax.nadam,
        {**B12, "eps": 0.01, "eps_root": 0.02},
    ),
    (
        "nadam",
        {"weight_decay": 0.1, "decoupled_weight_decay": True},
        optax.nadamw,
        {"weight_decay": 0.1},
    ),
]


@pytest.mark.parametrize(
    ("name", "options", "alias", "optax_options"),
    CASES,
    ids=[f"{name}-{'-'.join(options)}" for name, options, *_ in CASES],
)
def test_same_path_as_optax(name, options, alias, optax_options):
    lr = 0.1
    w = START.copy()
    opt = fastopt.create(name, w, convention="optax", lr=lr, **options)
    rates = jnp.asarray(lr * LR_FACTORS)
    peer = alias(lambda count: rates[count], **optax_options)
    theirs = jnp.asarray(START)
    state = peer.init(theirs)
    update = jax.jit(peer.update)

    def peer_step(g, rate):
        nonlocal theirs, state
        del rate  # optax counts the steps itself
        updates, state = update(jnp.asarray(g), state, theirs)
        theirs = optax.apply_updates(theirs, updates)
        return theirs

    assert_same_path(opt, w, peer_step, lr, 1e-12)


def test_adadelta_without_a_learning_rate():
    """Without a learning rate, optax leaves out the minus sign too: it ascends, not descends."""
    w = START.copy()
    fastopt.create("adadelta", w, convention="optax").step(START)
    peer = optax.adadelta()
    theirs = jnp.asarray(START)
    climb, _ = peer.update(theirs, peer.init(theirs), theirs)
    assert abs(w - (START - climb)).max() <= 1e-12
