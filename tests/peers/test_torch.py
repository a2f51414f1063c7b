"""Every step of every rule against torch.optim, in float64."""

import pytest
import torch
from peers.side_by_side import START, assert_same_path

import fastopt

DECAY = {"weight_decay": 0.1}
UP = {"maximize": True}
MOMENTUM = {"momentum": 0.8}

# Our name, and torch's class where it is another; options, which are the same on both sides.
CASES = [
    ("SGD", {}),
    ("SGD", {"lr": 0.1, **DECAY}),
    ("SGD", {"lr": 0.1, **UP, **DECAY}),
    ("SGD", MOMENTUM),
    ("SGD", {"lr": 0.1, **MOMENTUM, "dampening": 0.3}),
    ("SGD", {"lr": 0.1, **MOMENTUM, "nesterov": True}),
    ("SGD", {"lr": 0.1, **MOMENTUM, "dampening": 0.3, **DECAY, **UP}),
    ("SGD", {"lr": 0.1, **MOMENTUM, "nesterov": True, **DECAY, **UP}),
    ("Adagrad", {}),
    ("Adagrad", {"lr": 0.1, "lr_decay": 0.2}),
    ("Adagrad", {"lr": 0.1, "initial_accumulator_value": 0.3}),
    ("Adagrad", {"lr": 0.1, "eps": 0.01}),
    ("Adagrad", {"lr": 0.1, "lr_decay": 0.2, **DECAY, **UP}),
    ("Adadelta", {}),
    ("Adadelta", {"lr": 0.5, "rho": 0.7, "eps": 1e-3}),
    ("Adadelta", {**DECAY, **UP}),
    ("RMSprop", {}),
    ("RMSprop", {"lr": 0.1, "alpha": 0.8, "eps": 0.01}),
    ("RMSprop", {"centered": True}),
    ("RMSprop", MOMENTUM),
    ("RMSprop", {"lr": 0.1, "centered": True, **MOMENTUM, "eps": 0.01}),
    ("RMSprop", {**DECAY, **UP}),
    ("RMSprop", {"centered": True, **MOMENTUM, **DECAY, **UP}),
    ("Adam", {}),
    ("Adam", {"lr": 0.1, "betas": (0.8, 0.95), "eps": 0.01}),
    ("Adam", {"lr": 0.1, "betas": (0.8, 0.95), "amsgrad": True}),
    ("Adam", {"betas": (0.0, 0.5), **DECAY, **UP}),
    ("Adam", {"lr": 0.1, **DECAY, "decoupled_weight_decay": True, "amsgrad": True}),
    ("AdamW", {}),
    ("AdamW", {"lr": 0.1, "betas": (0.8, 0.95), "eps": 0.01, **DECAY}),
    ("AdamW", {"lr": 0.1, "betas": (0.8, 0.95), "amsgrad": True, **DECAY, **UP}),
    ("Adamax", {}),
    ("Adamax", {"lr": 0.1, "betas": (0.8, 0.95), "eps": 0.01}),
    ("Adamax", {**DECAY, **UP}),
    ("NAdam", {}),
    ("NAdam", {"lr": 0.1, "betas": (0.8, 0.95), "eps": 0.01, "momentum_decay": 0.5}),
    ("NAdam", {"lr": 0.1, **DECAY, **UP}),
    ("NAdam", {"lr": 0.1, **DECAY, "decoupled_weight_decay": True}),
]


def compare(name, torch_class, options, torch_options, tolerance):
    w = START.copy()
    opt = fastopt.create(name, w, convention="torch", **options)
    theirs = torch.tensor(START.copy(), dtype=torch.float64)
    peer = torch_class([theirs], **torch_options)
    lr = peer.param_groups[0]["lr"]
    assert opt.lr == lr

    def peer_step(g, rate):
        peer.param_groups[0]["lr"] = rate
        theirs.grad = torch.tensor(g)
        peer.step()
        return theirs.numpy()

    assert_same_path(opt, w, peer_step, lr, tolerance)


@pytest.mark.parametrize(
    ("name", "options"), CASES, ids=[f"{name}-{'-'.join(options)}" for name, options in CASES]
)
def test_same_path_as_torch(name, options):
    # torch keeps NAdam's product of the mu in its default dtype, float32.
    tolerance = 1e-8 if name == "NAdam" else 1e-13
    compare(name, getattr(torch.optim, name), options, options, tolerance)


@pytest.mark.parametrize("options", [options for name, options in CASES if name == "NAdam"])
def test_nadam_is_exact_where_torch_is(options):
    torch.set_default_dtype(torch.float64)
    try:
        compare("NAdam", torch.optim.NAdam, options, options, 1e-13)
    finally:
        torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize(
    ("name", "torch_class", "torch_options"),
    [
        ("momentum", torch.optim.SGD, {"momentum": 0.9}),
        ("nesterov", torch.optim.SGD, {"momentum": 0.9, "nesterov": True}),
        ("amsgrad", torch.optim.Adam, {"amsgrad": True}),
    ],
)
def test_names_that_torch_has_as_options(name, torch_class, torch_options):
    compare(name, torch_class, {}, torch_options, 1e-13)
