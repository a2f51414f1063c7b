"""create(): names, errors, defaults, and the formulas of the textbook and of DL4J.

The formulas here are transcribed from the textbook and from libnd4j's updaters.  tests/peers
compares with PyTorch, optax and Keras themselves.
"""

import contextlib
import math

import numpy as np
import pytest

import fastopt
from fastopt import optimizers
from fastopt.schedules import inverse_time

# The textbook's AdaMax has no epsilon, so that it warns.
pytestmark = pytest.mark.filterwarnings("ignore:eps is 0")

THETA = np.array([1.5, -0.7, 0.2, -2.0, 0.01])
# Decreasing, so that the place of the rate in a formula matters.
RATES = [0.2 / (1 + 0.3 * t) for t in range(15)]


def gradient(theta):
    """Return the gradient of theta' A theta / 2 + sum(1 - cos(theta)); A is diagonal."""
    return np.array([100.0, 3.0, 0.01, 0.2, 1.0]) * theta + np.sin(theta)


def correction(beta, t):
    """Return 1 - beta**t without cancellation."""
    return -math.expm1(t * math.log(beta))


def assert_follows(opt, theta, path, rates):
    """Take one step for each rate, and compare the parameters with the path after each."""
    looks_ahead = opt.param_groups[0].get("nesterov") == "lookahead"
    moved = np.abs(theta)
    before = theta.copy()
    for rate, expected in zip(rates, path, strict=True):
        opt.lr = rate
        with opt.extrapolated() if looks_ahead else contextlib.nullcontext():
            g = gradient(theta)
        opt.step(g)
        moved = moved + np.abs(theta - before)
        before = theta.copy()
        assert (np.abs(theta - expected) <= 16 * np.finfo(theta.dtype).eps * moved).all()


# The textbook ---------------------------------------------------------------------------


def book_gd(theta, rates):
    for lr in rates:
        theta = theta - lr * gradient(theta)
        yield theta


def book_momentum(theta, rates, a=0.9):
    D = 0.0
    for lr in rates:
        D = a * D + lr * gradient(theta)
        theta = theta - D
        yield theta


def book_nesterov(theta, rates, a=0.9):
    D = 0.0
    for lr in rates:
        D = a * D + lr * gradient(theta - a * D)
        theta = theta - D
        yield theta


def book_adagrad(theta, rates, e=1e-8):
    G = 0.0
    for lr in rates:
        g = gradient(theta)
        G = G + g**2
        theta = theta - lr * g / np.sqrt(G + e)
        yield theta


def book_adadelta(theta, rates, a=0.95, e=1e-8):
    Eg = Ed = np.zeros_like(theta)
    for _ in rates:
        g = gradient(theta)
        Eg = a * Eg + (1 - a) * g**2
        d = -np.sqrt(Ed + e) / np.sqrt(Eg + e) * g
        Ed = a * Ed + (1 - a) * d**2
        theta = theta + d
        yield theta


def book_rmsprop(theta, rates, a=0.9, e=1e-8):
    E = 0.0
    for lr in rates:
        g = gradient(theta)
        E = a * E + (1 - a) * g**2
        theta = theta - lr * g / np.sqrt(E + e)
        yield theta


def book_adam(theta, rates, b1=0.9, b2=0.999, e=1e-8, decay=0.0):
    m = v = 0.0
    for t, lr in enumerate(rates, 1):
        g = gradient(theta)
        m = b1 * m + (1 - b1) * g
        v = b2 * v + (1 - b2) * g**2
        mhat = m / correction(b1, t)
        vhat = v / correction(b2, t)
        schedule = lr / rates[0]  # eta_t of Loshchilov and Hutter: 1 at the base rate
        theta = theta - lr * mhat / np.sqrt(vhat + e) - schedule * decay * theta
        yield theta


def book_amsgrad(theta, rates, b1=0.9, b2=0.999, e=1e-8):
    m = v = vhat = np.zeros_like(theta)
    for lr in rates:
        g = gradient(theta)
        m = b1 * m + (1 - b1) * g
        v = b2 * v + (1 - b2) * g**2
        vhat = np.maximum(vhat, v)
        theta = theta - lr * m / np.sqrt(vhat + e)
        yield theta


def book_adamax(theta, rates, b1=0.9, b2=0.999):
    m = u = np.zeros_like(theta)
    for t, lr in enumerate(rates, 1):
        g = gradient(theta)
        m = b1 * m + (1 - b1) * g
        u = np.maximum(b2 * u, np.abs(g))
        theta = theta - lr / correction(b1, t) * m / u
        yield theta


def book_nadam(theta, rates, b1=0.9, b2=0.999, e=1e-8):
    m = n = 0.0
    mu = [b1 * (1 - 0.5 * 0.96 ** (t / 250)) for t in range(len(rates) + 2)]
    for t, lr in enumerate(rates, 1):
        g = gradient(theta)
        m = mu[t] * m + (1 - mu[t]) * g
        n = b2 * n + (1 - b2) * g**2
        mhat = mu[t + 1] * m / (1 - math.prod(mu[1 : t + 2]))
        mhat = mhat + (1 - mu[t]) * g / (1 - math.prod(mu[1 : t + 1]))
        nhat = b2 * n / correction(b2, t)
        theta = theta - lr * mhat / (np.sqrt(nhat) + e)
        yield theta


GENTLE = [0.05 * rate for rate in RATES]  # below 2/curvature for the rules that do not rescale
ONES = [1.0] * 15

