"""Gradients of torch, JAX and autograd, read in place."""

import autograd
import autograd.numpy as anp
import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
import torch

import fastopt

A = np.random.default_rng(0).normal(size=(6, 6)).astype(np.float32)


def gradient_of_torch():
    w = torch.arange(6, dtype=torch.float32, requires_grad=True)
    (torch.tensor(A) @ w).sum().backward()
    return w.grad


def assert_same_steps(grads, value):
    """Assert that steps with `grads` equal steps with `value`, a NumPy array."""
    w, other = np.ones(value.shape, value.dtype), np.ones(value.shape, value.dtype)
    opt, plain = fastopt.Adam([w, np.zeros(2)]), fastopt.Adam([other, np.zeros(2)])
    for _ in range(3):
        opt.step([grads, None])
        plain.step([value, None])
    assert (w == other).all()
    assert not (w == 1).any()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_torch(dtype):
    g = torch.arange(1, 25, dtype=dtype).reshape(4, 6).T[:, ::2]
    before = g.clone()
    assert_same_steps(g, np.arange(1.0, 25.0, dtype=str(dtype)[6:]).reshape(4, 6).T[:, ::2].copy())
    assert (g == before).all()
    assert_same_steps(gradient_of_torch(), A.sum(axis=0, dtype=np.float32))


def test_jax():
    g = jax.grad(lambda w: (jnp.asarray(A) @ w).sum())(jnp.arange(6.0, dtype=jnp.float32))
    value = np.asarray(g)
    assert not value.flags.writeable
    assert_same_steps(g, value.copy())
    scalar = np.zeros((), np.float32)
    fastopt.SGD(scalar, lr=1.0).step(jax.grad(lambda x: x * x)(jnp.float32(3.0)))
    assert scalar == -6.0


def test_autograd():
    g = autograd.grad(lambda w: anp.sum(anp.dot(A, w) ** 2))(np.arange(6.0))
    assert_same_steps(g, 2 * A.T @ (A @ np.arange(6.0)))


def test_torch_bfloat16():
    g = torch.arange(1, 25, dtype=torch.bfloat16).reshape(4, 6).T[:, ::2]
    value = g.float().numpy().astype(ml_dtypes.bfloat16)
    w, other = np.ones(g.shape), np.ones(g.shape)
    opt, plain = (fastopt.Adam([w], zero_grads=True) for w in (w, other))
    opt.bind([g])
    opt.step()
    plain.step([value.copy()])
    assert not g.any()
    g += 1
    opt.step()
    plain.step([np.ones_like(value)])
    assert (w == other).all()
    table = np.zeros((3, 2), np.float32)
    rows = fastopt.RowSparse(torch.tensor([1]), torch.ones((1, 2), dtype=torch.bfloat16))
    fastopt.SGD(table, lr=1.0).step(rows)
    assert table.tolist() == [[0, 0], [-1, -1], [0, 0]]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_error_for_an_unreadable_tensor_names_the_parameter(dtype):
    opt = fastopt.Adam({"w": np.ones(6)})
    for bad, message in (
        (torch.ones(6, dtype=dtype, requires_grad=True), "requires grad"),
        (torch.ones(6, dtype=dtype).to_sparse(), "parse"),
        (torch.ones(6, dtype=dtype, device="meta"), "meta"),
    ):
        for call in (opt.step, opt.bind, opt.accumulate):
            with pytest.raises(TypeError, match=f"gradient of parameter 'w' cannot.*{message}"):
                call({"w": bad})
    with pytest.raises(TypeError, match="values cannot be read from a Tensor"):
        fastopt.RowSparse([0], torch.ones((1, 2), dtype=dtype, requires_grad=True))
    assert opt.step_count == 0


def test_bound_tensor_is_read_at_each_step():
    w, g = np.zeros(3), torch.ones(3, dtype=torch.float64)
    opt = fastopt.SGD(w, lr=1.0)
    opt.bind(g)
    opt.step()
    g.mul_(10)
    opt.step()
    assert w.tolist() == [-11.0] * 3
