"""Gradients that are missing, shared, expanded, complex, conjugated or of another dtype."""

import copy
import weakref

import numpy as np
import pytest
import torch
from torch.nn import Parameter

from tests.torch.pairs import (
    DENSE,
    NAMES,
    OPTIONS,
    PAIRS,
    TAKE_SPARSE,
    assert_same,
    assert_same_optimizers,
    make_pair,
    make_params,
    normal,
    outcome,
    params_of,
    plain,
    rows,
    set_gradients,
    tolerance,
)
from tests.torch.scenarios import SHAPES, assert_same_result, seen, steps


def step_between_forward_and_backward(cls, options):
    p = make_params([(3,)])[0]
    opt = cls([p], **options)
    loss = (p * p).sum()
    p.grad = torch.ones(3)
    opt.step()
    return outcome(loss.backward)[0]


def gradient_that_requires_grad(cls, options):
    opt = cls(make_params(SHAPES), **options)
    set_gradients([opt], 1)
    for p in params_of(opt):
        p.grad.requires_grad_()
    opt.step()
    return [(p.requires_grad, p.is_leaf, p.grad.requires_grad) for p in params_of(opt)], [
        p.detach() for p in params_of(opt)
    ]


def steps_in_inference_mode(cls, options):
    opt = cls(make_params(SHAPES), **options)
    with torch.inference_mode():
        return steps(opt)


def gradients_in_one_bucket(cls, options):
    """DDP makes such gradients with gradient_as_bucket_view."""
    opt = cls(make_params([(3,), (2, 4), (), (5,)]), **options)
    bucket = normal((18,), 1)
    start = 1
    for p in params_of(opt):
        p.grad = bucket[start : start + p.numel()].view(p.shape)
        start += p.numel()
    for _ in range(3):
        opt.step()
        bucket.mul_(-0.5)
    return seen(opt)


def integer_parameter_without_gradient(cls, options):
    table = Parameter(torch.arange(4), requires_grad=False)
    opt = cls([table, *make_params(SHAPES)], **options)
    for t in range(2):
        for i, p in enumerate(params_of(opt)[1:]):
            p.grad = normal(p.shape, 10 * t + i)
        opt.step()
    return seen(opt)


def frozen_parameter_with_a_gradient(cls, options):
    opt = cls(make_params(SHAPES), **options)
    params_of(opt)[0].requires_grad_(False)
    return steps(opt)


def under_a_default_dtype(cls, options):
    torch.set_default_dtype(torch.float64)
    try:
        return steps(cls(make_params(SHAPES, torch.float32), **options))
    finally:
        torch.set_default_dtype(torch.float32)


def zero_grad(cls, options):
    opt = cls(make_params([*SHAPES, (2,)]), **options)
    set_gradients([opt], 1)
    params_of(opt)[2].grad = None
    opt.step()
    before = [p.grad for p in params_of(opt)]
    opt.zero_grad(set_to_none=False)
    same = [p.grad is g for p, g in zip(params_of(opt), before, strict=True)]
    zeros = seen(opt)
    opt.step()
    opt.zero_grad()
    return same, zeros, seen(opt)


def gradients_that_come_and_go(cls, options):
    opt = cls(make_params([(3,), (4,), (5,)]), **options)
    results = []
    for t, missing in enumerate([{1}, {0, 1, 2}, {0, 2}, set(), {2}]):
        set_gradients([opt], t)
        for i in missing:
            params_of(opt)[i].grad = None
        opt.step()
        results.append((seen(opt), len(opt.state)))
    return results


def no_gradient_at_all(cls, options):
    opt = cls(make_params(SHAPES), **options)
    versions = [p._version for p in params_of(opt)]
    opt.step()
    return seen(opt), len(opt.state), [p._version for p in params_of(opt)] == versions


def no_parameter_at_all(cls, options):
    return outcome(lambda: cls([], **options)), cls([{"params": []}], **options).step()


def shared_gradient(cls, options):
    opt = cls(make_params([(4, 5), (4, 5)]), **options)
    g = normal((4, 5), 1)
    for p in params_of(opt):
        p.grad = g
    opt.step()
    opt.step()
    return seen(opt)


def expanded_gradient(cls, options):
    opt = cls(make_params([(40, 50), (6,)]), **options)
    params_of(opt)[0].grad = normal((50,), 1).expand(40, 50)
    params_of(opt)[1].grad = torch.tensor(0.5).expand(6)
    opt.step()
    return seen(opt)