BOOK = [
    ("gd", {}, book_gd, {}, GENTLE),
    ("SGD", {}, book_gd, {}, GENTLE),
    ("sgd", {"momentum": 0.7}, book_momentum, {"a": 0.7}, GENTLE),
    ("momentum", {}, book_momentum, {}, GENTLE),
    ("nesterov", {}, book_nesterov, {}, GENTLE),
    ("nesterov", {"momentum": 0.6}, book_nesterov, {"a": 0.6}, GENTLE),
    ("AdaGrad", {}, book_adagrad, {}, RATES),
    ("AdaGrad", {"eps": 0.03}, book_adagrad, {"e": 0.03}, RATES),
    ("AdaDelta", {}, book_adadelta, {}, ONES),
    ("AdaDelta", {"rho": 0.8, "eps": 0.03}, book_adadelta, {"a": 0.8, "e": 0.03}, ONES),
    ("RMSProp", {}, book_rmsprop, {}, RATES),
    ("RMSProp", {"alpha": 0.8, "eps": 0.03}, book_rmsprop, {"a": 0.8, "e": 0.03}, RATES),
    ("Adam", {}, book_adam, {}, RATES),
    (
        "Adam",
        {"betas": (0.8, 0.95), "eps": 0.03},
        book_adam,
        {"b1": 0.8, "b2": 0.95, "e": 0.03},
        RATES,
    ),
    ("AMSGrad", {}, book_amsgrad, {}, RATES),
    ("AMSGrad", {"eps": 0.03}, book_amsgrad, {"e": 0.03}, RATES),
    ("AdaMax", {}, book_adamax, {}, RATES),
    ("AdaMax", {"betas": (0.8, 0.95)}, book_adamax, {"b1": 0.8, "b2": 0.95}, RATES),
    ("NAdam", {}, book_nadam, {}, RATES),
    ("NAdam", {"eps": 0.03}, book_nadam, {"e": 0.03}, RATES),
]


@pytest.mark.parametrize(
    ("name", "options", "formula", "symbols", "rates"),
    BOOK,
    ids=[f"{name}-{'-'.join(options)}" for name, options, *_ in BOOK],
)
def test_textbook_formula_at_every_step(name, options, formula, symbols, rates):
    theta = THETA.copy()
    opt = fastopt.create(name, theta, convention="textbook", **options)
    assert_follows(opt, theta, formula(THETA, rates, **symbols), rates)


def test_textbook_adamw_scales_its_decay_by_the_schedule_only():
    theta = THETA.copy()
    opt = fastopt.create(
        "adamw", theta, convention="textbook", lr=RATES[0], weight_decay=0.02, eps=0.03
    )
    assert_follows(opt, theta, book_adam(THETA, RATES, e=0.03, decay=0.02), RATES)


def test_lr_may_be_a_schedule():
    theta = THETA.copy()
    lr = inverse_time(0.01, 0.3)
    opt = fastopt.create("momentum", theta, convention="textbook", lr=lr)
    for expected in book_momentum(THETA, [lr(t) for t in range(1, 13)]):
        opt.step(gradient(theta))
        np.testing.assert_allclose(theta, expected, rtol=1e-14, atol=1e-15)


def test_textbook_adamax_gives_nan_for_gradients_that_were_always_0():
    theta = np.ones(2)
    fastopt.create("adamax", theta, convention="textbook").step(np.array([0.0, 2.0]))
    np.testing.assert_array_equal(theta, [np.nan, 1 - 2e-3])


# DL4J -----------------------------------------------------------------------------------
# Formulas of libnd4j/include/ops/declarable/helpers/cpu/updater*.cpp: `iteration` counts from 0,
# and the result is subtracted.  Initial states are those of nd4j's learning/*Updater.java.


def dl4j_sgd(theta, rates):
    for lr in rates:
        theta = theta - lr * gradient(theta)
        yield theta


def dl4j_nesterovs(theta, rates, momentum=0.9):
    v = np.zeros_like(theta)
    for lr in rates:
        previous = momentum * v
        v = previous - lr * gradient(theta)
        theta = theta - (previous + (-momentum - 1) * v)
        yield theta


def dl4j_adagrad(theta, rates, epsilon=1e-6):
    h = np.full_like(theta, 1e-6)
    for lr in rates:
        g = gradient(theta)
        h = h + g * g
        theta = theta - lr * g / (np.sqrt(h) + epsilon)
        yield theta


def dl4j_adadelta(theta, rates, rho=0.95, epsilon=1e-6):
    msg = msdx = np.zeros_like(theta)
    for _ in rates:
        g = gradient(theta)
        msg = rho * msg + g * g * (1 - rho)
        update = g * (np.sqrt(msdx + epsilon) / np.sqrt(msg + epsilon))
        msdx = rho * msdx + update * update * (1 - rho)
        theta = theta - update
        yield theta


def dl4j_rmsprop(theta, rates, decay=0.95, epsilon=1e-8):
    state = np.full_like(theta, epsilon)
    for lr in rates:
        g = gradient(theta)
        state = state * decay + g * g * (1 - decay)
        theta = theta - lr * g / (np.sqrt(state) + epsilon)
        yield theta


def dl4j_adam(theta, rates, beta1=0.9, beta2=0.999, epsilon=1e-8, hold_max=False):
    m = v = h = np.zeros_like(theta)
    for iteration, lr in enumerate(rates):
        g = gradient(theta)
        alpha = lr * np.sqrt(1 - beta2 ** (iteration + 1)) / (1 - beta1 ** (iteration + 1))
        m = beta1 * m + g * (1 - beta1)
        v = beta2 * v + g * g * (1 - beta2)
        h = np.maximum(h, v) if hold_max else v
        theta = theta - m * alpha / (np.sqrt(h) + epsilon)
        yield theta


def dl4j_adamax(theta, rates, beta1=0.9, beta2=0.999):
    m = u = np.zeros_like(theta)
    for iteration, lr in enumerate(rates):
        g = gradient(theta)
        m = beta1 * m + g * (1 - beta1)
        u = np.maximum(beta2 * u, np.abs(g)) + 1e-32
        theta = theta - m * (lr / (1 - beta1 ** (iteration + 1))) / u
        yield theta


def dl4j_nadam(theta, rates, beta1=0.9, beta2=0.999, epsilon=1e-8):
    m = v = np.zeros_like(theta)
    for iteration, lr in enumerate(rates):
        g = gradient(theta)
        new = g * (1 - beta1)
        m = beta1 * m + new
        v = beta2 * v + g * g * (1 - beta2)
        mean = (m * beta1 + new) / (1 - beta1 ** (iteration + 1))
        theta = theta - lr * mean / (np.sqrt(v) + epsilon)
        yield theta


