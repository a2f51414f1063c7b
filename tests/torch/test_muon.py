"""Muon: equal bits as fastopt.Muon, and near torch.optim.Muon, which computes in bfloat16."""

import copy

import numpy as np
import pytest
import torch
from torch.nn import Parameter

import fastopt
from fastopt import FastoptError
from fastopt.torch import Muon, step_in_backward

SHAPES = [(40, 33), (20, 61), (1, 7), (0, 3)]
OPTIONS = [
    {},
    {"momentum": 0.7, "nesterov": False, "weight_decay": 0.3},
    {"ns_coefficients": (1.875, -1.25, 0.375), "ns_steps": 3, "eps": 1.0},
    {"adjust_lr_fn": "match_rms_adamw", "max_grad_norm": 3.0, "max_grad_value": 0.02},
    {"ema_decay": 0.9, "l1": 0.01, "on_nonfinite": "raise"},
]


def values(seed, dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=generator).to(dtype) for shape in SHAPES]


def transposed(tensor):
    return tensor.t().contiguous().t()


def parameters(dtype=torch.float32, layout=torch.clone):
    return [Parameter(layout(w)) for w in values(0, dtype)]


def step(opt, params, seed, dtype=torch.float32, layout=torch.clone):
    for p, grad in zip(params, values(seed, dtype), strict=True):
        p.grad = layout(grad)
    opt.step()