def gradient_of_a_sum(cls, options):
    """Autograd itself makes an expanded gradient here."""
    opt = cls(make_params([(30, 7)]), **options)
    params_of(opt)[0].sum().backward()
    opt.step()
    return seen(opt)


def negative_view_as_gradient(cls, options):
    opt = cls(make_params([(5,)]), **options)
    (p,) = params_of(opt)
    p.grad = torch.complex(normal((5,), 1), normal((5,), 2)).conj().imag
    negative = p.grad.is_neg()
    opt.step()
    return negative, [p.detach(), dict(opt.state[p])]


def huge_and_tiny_gradients(cls, options):
    opt = cls(make_params([(6,)]), **options)
    params_of(opt)[0].grad = torch.tensor([0.0, -0.0, 1e-30, 1e-42, 1e15, -1e18])
    opt.step()
    return [p.detach() for p in params_of(opt)]


SCENARIOS = [
    step_between_forward_and_backward, gradient_that_requires_grad,
    frozen_parameter_with_a_gradient, under_a_default_dtype, zero_grad,
    gradients_that_come_and_go, no_gradient_at_all, no_parameter_at_all, shared_gradient,
    expanded_gradient, gradient_of_a_sum, negative_view_as_gradient, huge_and_tiny_gradients,
    steps_in_inference_mode, gradients_in_one_bucket, integer_parameter_without_gradient,
]  # fmt: skip


@pytest.mark.parametrize("name", DENSE)
@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
def test_scenario(scenario, name):
    assert_same_result(scenario, name)


# Complex parameters -----------------------------------------------------------------------------

COMPLEX = {
    "contiguous": torch.clone,
    "conjugated view": lambda g: g.conj().resolve_conj().conj(),
    "transposed": lambda g: g.t().contiguous().t(),
    "expanded": lambda g: g[:1].expand(g.shape),
}


@pytest.mark.parametrize("dtype", [torch.complex128, torch.complex64], ids=str)
@pytest.mark.parametrize("layout", COMPLEX)
@pytest.mark.parametrize("name", DENSE)
def test_complex_parameters(name, layout, dtype):
    """Real and imaginary parts are updated as separate real numbers."""
    real = torch.float64 if dtype is torch.complex128 else torch.float32

    def trained(cls):
        start = torch.complex(normal((3, 4), 0, real), normal((3, 4), 1, real))
        p, q = Parameter(start), Parameter(normal((5,), 2, real))
        opt = cls([p, q], **{**OPTIONS[name], **plain(name)})
        results = []
        for t in range(4):
            g = torch.complex(normal((3, 4), 10 + t, real), normal((3, 4), 20 + t, real))
            p.grad, q.grad = COMPLEX[layout](g), normal((5,), 30 + t, real)
            if cls is PAIRS[name][1]:  # torch's AdamW and NAdam refuse conjugated views
                p.grad = p.grad.resolve_conj()
            opt.step()
            results.append(copy.deepcopy([p.detach(), q.detach(), dict(opt.state[p])]))
        return results

    ours, theirs = (outcome(lambda cls=cls: trained(cls)) for cls in PAIRS[name])
    if name == "Adafactor":
        assert ours == theirs == (RuntimeError, "Adafactor does not support complex parameters")
        return
    assert type(theirs) is list, theirs
    assert_same(ours, theirs, tolerance(name, dtype), "step")


# Gradients of another dtype ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dtype", "grad_dtype"),
    [
        (torch.float32, torch.bfloat16),
        (torch.float32, torch.float16),
        (torch.float64, torch.float32),
        (torch.float64, torch.bfloat16),
    ],
    ids=str,
)
@pytest.mark.parametrize("name", NAMES)
def test_gradient_of_a_narrower_dtype(name, dtype, grad_dtype):
    """torch's classes fail on most of these; the reference converts the gradient first."""
    ours, theirs = pair = make_pair(name, lambda: make_params(SHAPES, dtype), **OPTIONS[name])
    for p in params_of(ours):
        p.grad_dtype = grad_dtype
    for t in range(3):
        for i, (p, q) in enumerate(zip(*map(params_of, pair), strict=True)):
            g = normal(p.shape, 10 * t + i, grad_dtype)
            p.grad, q.grad = ((rows(x) if name == "SparseAdam" else x) for x in (g, g.to(dtype)))
        ours.step()
        theirs.step()
        assert_same_optimizers(ours, theirs, tolerance(name, dtype), f"step {t}")