def dl4j_adabelief(theta, rates, beta1=0.9, beta2=0.999, epsilon=1e-14):
    m = s = np.zeros_like(theta)
    for iteration, lr in enumerate(rates):
        g = gradient(theta)
        alpha = lr * np.sqrt(1 - beta2 ** (iteration + 1)) / (1 - beta1 ** (iteration + 1))
        m = beta1 * m + g * (1 - beta1)
        s = beta2 * s + (g - m) * (g - m) * (1 - beta2) + epsilon
        theta = theta - m * alpha / (np.sqrt(s) + epsilon)
        yield theta


BETAS = {"betas": (0.8, 0.95)}
BETA12 = {"beta1": 0.8, "beta2": 0.95}
TINY = [1e-3 * rate for rate in RATES]  # NADAM does not correct v, so its first steps are large

DL4J = [
    ("SGD", {}, dl4j_sgd, {}, GENTLE),
    ("NESTEROVS", {}, dl4j_nesterovs, {}, GENTLE),
    ("NESTEROVS", {"momentum": 0.6}, dl4j_nesterovs, {"momentum": 0.6}, GENTLE),
    ("ADAGRAD", {}, dl4j_adagrad, {}, RATES),
    ("ADAGRAD", {"eps": 0.03}, dl4j_adagrad, {"epsilon": 0.03}, RATES),
    ("ADADELTA", {}, dl4j_adadelta, {}, ONES),
    ("ADADELTA", {"rho": 0.8, "eps": 0.03}, dl4j_adadelta, {"rho": 0.8, "epsilon": 0.03}, ONES),
    ("RMSPROP", {}, dl4j_rmsprop, {}, RATES),
    (
        "RMSPROP",
        {"alpha": 0.8, "eps": 0.03},
        dl4j_rmsprop,
        {"decay": 0.8, "epsilon": 0.03},
        RATES,
    ),
    ("ADAM", {}, dl4j_adam, {}, RATES),
    ("ADAM", {**BETAS, "eps": 0.03}, dl4j_adam, {**BETA12, "epsilon": 0.03}, RATES),
    ("AMSGRAD", {}, dl4j_adam, {"hold_max": True}, RATES),
    (
        "AMSGRAD",
        {**BETAS, "eps": 0.03},
        dl4j_adam,
        {**BETA12, "epsilon": 0.03, "hold_max": True},
        RATES,
    ),
    ("ADAMAX", {}, dl4j_adamax, {}, RATES),
    ("ADAMAX", BETAS, dl4j_adamax, BETA12, RATES),
    ("NADAM", {}, dl4j_nadam, {}, TINY),
    ("NADAM", {**BETAS, "eps": 0.03}, dl4j_nadam, {**BETA12, "epsilon": 0.03}, TINY),
    ("ADABELIEF", {}, dl4j_adabelief, {}, RATES),
    ("ADABELIEF", {**BETAS, "eps": 0.03}, dl4j_adabelief, {**BETA12, "epsilon": 0.03}, RATES),
    ("NONE", {}, dl4j_sgd, {}, ONES[:3]),
]


@pytest.mark.parametrize(
    ("name", "options", "formula", "symbols", "rates"),
    DL4J,
    ids=[f"{name}-{'-'.join(options)}" for name, options, *_ in DL4J],
)
def test_dl4j_formula_at_every_step(name, options, formula, symbols, rates):
    theta = THETA.copy()
    opt = fastopt.create(name, theta, convention="dl4j", **options)
    assert_follows(opt, theta, formula(THETA, rates, **symbols), rates)


def test_dl4j_adamax_adds_1e_32_to_its_state():
    theta = np.ones(1)
    opt = fastopt.create("adamax", theta, convention="dl4j")
    opt.step(np.zeros(1))
    assert opt.state[0]["exp_inf"] == 1e-32
    assert theta == 1  # 0/1e-32, not 0/0


# Defaults -------------------------------------------------------------------------------

SGD = {
    "momentum": 0.0,
    "dampening": 0.0,
    "nesterov": False,
    "lr_in_buffer": False,
    "first_step": "copy",
}
ADAGRAD = {"lr_decay": 0.0}
RMSPROP = {"momentum": 0.0, "centered": False, "nesterov": False, "bias_correction": False}
ADAM = {"betas": (0.9, 0.999)}
CORRECTED = {**ADAM, "eps_mode": "corrected", "bias_correction": (True, True)}
HAT = {**ADAM, "eps_mode": "hat", "bias_correction": (True, True)}
OUTSIDE = {"eps": 1e-8, "eps_root": 0.0}
INSIDE = {"eps": 0.0, "eps_root": 1e-8}
KERAS_OUTSIDE = {"eps": 1e-7, "eps_root": 0.0}
KERAS_INSIDE = {"eps": 0.0, "eps_root": 1e-7}

MUON = {
    "momentum": 0.95,
    "ns_coefficients": (3.4445, -4.775, 2.0315),
    "ns_steps": 5,
    "adamw_betas": (0.9, 0.999),
}

