"""Every step of the rules that torch.optim mostly lacks against optax and optax.contrib."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from optax import contrib
from peers.side_by_side import GRADS, LR_FACTORS, START, assert_same_path

import fastopt

jax.config.update("jax_enable_x64", True)

BETAS = {"betas": (0.8, 0.95)}
B12 = {"b1": 0.8, "b2": 0.95}
EPS = {"eps": 0.01, "eps_root": 0.02}

LARS = {"momentum": 0.8, "trust_coefficient": 0.1, "eps": 0.5, "weight_decay": 0.1}


def sm3(rate, momentum=0.9):
    """Return optax.sm3 with a learning rate that changes, which the alias does not take."""
    return optax.chain(optax.scale_by_sm3(momentum), optax.scale_by_learning_rate(rate))


# Rule and options of fastopt; alias and options of optax, without the learning rate.
CASES = [
    ("lion", {}, optax.lion, {}),
    ("lion", {**BETAS, "weight_decay": 0.1}, optax.lion, {**B12, "weight_decay": 0.1}),
    ("sign_sgd", {}, optax.sign_sgd, {}),
    ("radam", {}, optax.radam, {}),
    ("radam", {**BETAS, **EPS}, optax.radam, {**B12, **EPS}),
    ("radam", {"threshold": 6.5}, optax.radam, {"threshold": 6.5}),
    ("adabelief", {}, optax.adabelief, {}),
    ("adabelief", {**BETAS, **EPS}, optax.adabelief, {**B12, **EPS}),
    ("adabelief", {**EPS, "nesterov": True}, optax.adabelief, {**EPS, "nesterov": True}),
    ("yogi", {}, optax.yogi, {}),
    ("yogi", {**BETAS, "eps": 0.01}, optax.yogi, {**B12, "eps": 0.01}),
    ("adopt", {}, contrib.adopt, {}),
    ("adopt", {**BETAS, "eps": 0.01}, contrib.adopt, {**B12, "eps": 0.01}),
    ("adopt", {"clip_exp": None}, contrib.adopt, {"use_clipping": False}),
    ("ademamix", {}, contrib.ademamix, {}),
    (
        "ademamix",
        {"betas": (0.8, 0.95, 0.9), "alpha": 3.0, **EPS, "weight_decay": 0.1},
        contrib.ademamix,
        {**B12, "b3": 0.9, "alpha": 3.0, **EPS, "weight_decay": 0.1},
    ),
    ("lamb", {}, optax.lamb, {}),
    ("sm3", {}, sm3, {}),
    ("sm3", {"momentum": 0.5}, sm3, {"momentum": 0.5}),
    ("prodigy", {"d0": 0.1}, contrib.prodigy, {"estim_lr0": 0.1}),
    (
        "prodigy",
        {**BETAS, "d0": 0.01, "eps": 0.01, "weight_decay": 0.1, "beta3": 0.9, "d_coef": 2.0},
        contrib.prodigy,
        {**BETAS, "estim_lr0": 0.01, "eps": 0.01, "weight_decay": 0.1, "beta3": 0.9}
        | {"estim_lr_coef": 2.0},
    ),
    (
        "prodigy",
        {"d0": 0.1, "safeguard_warmup": True},
        contrib.prodigy,
        {"estim_lr0": 0.1, "safeguard_warmup": True},
    ),
    ("dog", {"reps_rel": 0.1}, contrib.dog, {"init_step": ("heuristic", 0.1)}),
    (
        "dog",
        {"reps_rel": 0.1, "eps": 0.01, "weight_decay": 0.1},
        contrib.dog,
        {"init_step": ("heuristic", 0.1), "eps": 0.01, "weight_decay": 0.1},
    ),
    ("novograd", {}, optax.novograd, {}),
    (
        "novograd",
        {"betas": (0.8, 0.5), **EPS, "weight_decay": 0.1},
        optax.novograd,
        {"b1": 0.8, "b2": 0.5, **EPS, "weight_decay": 0.1},
    ),
    ("lars", {}, optax.lars, {}),
    ("lars", {**LARS, "nesterov": True}, optax.lars, {**LARS, "nesterov": True}),
    (
        "lamb",
        {**BETAS, "eps": 0.01, "weight_decay": 0.1},
        optax.lamb,
        {**B12, "eps": 0.01, "weight_decay": 0.1},
    ),
]  # fmt: skip


def stepper(peer, start):
    """Return a function that takes a step of an optax alias, and the parameters so far."""
    theirs, state = jnp.asarray(start), peer.init(jnp.asarray(start))
    update = jax.jit(peer.update)

    def step(g, rate):
        nonlocal theirs, state
        del rate  # optax counts the steps itself
        updates, state = update(jnp.asarray(g), state, theirs)
        theirs = optax.apply_updates(theirs, updates)
        step.state = state
        return theirs

    return step


def rates(lr):
    return lambda count: jnp.asarray(lr * LR_FACTORS)[count]


@pytest.mark.parametrize(
    ("name", "options", "alias", "optax_options"),
    CASES,
    ids=[f"{name}-{'-'.join(options)}" for name, options, *_ in CASES],
)
def test_same_path_as_optax(name, options, alias, optax_options):
    w = START.copy()
    opt = fastopt.create(name, w, convention="optax", lr=0.1, **options)
    assert_same_path(opt, w, stepper(alias(rates(0.1), **optax_options), START), 0.1, 1e-12)


@pytest.mark.parametrize("nesterov", [True, False])
def test_same_path_as_muon(nesterov):
    options = {"weight_decay": 0.1, "ns_steps": 4, "ns_coeffs": (3.0, -4.0, 2.0), "beta": 0.8}
    w = START.copy()
    form = {} if nesterov else {"nesterov": False}
    opt = fastopt.create("muon", w, convention="optax", lr=0.1, **options, **form)
    peer = contrib.muon(rates(0.1), **options, nesterov=nesterov)
    assert_same_path(opt, w, stepper(peer, START), 0.1, 1e-6)


def test_vectors_of_muon_are_updated_by_adamw():
    start, grads = START[0], GRADS[:, 0]
    w = start.copy()
    options = {"adam_b1": 0.8, "adam_b2": 0.95, "eps": 0.01, "adam_weight_decay": 0.1}
    opt = fastopt.create("muon", w, convention="optax", learning_rate=0.1, **options)
    # With nesterov=True, optax has Nesterov's momentum for the vectors too.
    step = stepper(contrib.muon(0.1, **options, nesterov=False), start)
    for g in grads:
        opt.step(g)
        assert np.abs(w - step(g, 0.1)).max() < 1e-12


def test_rprop_takes_the_steps_that_optax_takes_one_step_late():
    """scale_by_rprop of optax 0.2.8 returns the updates that it stored in the step before."""
    w = START.copy()
    opt = fastopt.create("rprop", w, "optax", lr=0.1, etas=(0.4, 1.3), step_sizes=(0.05, 0.15))
    peer = optax.rprop(0.1, eta_minus=0.4, eta_plus=1.3, min_step_size=0.05, max_step_size=0.15)
    step = stepper(peer, START)
    for g in GRADS:
        before = w.copy()
        opt.step(g)
        step(g, 0.1)
        stored = next(s for s in jax.tree.leaves(step.state, is_leaf=has_updates) if has_updates(s))
        assert np.abs(w - (before - stored.prev_updates)).max() < 1e-12
    assert np.abs(w - START).max() > 0.1


def has_updates(node):
    return hasattr(node, "prev_updates")


def test_adan_of_optax_swaps_beta2_and_its_complement():
    """With beta2 = 1/2, the formula of optax 0.2.8 is the right one."""
    w = START.copy()
    options = {"lr": 0.1, "betas": (0.8, 0.5, 0.95), **EPS, "weight_decay": 0.1}
    opt = fastopt.create("adan", w, convention="optax", **options)
    peer = optax.adan(rates(0.1), b1=0.8, b2=0.5, b3=0.95, **EPS, weight_decay=0.1)
    assert_same_path(opt, w, stepper(peer, START), 0.1, 1e-12)


@pytest.mark.parametrize(
    ("name", "options", "optax_options"),
    [
        ("schedule_free_sgd", {}, {}),
        (
            "schedule_free_sgd",
            {"momentum": 0.8, "weight_decay": 0.1, "weight_lr_power": 1.0},
            {"b1": 0.8, "weight_decay": 0.1, "weight_lr_power": 1.0},
        ),
        ("schedule_free_adamw", {}, {}),
        (
            "schedule_free_adamw",
            {"betas": (0.8, 0.95), "eps": 0.01, "weight_decay": 0.1, "weight_lr_power": 1.0},
            {**B12, "eps": 0.01, "weight_decay": 0.1, "weight_lr_power": 1.0},
        ),
    ],
)
def test_same_path_as_schedule_free(name, options, optax_options):
    w = START.copy()
    opt = fastopt.create(name, w, convention="optax", lr=0.1, **options)
    step = stepper(getattr(contrib, name)(0.1, **optax_options), START)
    for g in GRADS:
        opt.step(g)
        y = step(g, 0.1)
        assert np.abs(w - y).max() < 1e-12
        x = contrib.schedule_free_eval_params(step.state, y)
        with opt.averaged():
            assert np.abs(w - x).max() < 1e-12
    assert np.abs(w - START).max() > 0.01
