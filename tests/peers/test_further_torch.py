"""Every step of further rules against torch.optim and packages for PyTorch, in float64."""

import importlib.util
import sys

import dog
import lion_pytorch
import numpy as np
import prodigyopt
import pytest
import pytorch_optimizer
import schedulefree
import torch
from peers.side_by_side import GRADS, LR_FACTORS, START, assert_same_path

import fastopt


def optimizers_of_timm():
    """Return a function that imports modules of timm.optim; timm itself needs torchvision."""
    for name in ("timm", "timm.optim"):
        sys.modules[name] = importlib.util.module_from_spec(importlib.util.find_spec(name))
    return lambda name: importlib.import_module(f"timm.optim.{name}")


timm = optimizers_of_timm()


@pytest.fixture(autouse=True)
def scalars_in_float64():
    """Let torch compute scalars, such as the eta of ASGD, in float64."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


UP = {"maximize": True}
DECAY = {"weight_decay": 0.1}
BETAS = {"betas": (0.8, 0.95)}
OPTIONS = {"lr": 0.1, **BETAS, "eps": 0.01, **DECAY}

# Name and options of fastopt, and the options of the class of torch.optim where they differ.
OF_TORCH = [
    ("RAdam", {}),
    ("RAdam", OPTIONS),
    ("RAdam", {**OPTIONS, "decoupled_weight_decay": True, **UP}),
    ("RAdam", {"lr": 0.1, "betas": (0.8, 0.6)}),
    ("Rprop", {}),
    ("Rprop", {"lr": 0.1, "etas": (0.4, 1.3), "step_sizes": (0.05, 0.15), **UP}),
    ("Rprop", {"lr": 0.3, "step_sizes": (0.05, 0.15)}),
    ("ASGD", {}),
    ("ASGD", {"lr": 0.1, "lambd": 0.1, "alpha": 0.5, "t0": 3.0, **DECAY}),
    ("ASGD", {"lr": 0.1, "t0": 0.0, **UP}),
    ("Adafactor", {}),
    ("Adafactor", {"lr": 0.5, "beta2_decay": -0.7, "eps": (0.01, 2.0), "d": 1.1, **DECAY, **UP}),
]


def stepper(peer, theirs):
    """Return a function that takes a step of a torch optimizer."""

    def step(g, rate):
        for group in peer.param_groups:
            group["lr"] = rate
        theirs.grad = torch.tensor(g)
        peer.step()
        return theirs.detach().numpy()

    return step


def tensor(start=START):
    return torch.tensor(start.copy(), requires_grad=True)


def compare(opt, w, cls, options, tolerance=1e-12):
    theirs = tensor()
    peer = cls([theirs], **options)
    assert opt.lr == peer.param_groups[0]["lr"]
    assert_same_path(opt, w, stepper(peer, theirs), opt.lr, tolerance)
    return peer.state[theirs]


@pytest.mark.parametrize(
    ("name", "options"), OF_TORCH, ids=[f"{name}-{'-'.join(options)}" for name, options in OF_TORCH]
)
def test_same_path_as_torch(name, options):
    w = START.copy()
    opt = fastopt.create(name, w, **options)
    state = compare(opt, w, getattr(torch.optim, name), options)
    if name == "ASGD":
        with opt.averaged():
            assert np.abs(w - state["ax"].numpy()).max() < 1e-12


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"lr": 0.1, "momentum": 0.8, "ns_steps": 4, "adjust_lr_fn": "match_rms_adamw"},
        {"lr": 0.1, "nesterov": False, "ns_coefficients": (3.0, -4.0, 2.0), "weight_decay": 0.3},
    ],
)
def test_muon_as_torch_would_be_in_float64(options, monkeypatch):
    monkeypatch.setattr(torch.Tensor, "bfloat16", torch.Tensor.clone)
    w = START.copy()
    compare(fastopt.Muon(w, **options), w, torch.optim.Muon, options)


EPS = {"eps": 0.01}
RATE = {"lr": 0.1}

# Class and options of fastopt; class and options of the package, where they differ.
OF_PACKAGES = [
    ("Lion", {}, lion_pytorch.Lion, {}),
    ("Lion", {**RATE, **BETAS, **DECAY}, lion_pytorch.Lion, None),
    (
        "Lion",
        {**RATE, **DECAY, "decoupled_weight_decay": "schedule_only"},
        lion_pytorch.Lion,
        {**RATE, **DECAY, "decoupled_weight_decay": True},
    ),
    ("Prodigy", {"d0": 0.1}, prodigyopt.Prodigy, None),
    (
        "Prodigy",
        {**OPTIONS, "d0": 0.01, "beta3": 0.9, "d_coef": 2.0, "use_bias_correction": True}
        | {"growth_rate": 1.1, "safeguard_warmup": True},
        prodigyopt.Prodigy,
        None,
    ),
    ("DoG", {"reps_rel": 0.1}, dog.DoG, None),
    ("DoG", {"reps_rel": 0.1, "lr": 0.5, **DECAY, **EPS}, dog.DoG, None),
    ("DoG", {"reps_rel": 0.1, **DECAY, "layerwise": True}, dog.LDoG, {"reps_rel": 0.1, **DECAY}),
    ("SM3", {}, pytorch_optimizer.SM3, {}),
    ("SM3", {**RATE, "momentum": 0.8, "eps": 0.01}, pytorch_optimizer.SM3, None),
    ("NovoGrad", {}, pytorch_optimizer.NovoGrad, {}),
    (
        "StableAdamW",
        {**OPTIONS, "eps": 0.5},
        pytorch_optimizer.StableAdamW,
        {**OPTIONS, "eps": 0.5, "kahan_sum": False},
    ),
    (
        "LARS",
        {**RATE, "momentum": 0.8, **DECAY, **EPS, "trust_coefficient": 0.1},
        timm("lars").Lars,
        {**RATE, "momentum": 0.8, **DECAY, **EPS, "trust_coeff": 0.1},
    ),
    (
        "LARS",
        {**RATE, "momentum": 0.8, **DECAY, "nesterov": True, "trust_clip": True},
        timm("lars").Lars,
        None,
    ),
    (
        "LARS",
        {**RATE, "momentum": 0.8, "always_adapt": False},
        timm("lars").Lars,
        {**RATE, "momentum": 0.8},
    ),
    (
        "LAMB",
        {**OPTIONS, "trust_clip": True},
        timm("lamb").Lamb,
        {**OPTIONS, "trust_clip": True, "max_grad_norm": None},
    ),
    (
        "LAMB",
        {**RATE, **BETAS, "always_adapt": False},
        timm("lamb").Lamb,
        {**RATE, **BETAS, "weight_decay": 0.0, "max_grad_norm": None},
    ),
    (
        "Lion",
        {**RATE, **BETAS, "cautious": True},
        timm("lion").Lion,
        {**RATE, **BETAS, "caution": True},
    ),
    (
        "AdamW",
        {**OPTIONS, "cautious": True},
        timm("adamw").AdamWLegacy,
        {**OPTIONS, "caution": True},
    ),
    ("Signum", {**RATE, "momentum": 0.8, **DECAY}, pytorch_optimizer.SignSGD, None),
    ("Adan", {}, pytorch_optimizer.Adan, {}),
    ("Adan", {**RATE, "betas": (0.8, 0.7, 0.95), **EPS, **DECAY}, timm("adan").Adan, None),
    (
        "Adan",
        {**RATE, "betas": (0.8, 0.7, 0.95), **DECAY, "decoupled_weight_decay": True},
        timm("adan").Adan,
        {**RATE, "betas": (0.8, 0.7, 0.95), **DECAY, "no_prox": True},
    ),
    (
        "ADOPT",
        {**RATE, **BETAS, **EPS, "clip_exp": 0.333},
        timm("adopt").Adopt,
        {**RATE, **BETAS, **EPS},
    ),
    (
        "AdaBelief",
        {**RATE, **BETAS, **EPS, "eps_root": 0.01, **DECAY, "eps_mode": "hat", "rectify": True},
        timm("adabelief").AdaBelief,
        {**RATE, **BETAS, **EPS, **DECAY, "rectify": True},
    ),
    (
        "AdaBelief",
        {**RATE, **BETAS, **EPS, "eps_root": 0.01, **DECAY},
        timm("adabelief").AdaBelief,
        {**RATE, **BETAS, **EPS, **DECAY, "rectify": False},
    ),
    ("QHAdam", {**OPTIONS, "nus": (0.7, 0.9)}, pytorch_optimizer.QHAdam, None),
    (
        "AdEMAMix",
        {**RATE, "betas": (0.8, 0.95, 0.9), **EPS, "alpha": 3.0, **DECAY},
        pytorch_optimizer.AdEMAMix,
        {**RATE, "betas": (0.8, 0.95, 0.9), **EPS, "alpha": 3.0, **DECAY, "weight_decouple": True},
    ),
    (
        "Ftrl",
        {**RATE, "l1_regularization_strength": 0.1, "l2_regularization_strength": 0.2, "beta": 0.5}
        | {"initial_accumulator_value": 0.0, "keep_start": False},
        pytorch_optimizer.FTRL,
        {**RATE, "lambda_1": 0.1, "lambda_2": 0.2, "beta": 0.5},
    ),
]


@pytest.mark.parametrize(
    ("name", "options", "cls", "theirs"),
    OF_PACKAGES,
    ids=[
        f"{cls.__module__.partition('.')[0]}-{name}-{'-'.join(options)}"
        for name, options, cls, _ in OF_PACKAGES
    ],
)
def test_same_path_as_a_package(name, options, cls, theirs):
    w = START.copy()
    opt = fastopt.create(name, w, **options)
    # pytorch-optimizer keeps the weights of QHAdam's means in float32.
    tolerance = 1e-7 if name == "QHAdam" else 1e-12
    compare(opt, w, cls, options if theirs is None else theirs, tolerance)


SCHEDULE_FREE = [
    ("ScheduleFreeSGD", schedulefree.SGDScheduleFree, {}),
    (
        "ScheduleFreeSGD",
        schedulefree.SGDScheduleFree,
        {**RATE, "momentum": 0.8, **DECAY, "warmup_steps": 3, "r": 1.0, "weight_lr_power": 1.0},
    ),
    ("ScheduleFreeAdamW", schedulefree.AdamWScheduleFree, {}),
    (
        "ScheduleFreeAdamW",
        schedulefree.AdamWScheduleFree,
        {**OPTIONS, "warmup_steps": 3, "r": 1.0, "weight_lr_power": 1.0},
    ),
    ("ScheduleFreeRAdam", schedulefree.RAdamScheduleFree, {}),
    ("ScheduleFreeRAdam", schedulefree.RAdamScheduleFree, {**OPTIONS, "silent_sgd_phase": False}),
]


@pytest.mark.parametrize(
    ("name", "cls", "options"),
    SCHEDULE_FREE,
    ids=[f"{name}-{'-'.join(options)}" for name, _, options in SCHEDULE_FREE],
)
def test_same_path_as_schedulefree(name, cls, options):
    w, theirs = START.copy(), tensor()
    opt = fastopt.create(name, w, **options)
    peer = cls([theirs], **options)
    lr = opt.lr
    assert lr == peer.param_groups[0]["lr"]
    peer.train()
    step = stepper(peer, theirs)
    for g, factor in zip(GRADS, LR_FACTORS, strict=True):
        rate = lr * float(factor)
        opt.lr = rate
        opt.step(g)
        assert np.abs(w - step(g, rate)).max() < 1e-11
        peer.eval()
        with opt.averaged():
            assert np.abs(w - theirs.detach().numpy()).max() < 1e-11
        peer.train()
    assert np.abs(w - START).max() > 1e-4