# (convention, name) -> lr and all options of the class except the common ones
DEFAULTS = {
    ("torch", "sgd"): (1e-3, SGD),
    ("torch", "momentum"): (1e-3, {**SGD, "momentum": 0.9}),
    ("torch", "nesterov"): (1e-3, {**SGD, "momentum": 0.9, "nesterov": True}),
    ("torch", "adagrad"): (
        1e-2,
        {**ADAGRAD, "initial_accumulator_value": 0.0, "eps": 1e-10, "eps_root": 0.0},
    ),
    ("torch", "adadelta"): (1.0, {"rho": 0.9, "eps": 1e-6}),
    ("torch", "rmsprop"): (
        1e-2,
        {
            **RMSPROP,
            **OUTSIDE,
            "alpha": 0.99,
            "initial_accumulator_value": 0.0,
            "lr_in_buffer": False,
        },
    ),
    ("torch", "adam"): (1e-3, {**CORRECTED, **OUTSIDE, "amsgrad": False}),
    ("torch", "amsgrad"): (1e-3, {**CORRECTED, **OUTSIDE, "amsgrad": "raw"}),
    ("torch", "adamw"): (1e-3, {**CORRECTED, **OUTSIDE, "amsgrad": False}),
    ("torch", "adamax"): (2e-3, {**ADAM, "eps": 1e-8, "eps_mode": "max"}),
    ("torch", "nadam"): (
        2e-3,
        {**ADAM, **OUTSIDE, "momentum_decay": 4e-3, "nadam_schedule": "dozat"},
    ),
    ("torch", "none"): (1.0, SGD),
    ("keras", "sgd"): (1e-2, {**SGD, "lr_in_buffer": True}),
    ("keras", "momentum"): (1e-2, {**SGD, "momentum": 0.9, "lr_in_buffer": True}),
    ("keras", "nesterov"): (
        1e-2,
        {**SGD, "momentum": 0.9, "nesterov": True, "lr_in_buffer": True},
    ),
    ("keras", "adagrad"): (
        1e-3,
        {**ADAGRAD, **KERAS_INSIDE, "initial_accumulator_value": 0.1},
    ),
    ("keras", "adadelta"): (1e-3, {"rho": 0.95, "eps": 1e-7}),
    ("keras", "rmsprop"): (
        1e-3,
        {
            **RMSPROP,
            **KERAS_INSIDE,
            "alpha": 0.9,
            "initial_accumulator_value": 0.0,
            "lr_in_buffer": True,
        },
    ),
    ("keras", "adam"): (1e-3, {**HAT, **KERAS_OUTSIDE, "amsgrad": False}),
    ("keras", "amsgrad"): (1e-3, {**HAT, **KERAS_OUTSIDE, "amsgrad": "raw"}),
    ("keras", "adamw"): (1e-3, {**HAT, **KERAS_OUTSIDE, "amsgrad": False}),
    ("keras", "adamax"): (1e-3, {**ADAM, "eps": 1e-7, "eps_mode": "outside"}),
    ("keras", "nadam"): (
        1e-3,
        {**ADAM, **KERAS_OUTSIDE, "momentum_decay": 1.0, "nadam_schedule": "dozat"},
    ),
    ("keras", "lion"): (1e-3, {"betas": (0.9, 0.99)}),
    ("keras", "ftrl"): (
        1e-3,
        {
            "initial_accumulator_value": 0.1,
            "l1_regularization_strength": 0.0,
            "l2_regularization_strength": 0.0,
            "l2_shrinkage_regularization_strength": 0.0,
            "beta": 0.0,
            "keep_start": False,
        },
    ),
    ("keras", "lamb"): (1e-3, {**ADAM, "eps": 1e-7, "bias_correction": True}),
    ("keras", "adafactor"): (
        1e-3,
        {"beta2_decay": -0.8, "eps": (1e-30, 1e-3), "d": 1.0, "eps_mode": "mean"}
        | {"relative_step": True, "scale_parameter": True},
    ),
    ("keras", "muon"): (
        1e-3,
        {**MUON, "nesterov": True, "eps": 1e-7, "adamw_eps": 1e-7}
        | {"adjust_lr_fn": "match_rms_adamw"},
    ),
    ("keras", "none"): (1.0, SGD),
    ("optax", "sgd"): (None, SGD),
    ("optax", "momentum"): (None, {**SGD, "momentum": 0.9}),
    ("optax", "nesterov"): (None, {**SGD, "momentum": 0.9, "nesterov": True}),
    ("optax", "adagrad"): (
        None,
        {**ADAGRAD, **KERAS_INSIDE, "initial_accumulator_value": 0.1},
    ),
    ("optax", "adadelta"): (1.0, {"rho": 0.9, "eps": 1e-6}),
    ("optax", "rmsprop"): (
        None,
        {
            **RMSPROP,
            **INSIDE,
            "alpha": 0.9,
            "initial_accumulator_value": 0.0,
            "lr_in_buffer": True,
        },
    ),
    ("optax", "adam"): (None, {**CORRECTED, **OUTSIDE, "amsgrad": False}),
    ("optax", "amsgrad"): (None, {**CORRECTED, **OUTSIDE, "amsgrad": "corrected"}),
    ("optax", "adamw"): (None, {**CORRECTED, **OUTSIDE, "amsgrad": False}),
    ("optax", "adamax"): (None, {**ADAM, "eps": 1e-8, "eps_mode": "max"}),
    ("optax", "nadam"): (None, {**ADAM, **OUTSIDE, "nadam_schedule": "none"}),
    ("optax", "lion"): (None, {"betas": (0.9, 0.99)}),
    ("optax", "sign_sgd"): (None, {"momentum": 0.0}),
    ("optax", "rprop"): (
        None,
        {"etas": (0.5, 1.2), "step_sizes": (1e-6, 50.0), "limit_unchanged": False},
    ),
    ("optax", "radam"): (None, {**ADAM, **OUTSIDE, "eps_mode": "corrected", "threshold": 5.0}),
    ("optax", "adabelief"): (
        None,
        {**ADAM, "eps": 1e-16, "eps_root": 1e-16, "eps_in_state": True}
        | {"eps_mode": "corrected", "nesterov": False, "rectify": False},
    ),
    ("optax", "yogi"): (
        None,
        {**CORRECTED, "eps": 1e-3, "eps_root": 0.0}
        | {"initial_accumulator_value": 1e-6, "initial_exp_avg": 1e-6},
    ),
    ("optax", "adan"): (None, {"betas": (0.98, 0.92, 0.99), "eps": 1e-8, "eps_root": 1e-8}),
    ("optax", "adopt"): (None, {"betas": (0.9, 0.9999), "eps": 1e-6, "clip_exp": 0.25}),
    ("optax", "ademamix"): (
        None,
        {**OUTSIDE, "betas": (0.9, 0.999, 0.9999), "alpha": 5.0}
        | {"alpha_warmup": 0.0, "beta3_warmup": 0.0},
    ),
    ("optax", "lamb"): (None, {**ADAM, "eps": 1e-6, "bias_correction": True}),
    ("optax", "lars"): (
        None,
        {"momentum": 0.9, "dampening": 0.0, "nesterov": False, "trust_coefficient": 1e-3}
        | {"eps": 0.0, "lr_in_buffer": True, "first_step": "copy", "decay_in_norm": True}
        | {"always_adapt": True, "trust_clip": False},
    ),
    ("optax", "novograd"): (
        None,
        {"betas": (0.9, 0.25), "eps": 1e-6, "eps_root": 0.0, "grad_averaging": False},
    ),
    ("optax", "prodigy"): (
        1.0,
        {**ADAM, "beta3": None, "eps": 1e-8, "use_bias_correction": True, "d0": 1e-6}
        | {"safeguard_warmup": False, "d_coef": 1.0, "growth_rate": None},
    ),
    ("optax", "dog"): (1.0, {"reps_rel": 1e-6, "eps": 1e-8, "layerwise": False}),
    ("optax", "sm3"): (None, {"momentum": 0.9, "eps": 1e-8}),
    ("optax", "schedule_free_sgd"): (
        1.0,
        {"momentum": 0.9, "warmup_steps": 0, "r": 0.0, "weight_lr_power": 2.0},
    ),
    ("optax", "schedule_free_adamw"): (
        2.5e-3,
        {**ADAM, "eps": 1e-8, "warmup_steps": 0, "r": 0.0, "weight_lr_power": 2.0},
    ),
    ("optax", "muon"): (
        None,
        {**MUON, "nesterov": "corrected", "eps": 1e-8, "adamw_eps": 1e-8}
        | {"adjust_lr_fn": "inputs_first"},
    ),
    ("optax", "none"): (1.0, SGD),
    ("dl4j", "sgd"): (1e-3, SGD),
    ("dl4j", "nesterov"): (
        0.1,
        {**SGD, "momentum": 0.9, "nesterov": True, "lr_in_buffer": True},
    ),
    ("dl4j", "adagrad"): (
        0.1,
        {**ADAGRAD, "initial_accumulator_value": 1e-6, "eps": 1e-6, "eps_root": 0.0},
    ),
    ("dl4j", "adadelta"): (1.0, {"rho": 0.95, "eps": 1e-6}),
    ("dl4j", "rmsprop"): (
        0.1,
        {**RMSPROP, **OUTSIDE, "alpha": 0.95, "initial_accumulator_value": 1e-8},
    ),
    ("dl4j", "adam"): (1e-3, {**HAT, **OUTSIDE, "amsgrad": False}),
    ("dl4j", "amsgrad"): (1e-3, {**HAT, **OUTSIDE, "amsgrad": "raw"}),
    ("dl4j", "adamax"): (1e-3, {**ADAM, "eps": 1e-32, "eps_mode": "state"}),
    ("dl4j", "nadam"): (1e-3, {**ADAM, **OUTSIDE, "nadam_schedule": "uncorrected"}),
    ("dl4j", "adabelief"): (
        1e-3,
        {**ADAM, "eps": 1e-14, "eps_root": 1e-14, "eps_in_state": True}
        | {"eps_mode": "hat", "nesterov": False, "rectify": False},
    ),
    ("dl4j", "none"): (1.0, SGD),
    ("textbook", "sgd"): (1e-2, {**SGD, "lr_in_buffer": True}),
    ("textbook", "momentum"): (1e-2, {**SGD, "momentum": 0.9, "lr_in_buffer": True}),
    ("textbook", "nesterov"): (
        1e-2,
        {**SGD, "momentum": 0.9, "nesterov": "lookahead", "lr_in_buffer": True},
    ),
    ("textbook", "adagrad"): (1e-2, {**ADAGRAD, **INSIDE, "initial_accumulator_value": 0.0}),
    ("textbook", "adadelta"): (1.0, {"rho": 0.95, "eps": 1e-8}),
    ("textbook", "rmsprop"): (
        1e-3,
        {
            **RMSPROP,
            **INSIDE,
            "alpha": 0.9,
            "initial_accumulator_value": 0.0,
            "lr_in_buffer": True,
        },
    ),
    ("textbook", "adam"): (1e-3, {**CORRECTED, **INSIDE, "amsgrad": False}),
    ("textbook", "amsgrad"): (
        1e-3,
        {**CORRECTED, **INSIDE, "amsgrad": "raw", "bias_correction": (False, False)},
    ),
    ("textbook", "adamw"): (1e-3, {**CORRECTED, **INSIDE, "amsgrad": False}),
    ("textbook", "adamax"): (2e-3, {**ADAM, "eps": 0.0, "eps_mode": "max"}),
    ("textbook", "nadam"): (
        2e-3,
        {**ADAM, **OUTSIDE, "momentum_decay": 4e-3, "nadam_schedule": "paper"},
    ),
    ("textbook", "none"): (1.0, SGD),
}

