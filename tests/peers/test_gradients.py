"""Gradients as other libraries hand them out, read where they lie."""

import autograd
import autograd.numpy as anp
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

import fastopt

A = np.random.default_rng(0).normal(size=(6, 6)).astype(np.float32)


def of_torch():
    w = torch.arange(6, dtype=torch.float32, requires_grad=True)
    (torch.tensor(A) @ w).sum().backward()
    return w.grad


def assert_taken(grads, value):
    """Same step as by a plain array, and as often as it is asked for."""
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
    assert_taken(g, np.arange(1.0, 25.0, dtype=str(dtype)[6:]).reshape(4, 6).T[:, ::2].copy())
    assert (g == before).all()
    assert_taken(of_torch(), A.sum(axis=0, dtype=np.float32))


def test_jax():
    g = jax.grad(lambda w: (jnp.asarray(A) @ w).sum())(jnp.arange(6.0, dtype=jnp.float32))
    value = np.asarray(g)
    assert not value.flags.writeable
    assert_taken(g, value.copy())
    scalar = np.zeros((), np.float32)
    fastopt.SGD(scalar, lr=1.0).step(jax.grad(lambda x: x * x)(jnp.float32(3.0)))
    assert scalar == -6.0


def test_autograd():
    g = autograd.grad(lambda w: anp.sum(anp.dot(A, w) ** 2))(np.arange(6.0))
    assert_taken(g, 2 * A.T @ (A @ np.arange(6.0)))


def test_a_tensor_that_still_needs_its_graph_is_refused_by_torch():
    w = np.ones(6)
    opt = fastopt.Adam([w])
    with pytest.raises(RuntimeError, match="detach"):
        opt.step([torch.ones(6, requires_grad=True)])
    assert (w == 1).all()
    assert opt.step_count == 0


def test_a_tensor_that_is_bound_is_read_anew():
    w, g = np.zeros(3), torch.ones(3, dtype=torch.float64)
    opt = fastopt.SGD(w, lr=1.0)
    opt.bind(g)
    opt.step()
    g.mul_(10)
    opt.step()
    assert w.tolist() == [-11.0] * 3