def assert_equal(tensors, arrays):
    for tensor, array in zip(tensors, arrays, strict=True):
        assert tensor.detach().numpy().tobytes() == np.ascontiguousarray(array).tobytes()


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("layout", [torch.clone, transposed], ids=["contiguous", "transposed"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_equal_bits_as_the_class_for_numpy(options, layout, dtype):
    params = parameters(dtype, layout)
    arrays = [w.numpy().copy() for w in values(0, dtype)]
    # Gradients have the layout of the parameters, so that their norm has the same bits.
    like = [np.array(w, order="F") if layout is transposed else w for w in arrays]
    opt, expected = Muon(params, lr=0.1, **options), fastopt.Muon(like, lr=0.1, **options)
    for seed in (1, 2, 3):
        step(opt, params, seed, dtype, layout)
        grads = [grad.numpy() for grad in map(layout, values(seed, dtype))]
        expected.step(grads)
    assert_equal(params, like)
    for p, state in zip(params, expected.state.values(), strict=True):
        names = {"momentum_buffer", *(["ema"] if "ema_decay" in options else [])}
        assert set(opt.state[p]) == names
        assert_equal([opt.state[p][name] for name in names], [state[name] for name in names])


def test_coupled_decay_and_a_mask():
    """decoupled_weight_decay, which torch.optim.Muon lacks, is an item of a group."""
    names = ["a", "b", "c", "d"]
    params, arrays = parameters(), [w.numpy() for w in values(0)]
    group = {"params": [*zip(names, params, strict=True)], "decoupled_weight_decay": False}
    options = {"lr": 0.1, "weight_decay": 0.3, "weight_decay_mask": lambda name: name != "b"}
    opt = Muon([group], **options)
    expected = fastopt.Muon(
        dict(zip(names, arrays, strict=True)), decoupled_weight_decay=False, **options
    )
    for seed in (1, 2):
        step(opt, params, seed)
        grads = [grad.numpy() for grad in values(seed)]
        expected.step(dict(zip(names, grads, strict=True)))
    assert_equal(params, arrays)


@pytest.mark.parametrize("state_dtype", [None, "bfloat16"])
def test_masters_of_bfloat16_parameters(state_dtype):
    """The masters are those of fastopt.Muon, which has read the same bfloat16 numbers."""
    params = parameters(torch.bfloat16)
    arrays = [w.float().numpy() for w in values(0, torch.bfloat16)]
    opt = Muon(params, lr=0.1, master="float32", state_dtype=state_dtype)
    expected = fastopt.Muon(arrays, lr=0.1, state_dtype=state_dtype)
    step(opt, params, 1, torch.bfloat16)
    expected.step([grad.float().numpy() for grad in values(1, torch.bfloat16)])
    assert_equal([opt.state[p]["master"] for p in params], arrays)
    for p, array in zip(params, arrays, strict=True):
        assert torch.equal(p, torch.from_numpy(array).bfloat16())


@pytest.mark.parametrize("options", OPTIONS[:3], ids=str)
def test_near_torch(options):
    """PyTorch's directions have errors of bfloat16, up to 2**-8 of each product."""
    params, theirs = parameters(), parameters()
    opt, expected = Muon(params, lr=0.1, **options), torch.optim.Muon(theirs, lr=0.1, **options)
    for seed in (1, 2, 3):
        step(opt, params, seed)
        step(expected, theirs, seed)
    for p, other, start in zip(params[:3], theirs, values(0), strict=False):
        assert (p - other).abs().max() <= 0.02 * (p - start).abs().max()
        ours, torchs = (o.state[w]["momentum_buffer"] for o, w in ((opt, p), (expected, other)))
        torch.testing.assert_close(ours, torchs)


def test_state_dicts_are_those_of_torch():
    params, theirs = parameters(), parameters()
    opt, other = Muon(params, lr=0.1), torch.optim.Muon(theirs, lr=0.2, momentum=0.5)
    step(other, theirs, 1)
    opt.load_state_dict(other.state_dict())
    assert opt.param_groups[0]["momentum"] == 0.5
    for p, their in zip(params, theirs, strict=True):
        assert torch.equal(opt.state[p]["momentum_buffer"], other.state[their]["momentum_buffer"])
    step(opt, params, 2)
    other.load_state_dict(opt.state_dict())
    step(other, theirs, 3)
    assert opt.state_dict()["state"].keys() == other.state_dict()["state"].keys()


def test_groups_and_parameters_without_a_gradient():
    params, apart = parameters(), parameters()
    opt = Muon([{"params": params[:1], "momentum": 0.5}, {"params": params[1:], "lr": 0.2}])
    for p, grad in zip(params, values(1), strict=True):
        p.grad = None if p is params[1] else grad
    opt.step()
    assert torch.equal(params[1], apart[1])
    assert params[1] not in opt.state
    for i, options in ((0, {"momentum": 0.5}), (2, {"lr": 0.2})):
        apart[i].grad = values(1)[i]
        Muon([apart[i]], **options).step()
        assert torch.equal(params[i], apart[i])


def test_a_step_in_the_backward_pass():
    params, other = parameters(), parameters()
    opt, expected = Muon(params, lr=0.1), Muon(other, lr=0.1)
    with step_in_backward(opt):
        sum((p * g).sum() for p, g in zip(params, values(1), strict=True)).backward()
    step(expected, other, 1)
    assert all(map(torch.equal, params, other))


@pytest.mark.parametrize("on_nonfinite", ["raise", "skip"])
def test_a_step_that_is_not_taken_changes_nothing(on_nonfinite):
    params = parameters()
    opt = Muon(params, lr=0.1, on_nonfinite=on_nonfinite)
    step(opt, params, 1)
    before = copy.deepcopy([params, opt.state_dict()])
    for p, grad in zip(params, values(2), strict=True):
        p.grad = grad
    params[1].grad[0, 0] = torch.nan
    if on_nonfinite == "skip":
        opt.step()
    else:
        with pytest.raises(FastoptError, match="parameter 1 has a NaN"):
            opt.step()
    torch.testing.assert_close([params, opt.state_dict()], before, rtol=0, atol=0)


def test_refusals():
    with pytest.raises(ValueError, match="Muon only supports 2D parameters"):
        Muon([torch.zeros(3, requires_grad=True)])
    p = torch.zeros(2, 2, dtype=torch.complex64, requires_grad=True)
    p.grad = torch.ones_like(p)
    with pytest.raises(RuntimeError, match="Muon does not support complex parameters"):
        Muon([p]).step()
    w = torch.zeros(2, 2, requires_grad=True)
    w.grad = torch.eye(2).to_sparse()
    with pytest.raises(RuntimeError, match="Muon does not support sparse gradients"):
        Muon([w]).step()
    w.grad, w._fsdp_flattened = torch.eye(2), True
    with pytest.raises(FastoptError, match=r"is a shard .* Muon needs all elements of a parameter"):
        Muon([w]).step()
    assert not w.any()