CLASSES = {
    "sgd": fastopt.SGD,
    "momentum": fastopt.SGD,
    "nesterov": fastopt.SGD,
    "adagrad": fastopt.Adagrad,
    "adadelta": fastopt.Adadelta,
    "rmsprop": fastopt.RMSprop,
    "adam": fastopt.Adam,
    "amsgrad": fastopt.Adam,
    "adamw": fastopt.AdamW,
    "adamax": fastopt.Adamax,
    "nadam": fastopt.NAdam,
    "lion": fastopt.Lion,
    "sign_sgd": fastopt.Signum,
    "rprop": fastopt.Rprop,
    "radam": fastopt.RAdam,
    "adabelief": fastopt.AdaBelief,
    "yogi": fastopt.Yogi,
    "adan": fastopt.Adan,
    "adopt": fastopt.ADOPT,
    "ademamix": fastopt.AdEMAMix,
    "ftrl": fastopt.Ftrl,
    "lamb": fastopt.LAMB,
    "dog": fastopt.DoG,
    "lars": fastopt.LARS,
    "prodigy": fastopt.Prodigy,
    "novograd": fastopt.NovoGrad,
    "adafactor": fastopt.Adafactor,
    "sm3": fastopt.SM3,
    "schedule_free_sgd": fastopt.ScheduleFreeSGD,
    "schedule_free_adamw": fastopt.ScheduleFreeAdamW,
    "muon": fastopt.Muon,
    "none": fastopt.SGD,
}
CONVENTIONS = ("torch", "keras", "optax", "dl4j", "textbook")

