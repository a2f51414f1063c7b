"""Every step of every rule against torch.optim, in float64, also after loading its state dict."""

import ml_dtypes
import numpy as np
import pytest
import torch
from peers.side_by_side import GRADS, LR_FACTORS, START, assert_same_path

import fastopt

DECAY = {"weight_decay": 0.1}
UP = {"maximize": True}
MOMENTUM = {"momentum": 0.8}

# Class and options, which are the same in fastopt and torch.
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
    # torch stores the product of NAdam's momenta in its default dtype, float32.
    tolerance = 1e-8 if name == "NAdam" else 1e-13
    compare(name, getattr(torch.optim, name), options, options, tolerance)


@pytest.mark.parametrize("options", [options for name, options in CASES if name == "NAdam"])
def test_nadam_with_torch_computing_in_float64(options):
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
def test_rules_that_are_options_in_torch(name, torch_class, torch_options):
    compare(name, torch_class, {}, torch_options, 1e-13)


@pytest.mark.parametrize(
    ("name", "options"), CASES, ids=[f"{name}-{'-'.join(options)}" for name, options in CASES]
)
def test_same_path_after_loading_a_torch_state_dict(name, options):
    """Load it after 5 steps of three tensors in two groups; one tensor has no gradient."""
    theirs = [torch.tensor(START.copy()), torch.tensor(START[0].copy()), torch.ones(2)]
    groups = [{"params": theirs[:2]}, {"params": theirs[2:], "weight_decay": 0.2}]
    peer = getattr(torch.optim, name)(groups, **options)
    rate = peer.param_groups[0]["lr"]

    def peer_step(g, factor):
        for group in peer.param_groups:
            group["lr"] = rate * factor
        theirs[0].grad, theirs[1].grad = torch.tensor(g), torch.tensor(g[1])
        peer.step()

    for g, factor in zip(GRADS[:5], LR_FACTORS[:5], strict=True):
        peer_step(g, factor)
    ours = [w.numpy().copy() for w in theirs]
    opt = getattr(fastopt, name)(
        [{"params": ours[:2]}, {"params": ours[2:]}],
        **{key: options[key] for key in ("momentum", "centered", "amsgrad") if key in options},
    )
    opt.load_state_dict(peer.state_dict())
    assert opt.lr == rate * LR_FACTORS[4]
    assert opt.param_groups[1]["weight_decay"] == 0.2
    if name != "SGD":
        assert opt.step_count == 5
    # torch stores the product of NAdam's momenta in its default dtype, float32.
    tolerance = 1e-8 if name == "NAdam" else 1e-13
    for t, (g, factor) in enumerate(zip(GRADS[5:], LR_FACTORS[5:], strict=True), 6):
        opt.lr = rate * factor
        opt.step([g, g[1].copy(), None])
        peer_step(g, factor)
        for mine, other in zip(ours, theirs, strict=True):
            worst = np.abs(mine - other.numpy()).max()
            assert worst <= tolerance, f"step {t}: differs by {worst:.2g}"
    assert np.abs(ours[0] - START).max() > 100 * tolerance


def test_torch_state_of_16_bits_is_loaded_as_float32():
    for dtype, ours in ((torch.bfloat16, ml_dtypes.bfloat16), (torch.float16, np.float16)):
        w = torch.ones(3, dtype=dtype)
        peer = torch.optim.Adam([w])
        w.grad = torch.tensor([0.1, 1.0, 3.0], dtype=dtype)
        peer.step()
        opt = fastopt.Adam([np.ones(3, ours)])
        opt.load_state_dict(peer.state_dict())
        for name in ("exp_avg", "exp_avg_sq"):
            assert opt.state[0][name].dtype == np.float32
            assert opt.state[0][name].tolist() == peer.state[w][name].tolist()


def test_torch_state_of_another_dtype_is_refused():
    w = torch.ones(3)
    peer = torch.optim.Adam([w])
    w.grad = torch.ones(3)
    peer.step()
    opt = fastopt.Adam([np.ones(3)])
    with pytest.raises(fastopt.FastoptError, match=r"exp_avg.*'float32'.*'float64'"):
        opt.load_state_dict(peer.state_dict())
    assert opt.step_count == 0


def test_torch_parameters_are_matched_by_name_not_order():
    tensors = {name: torch.ones(3, requires_grad=True) for name in "ab"}
    peer = torch.optim.Adam(tensors.items())
    for g, w in enumerate(tensors.values(), 1):
        w.grad = torch.full((3,), float(g))
    peer.step()
    opt = fastopt.Adam({name: np.ones(3, np.float32) for name in "ba"})
    opt.load_state_dict(peer.state_dict())
    for name, w in tensors.items():
        assert opt.state[name]["exp_avg"].tolist() == peer.state[w]["exp_avg"].tolist()
    other = fastopt.Adam({name: np.ones(3, np.float32) for name in "bc"})
    with pytest.raises(fastopt.FastoptError, match=r"names \['a', 'b'\].*\['b', 'c'\]"):
        other.load_state_dict(peer.state_dict())


def test_torch_state_of_another_rule_is_refused():
    peer = torch.optim.Adamax([torch.ones(3)])
    for cls in (fastopt.Adam, fastopt.AdamW, fastopt.NAdam):
        with pytest.raises(fastopt.FastoptError, match=r"no '.*' in group 0"):
            cls([np.ones(3)]).load_state_dict(peer.state_dict())
