"""perturbed() of fastopt.torch: where sharpness-aware minimization takes its gradients."""

import copy

import pytest
import torch

import fastopt
import fastopt.torch
from fastopt import FastoptError

DTYPES = [torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.complex64]


def made(dtype=torch.float32, shapes=((3, 4), (5,), ())):
    generator = torch.Generator().manual_seed(0)
    params = []
    for shape in shapes:
        p = torch.randn(shape, generator=generator).to(dtype).requires_grad_()
        p.grad = torch.randn(shape, generator=generator).to(dtype)
        params.append(p)
    return params


def uphill(params, rho):
    exact = torch.complex128 if params[0].is_complex() else torch.float64
    grads = [p.grad.to(exact) for p in params]
    norm = sum(g.abs().pow(2).sum() for g in grads).sqrt()
    return [p.detach().to(exact) + rho * g / norm for p, g in zip(params, grads, strict=True)]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("master", [None, "float32"])
def test_parameters_are_uphill_in_the_block_and_restored_after_it(dtype, master):
    params = made(dtype)
    opt = fastopt.torch.SGD(params, lr=0.1, master=master)
    if master:
        opt.step()
    expected, before = uphill(params, 0.3), copy.deepcopy(params)
    eps = torch.finfo(dtype).eps
    with opt.perturbed(0.3):
        for p, e in zip(params, expected, strict=True):
            assert ((p.detach() - e).abs() <= 4 * eps * (1 + e.abs())).all()
        with pytest.raises(FastoptError, match=r"step\(\) inside perturbed"):
            opt.step()
    assert all(torch.equal(p, q) for p, q in zip(params, before, strict=True))


def test_gradients_are_computed_in_the_block():
    params, others = made(), made()
    opt, plain = fastopt.torch.Adam(params, lr=0.1), fastopt.torch.Adam(others, lr=0.1)
    for p in params:
        p.grad = p.detach().cos()
    with opt.perturbed(0.5):
        points = [p.detach().clone() for p in params]
        opt.zero_grad()
        sum(p.sin().sum() for p in params).backward()
    opt.step()
    for p, there in zip(others, points, strict=True):
        p.grad = there.cos()
    plain.step()
    assert all(torch.equal(p, q) for p, q in zip(params, others, strict=True))


def test_groups_maximize_and_parameters_without_a_gradient():
    a, b, c = made(shapes=[(3,), (3,), (3,)])
    c.grad = None
    opt = fastopt.torch.SGD([{"params": [a, c]}, {"params": [b], "maximize": True}])
    up, down, before = uphill([a, b], 0.5)[0], uphill([a, b], -0.5)[1], c.detach().clone()
    with opt.perturbed(0.5):
        torch.testing.assert_close(a.detach(), up.float())
        torch.testing.assert_close(b.detach(), down.float())
        assert torch.equal(c, before)


def test_nothing_moves_if_all_gradients_are_0():
    (p,) = made(shapes=[(3,)])
    p.grad.zero_()
    before = p.detach().clone()
    with fastopt.torch.SGD([p]).perturbed(0.5):
        assert torch.equal(p, before)


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_error_in_the_block_restores_the_parameters(error):
    params = made()
    before = copy.deepcopy(params)
    with pytest.raises(error), fastopt.torch.SGD(params).perturbed(0.5):
        raise error
    assert all(torch.equal(p, q) for p, q in zip(params, before, strict=True))


def test_bad_calls_are_refused():
    (p,) = made(shapes=[(3, 2)])
    opt = fastopt.torch.SGD([p], ema_decay=0.5)
    with pytest.raises(FastoptError, match="rho is -1"), opt.perturbed(-1.0):
        pass
    with opt.averaged(), pytest.raises(FastoptError, match="averaged"), opt.perturbed(0.1):
        pass
    with opt.perturbed(0.1), pytest.raises(FastoptError, match="perturbed"), opt.averaged():
        pass
    p.grad = torch.sparse_coo_tensor([[0]], torch.ones(1, 2), (3, 2), check_invariants=True)
    with pytest.raises(FastoptError, match="sparse"), opt.perturbed(0.1):
        pass