# weight_decay and decoupled_weight_decay of the rules that decay by default.
DECAY = {
    ("torch", "adamw"): (0.01, True),
    ("keras", "adamw"): (0.004, "lr"),
    ("optax", "adamw"): (1e-4, "lr"),
    ("textbook", "adamw"): (0.1, "schedule_only"),
    ("keras", "ftrl"): (0.0, False),  # which has no decoupled decay
    ("keras", "muon"): (0.004, "lr"),
    ("optax", "lion"): (1e-3, "lr"),
    ("optax", "prodigy"): (0.0, "lr"),
    ("optax", "adan"): (0.0, "lr"),
    ("optax", "ademamix"): (0.0, "lr"),
    ("optax", "muon"): (0.0, "lr"),
    # The defaults of the classes, which a weight decay that is not 0 may not use.
    ("optax", "sign_sgd"): (0.0, True),
    ("optax", "adabelief"): (0.0, True),
    ("dl4j", "adabelief"): (0.0, True),
}
WITH_LR = {
    "dog",
    "prodigy",
    "schedule_free_sgd",
    "schedule_free_adamw",
}  # the others of optax have no default
# The rules of optax, dl4j and the textbook that define the kind of weight decay.
DEFINED_DECAY = (
    *("adadelta", "adamw", "adan", "ademamix", "lamb", "lars", "lion", "muon", "novograd"),
    *WITH_LR,
)


@pytest.mark.parametrize(("convention", "name"), DEFAULTS)
def test_defaults(convention, name):
    lr, expected = DEFAULTS[convention, name]
    given = {} if lr is not None else {"lr": 0.3}
    if (convention, name) == ("textbook", "adamw"):
        given = {"weight_decay": 0.1}
    opt = fastopt.create(name, np.ones(3), convention=convention, **given)
    assert type(opt) is CLASSES[name]
    group = dict(opt.param_groups[0])
    assert group["lr"] == (0.3 if lr is None else lr)
    assert {option: group[option] for option in expected} == expected
    coupled = (0.0, "lr" if convention == "keras" and name != "none" else False)
    assert (group["weight_decay"], group["decoupled_weight_decay"]) == DECAY.get(
        (convention, name), coupled
    )
    assert group["maximize"] is False


def test_every_rule_has_its_defaults_tested():
    for convention in CONVENTIONS:
        with pytest.raises(fastopt.FastoptError) as error:
            fastopt.create("?", np.ones(1), convention=convention)
        listed = set(str(error.value).split(": ")[-1].split(", ")) - {"gd", "nesterovs"}
        if convention == "torch":
            listed -= {
                cls.lower() for cls in optimizers.__all__ if ("torch", cls.lower()) not in DEFAULTS
            }
        assert listed == {name for c, name in DEFAULTS if c == convention}


@pytest.mark.parametrize("cls", optimizers.__all__)
def test_torch_has_every_class_as_it_is(cls):
    own = getattr(fastopt, cls)(np.ones((2, 3)))
    for name in (cls, cls.lower(), cls.upper()):
        opt = fastopt.create(name, np.ones((2, 3)))
        assert type(opt) is type(own)
        assert opt.param_groups[0].options == own.param_groups[0].options


def test_underscores_in_a_name_have_no_effect():
    assert type(fastopt.create("schedule_free_adamw", np.ones(1))) is fastopt.ScheduleFreeAdamW
    assert type(fastopt.create("Ada_Grad", np.ones(1), "keras")) is fastopt.Adagrad


# Names, options and errors --------------------------------------------------------------

DL4J_UPDATERS = (
    "SGD",
    "ADAM",
    "ADAMAX",
    "ADADELTA",
    "NESTEROVS",
    "NADAM",
    "ADAGRAD",
    "RMSPROP",
)
NAMES = (*DL4J_UPDATERS, "AMSGRAD", "NONE", "Gd", "sgd", "nesterov", "AdaGrad", "RMSprop")


@pytest.mark.parametrize("convention", CONVENTIONS)
@pytest.mark.parametrize("name", NAMES)
def test_names_in_any_case(name, convention):
    options = {"lr": 0.1} if convention == "optax" and name != "NONE" else {}
    opt = fastopt.create(name, np.ones(1), convention=convention, **options)
    key = {"gd": "sgd", "nesterovs": "nesterov"}.get(name.lower(), name.lower())
    assert type(opt) is CLASSES[key]


def test_torch_is_the_default_convention():
    w = np.ones(1)
    assert fastopt.create("sgd", w).lr == 1e-3  # that of Keras is 0.01
    assert fastopt.create("rmsprop", w).param_groups[0]["alpha"] == 0.99


def test_none_subtracts_the_raw_gradient():
    w = np.array([1.0, 2.0])
    fastopt.create("NONE", w, convention="dl4j").step(np.array([0.25, -3.0]))
    np.testing.assert_array_equal(w, [0.75, 5.0])


def test_params_in_any_container():
    w = {"a": np.ones(2), "b": np.zeros((2, 2))}
    opt = fastopt.create("sgd", w, lr=0.5)
    opt.step({"a": np.ones(2), "b": np.ones((2, 2))})
    assert (w["a"] == 0.5).all()
    assert (w["b"] == -0.5).all()


def test_eps_and_eps_root_can_both_be_given():
    group = fastopt.create(
        "rmsprop", np.ones(1), convention="keras", eps=0.5, eps_root=0.25
    ).param_groups[0]
    assert (group["eps"], group["eps_root"]) == (0.5, 0.25)


def test_eps_root_alone_replaces_an_epsilon_inside_the_root():
    group = fastopt.create("adagrad", np.ones(1), convention="optax", lr=1.0, eps_root=0.25)
    assert (group.param_groups[0]["eps"], group.param_groups[0]["eps_root"]) == (0.0, 0.25)