@pytest.mark.parametrize("name", NAMES)
def test_float32_gradient_of_a_bfloat16_parameter(name):
    """The gradient is not rounded to bfloat16 first."""
    (p,), (q,) = (make_params([(40, 50)], dtype) for dtype in (torch.bfloat16, torch.float32))
    q.data.copy_(p.data)
    p.grad_dtype = torch.float32
    g = normal((40, 50), 1)
    p.grad, q.grad = ((rows(x) if name == "SparseAdam" else x) for x in (g, g))
    ours, theirs = (cls([x], **OPTIONS[name]) for cls, x in zip(PAIRS[name], (p, q), strict=True))
    ours.step()
    theirs.step()
    assert_same(ours.state[p], theirs.state[q], 1e-6, "state")
    bound = q.detach().abs() * 2**-8 + 1e-5
    assert ((p.detach().float() - q.detach()).abs() <= bound).all()


@pytest.mark.parametrize("name", NAMES)
def test_parameters_of_several_dtypes_in_one_group(name):
    dtypes = [torch.float32, torch.float64, torch.bfloat16, torch.float16, torch.float32]

    def mixed():
        return [make_params([(7, 3)], dtype, seed=i)[0] for i, dtype in enumerate(dtypes)]

    ours, theirs = pair = make_pair(name, mixed, **OPTIONS[name])
    for t in range(3):
        set_gradients(pair, t, [rows] * len(dtypes) if name == "SparseAdam" else None)
        ours.step()
        theirs.step()
        for p, q in zip(*map(params_of, pair), strict=True):
            tol = (
                16 * torch.finfo(p.dtype).eps if p.dtype.itemsize == 2 else tolerance(name, p.dtype)
            )
            assert_same(p.detach(), q.detach(), tol, f"step {t}, {p.dtype}")


# What a step leaves behind ----------------------------------------------------------------------


HELD = {
    "contiguous": torch.Tensor.contiguous,
    "transposed": lambda g: g.t().contiguous().t(),
    "expanded": lambda g: g[:1].expand(g.shape),
    "bfloat16": torch.Tensor.bfloat16,
    "sparse": lambda g: rows(g, repeat=True),
}


@pytest.mark.parametrize(
    ("name", "layout"),
    [(name, layout) for name in DENSE for layout in HELD if layout != "sparse"]
    + [(name, "sparse") for name in TAKE_SPARSE],
)
def test_no_gradient_is_kept_alive_after_the_step(name, layout):
    options = {key: 0.0 if key == "weight_decay" else value for key, value in OPTIONS[name].items()}
    (p,) = params = make_params([(8, 6)])
    p.grad_dtype = None  # any
    opt = PAIRS[name][0](params, **options)
    for t in range(3):
        p.grad = HELD[layout](normal((8, 6), t))
        reference = weakref.ref(p.grad)
        opt.step()
        p.grad = None
        assert reference() is None
        if name in DENSE:  # a view would keep the memory, but not the tensor
            memory = np.full((8, 6), 0.5, np.float32)
            reference = weakref.ref(memory)
            p.grad = torch.from_numpy(memory)
            del memory
            assert reference() is not None
            opt.step()
            p.grad = None
            assert reference() is None


@pytest.mark.parametrize("name", NAMES)
def test_a_step_changes_no_gradient_and_increments_versions(name):
    params = make_params([(8, 6), (5,), (2,)])
    opt = PAIRS[name][0](params, **OPTIONS[name])
    if name == "SparseAdam":
        params[0].grad, params[1].grad = rows(normal((8, 6), 1)), rows(normal((5,), 2))
    else:
        params[0].grad, params[1].grad = normal((8, 6), 1), normal((5,), 2)
    before = [p.grad.to_dense().clone() for p in params[:2]]
    for _ in range(3):
        versions = [p._version for p in params]
        opt.step()
        moved = [p._version > version for p, version in zip(params, versions, strict=True)]
        assert moved == [True, True, False]
    for p, g in zip(params[:2], before, strict=True):
        assert torch.equal(p.grad.to_dense(), g)