def test_dl4j_rmsprop_starts_at_its_epsilon_by_default():
    def start(**options):
        group = fastopt.create("rmsprop", np.ones(1), "dl4j", **options).param_groups[0]
        return group["eps"], group["initial_accumulator_value"]

    assert start(eps=0.5) == (0.5, 0.5)
    assert start(eps=0.5, initial_accumulator_value=0.25) == (0.5, 0.25)


@pytest.mark.parametrize(
    ("name", "convention", "options", "words"),
    [
        ("adma", "torch", {}, "'adma'.*allowed.*adam, adamax"),
        ("momentum", "dl4j", {}, "'momentum'.*allowed.*nesterovs"),
        ("AdamW", "dl4j", {}, "'AdamW'.*allowed"),
        ("CUSTOM", "dl4j", {}, "'CUSTOM'.*written by the user"),
        ("custom", "torch", {}, "'custom'.*written by the user"),
        ("adam", "jax", {}, "'jax'.*allowed.*'torch', 'keras', 'optax', 'dl4j', 'textbook'"),
        ("AdaDelta", "textbook", {"lr": 1.0}, "lr is 1.0.*no learning rate"),
        ("adadelta", "dl4j", {"lr": 1.0}, "lr is 1.0.*no learning rate"),
        ("NONE", "keras", {"lr": 2.0}, "lr is 2.0.*raw gradient"),
        ("NONE", "dl4j", {"momentum": 0.9}, "momentum is 0.9.*raw gradient"),
        ("NONE", "keras", {"weight_decay": 0.1}, "weight_decay is 0.1.*raw gradient"),
        ("adamax", "dl4j", {"eps": 1e-8}, "eps is 1e-08.*no epsilon"),
        ("adamax", "textbook", {"eps": 1e-8}, "eps is 1e-08.*no epsilon"),
        ("sgd", "dl4j", {"momentum": 0.9}, "momentum is 0.9.*nesterovs"),
        ("sgd", "dl4j", {"nesterov": True}, "nesterov is True.*nesterovs"),
        ("sgd", "textbook", {"momentum": 0.9, "nesterov": True}, "nesterov is True.*the rule"),
        ("adam", "optax", {"lr": 0.1, "amsgrad": True}, "amsgrad is True.*the rule amsgrad"),
        ("adamw", "optax", {"lr": 0.1, "amsgrad": True}, "amsgrad is True"),
        ("adam", "textbook", {"amsgrad": True}, "amsgrad is True.*the rule amsgrad"),
        ("adamw", "textbook", {}, "weight_decay must be given"),
        ("adam", "torch", {"eps": -1.0}, "eps is -1"),
        ("ftrl", "keras", {"weight_decay": 0.1}, "weight_decay is 0.1.*recomputes"),
        ("sign_sgd", "optax", {"lr": 0.1, "momentum": 0.9}, "momentum is 0.9.*no momentum"),
    ],
)
def test_bad_names_conventions_and_options_are_refused(name, convention, options, words):
    with pytest.raises(fastopt.FastoptError, match=words):
        fastopt.create(name, np.ones(1), convention=convention, **options)


@pytest.mark.parametrize(
    "name", sorted({n for c, n in DEFAULTS if c == "optax"} - {"adadelta", "none"} - WITH_LR)
)
def test_optax_has_no_default_learning_rate(name):
    with pytest.raises(fastopt.FastoptError, match="lr must be given"):
        fastopt.create(name, np.ones(1), convention="optax")


@pytest.mark.parametrize(
    ("convention", "name"),
    [
        (convention, name)
        for convention, name in DEFAULTS
        if convention in ("optax", "dl4j", "textbook")
        and name not in ("adamw", "none")
        and not (convention == "optax" and name in DEFINED_DECAY)
    ],
)
def test_kind_of_weight_decay_must_be_given(convention, name):
    given = {"lr": 0.3} if convention == "optax" else {}
    with pytest.raises(fastopt.FastoptError, match=r"weight_decay is 0\.1.*decoupled_weight"):
        fastopt.create(name, np.ones(1), convention=convention, weight_decay=0.1, **given)
    fastopt.create(name, np.ones(1), convention=convention, weight_decay=0.0, **given)
    looks_ahead = (convention, name) == ("textbook", "nesterov")  # which refuses coupled decay
    for kind in (True,) if looks_ahead else (False, True):
        opt = fastopt.create(
            name,
            np.ones(1),
            convention=convention,
            weight_decay=0.1,
            decoupled_weight_decay=kind,
            **given,
        )
        assert opt.param_groups[0]["decoupled_weight_decay"] is kind


def test_dl4j_weight_decay_object():
    """WeightDecay(coeff, applyLR=true) adds lr coeff w, of the old w, to the update."""
    w = np.array([2.0])
    opt = fastopt.create(
        "adam", w, convention="dl4j", weight_decay=0.1, decoupled_weight_decay=True, lr=0.5
    )
    opt.step(np.array([4.0]))
    alpha = 0.5 * math.sqrt(1 - 0.999) / (1 - 0.9)
    adam = alpha * 0.1 * 4.0 / (math.sqrt(0.001 * 16.0) + 1e-8)
    assert w == pytest.approx(2.0 - adam - 0.5 * 0.1 * 2.0, rel=1e-14)


def test_keras_defines_the_penalties_of_ftrl_without_the_half():
    group = fastopt.create(
        "ftrl",
        np.ones(1),
        convention="keras",
        l1_regularization_strength=0.1,
        l2_regularization_strength=0.2,
        l2_shrinkage_regularization_strength=0.3,
    ).param_groups[0]
    penalties = [group[f"{name}_regularization_strength"] for name in ("l1", "l2", "l2_shrinkage")]
    assert penalties == [0.1, 0.4, 0.6]


def test_unknown_option_is_a_type_error():
    with pytest.raises(TypeError, match="use_ema"):
        fastopt.create("adam", np.ones(1), convention="keras", use_ema=True)


def test_name_must_be_a_string():
    with pytest.raises(TypeError, match="name is 3"):
        fastopt.create(3, np.ones(1))


# Spellings ------------------------------------------------------------------------------

SPELLED = [
    ("adam", "keras", {"learning_rate": 0.3, "beta_1": 0.5, "beta_2": 0.6, "epsilon": 0.01},
     {"lr": 0.3, "betas": (0.5, 0.6), "eps": 0.01}),
    ("adam", "keras", {"beta_2": 0.6}, {"betas": (0.9, 0.6)}),
    ("nadam", "keras", {"beta_1": 0.6}, {"betas": (0.6, 0.999)}),
    ("rmsprop", "keras", {"rho": 0.5, "epsilon": 0.01, "momentum": 0.2},
     {"alpha": 0.5, "eps": 0.01, "momentum": 0.2}),
    ("adadelta", "keras", {"rho": 0.5}, {"rho": 0.5}),
    ("adagrad", "keras", {"epsilon": 0.01}, {"eps": 0.01}),
    ("sgd", "keras", {"clipvalue": 0.5, "global_clipnorm": 2.0},
     {"max_grad_value": 0.5, "max_grad_norm": 2.0}),
    ("adam", "optax", {"learning_rate": 0.3, "b1": 0.5, "b2": 0.6, "eps": 0.01, "eps_root": 0.1},
     {"lr": 0.3, "betas": (0.5, 0.6), "eps": 0.01, "eps_root": 0.1}),
    ("rmsprop", "optax", {"learning_rate": 0.3, "decay": 0.5, "initial_scale": 0.1},
     {"lr": 0.3, "alpha": 0.5, "initial_accumulator_value": 0.1}),
    ("ftrl", "keras", {"learning_rate": 0.3}, {"lr": 0.3}),
    ("adafactor", "keras", {"beta_2_decay": -0.7, "clip_threshold": 2.0, "epsilon_1": 0.1},
     {"beta2_decay": -0.7, "d": 2.0, "eps": (0.1, 1e-3)}),
    ("adafactor", "keras", {"epsilon_1": 0.1, "epsilon_2": 0.2}, {"eps": (0.1, 0.2)}),
    ("lion", "keras", {"beta_1": 0.5}, {"betas": (0.5, 0.99)}),
    ("muon", "keras", {"muon_b": -4.0, "muon_c": 2.0, "adam_beta_2": 0.5, "adam_weight_decay": 0.1},
     {"ns_coefficients": (3.4445, -4.0, 2.0), "adamw_betas": (0.9, 0.5),
      "adamw_weight_decay": 0.1}),
    ("muon", "optax", {"learning_rate": 0.3, "beta": 0.8, "adam_b1": 0.7, "eps": 0.1,
                       "ns_coeffs": (3.0, -4.0, 2.0), "adam_learning_rate": 0.2},
     {"lr": 0.3, "momentum": 0.8, "adamw_betas": (0.7, 0.999), "eps": 0.1,
      "ns_coefficients": (3.0, -4.0, 2.0), "adamw_lr": 0.2}),
    ("adan", "optax", {"learning_rate": 0.3, "b1": 0.5, "b3": 0.7},
     {"lr": 0.3, "betas": (0.5, 0.92, 0.7)}),
    ("rprop", "optax", {"learning_rate": 0.3, "eta_plus": 1.3, "min_step_size": 0.1},
     {"lr": 0.3, "etas": (0.5, 1.3), "step_sizes": (0.1, 50.0)}),
    ("prodigy", "optax", {"estim_lr0": 1e-3, "estim_lr_coef": 2.0}, {"d0": 1e-3, "d_coef": 2.0}),
    ("schedule_free_sgd", "optax", {"b1": 0.8}, {"momentum": 0.8}),
    ("schedule_free_adamw", "optax", {"b1": 0.8}, {"betas": (0.8, 0.999)}),
    ("adam", "dl4j", {"learningRate": 0.3, "beta1": 0.5, "epsilon": 0.01},
     {"lr": 0.3, "betas": (0.5, 0.999), "eps": 0.01}),
    ("rmsprop", "dl4j", {"rmsDecay": 0.5, "epsilon": 0.01}, {"alpha": 0.5, "eps": 0.01}),
    ("adadelta", "dl4j", {"rho": 0.5, "epsilon": 0.01}, {"rho": 0.5, "eps": 0.01}),
]  # fmt: skip


@pytest.mark.parametrize(("name", "convention", "theirs", "ours"), SPELLED)
def test_spellings_of_the_library_mean_the_same(name, convention, theirs, ours):
    one = fastopt.create(name, np.ones(2), convention, **theirs)
    other = fastopt.create(name, np.ones(2), convention, **ours)
    assert one.param_groups[0].options == other.param_groups[0].options
    assert one.extras == other.extras


@pytest.mark.parametrize(("name", "convention", "theirs", "ours"), SPELLED)
def test_both_spellings_together_are_refused(name, convention, theirs, ours):
    for option in ours.keys() - theirs.keys():
        with pytest.raises(fastopt.FastoptError, match=f"{option} and .* are both given"):
            fastopt.create(name, np.ones(2), convention, **theirs, **{option: ours[option]})


def test_spellings_of_another_library_are_refused():
    with pytest.raises(
        TypeError, match=r"'learningRate' .*did you mean 'lr'.*allowed: lr, "
    ) as bad:
        fastopt.create("adam", np.ones(2), "keras", learningRate=0.1)
    allowed = str(bad.value).rpartition("allowed: ")[2].split(", ")
    assert {"lr", "betas", "eps", "max_grad_norm", "learning_rate", "beta_1"} < set(allowed)
    assert not {"rho", "learningRate", "b1", "centered"} & set(allowed)
    with pytest.raises(TypeError, match="'learning_rate'"):
        fastopt.create("adam", np.ones(2), learning_rate=0.1)
    with pytest.raises(TypeError, match="'beta_1'"):
        fastopt.create("sgd", np.ones(2), "keras", beta_1=0.1)
    with pytest.raises(fastopt.FastoptError, match=r"lr is 0.1 for .*no learning rate"):
        fastopt.create("adadelta", np.ones(2), "dl4j", learningRate=0.1)
    with pytest.raises(fastopt.FastoptError, match=r"betas\[0\] is 1\.5"):
        fastopt.create("adam", np.ones(2), "keras", beta_1=1.5)
