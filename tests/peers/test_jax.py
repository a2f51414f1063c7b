"""Parameters and gradients of JAX: nested structures, and arrays that are read-only."""

import numpy as np
import pytest
from support import bits

import fastopt

jax = pytest.importorskip("jax")


def loss(params, x):
    for layer in params["layers"]:
        x = jax.numpy.tanh(x @ layer["weight"] + layer["bias"])
    return (x**2).sum() * params["scale"][0]


def initial():
    keys = jax.random.split(jax.random.key(0), 3)
    layers = [
        {"weight": jax.random.normal(key, (3, 3)), "bias": jax.numpy.zeros(3)} for key in keys
    ]
    return {"layers": layers, "scale": (jax.numpy.ones(()), None)}


def test_training_of_nested_parameters():
    optax = pytest.importorskip("optax")
    x = jax.numpy.linspace(-1.0, 1.0, 12).reshape(4, 3)
    gradient = jax.jit(jax.grad(loss))
    theirs, rule = initial(), optax.adam(0.1)
    state = rule.init(theirs)
    flat, unflatten = fastopt.flatten(initial())
    assert all(type(w) is np.ndarray and w.flags.writeable for w in flat.values())
    opt = fastopt.Adam(flat, lr=0.1)
    for _ in range(10):
        opt.step(fastopt.flatten(gradient(unflatten(flat), x), copy=False)[0])
        updates, state = rule.update(gradient(theirs, x), state)
        theirs = optax.apply_updates(theirs, updates)
    ours = unflatten(flat)
    assert jax.tree.structure(ours) == jax.tree.structure(theirs)
    for one, other in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)
    assert float(loss(ours, x)) < float(loss(initial(), x)) / 2


def test_names_belong_to_the_leaves_of_jax():
    tree = initial()
    flat, _unflatten = fastopt.flatten(tree)
    leaves = {
        jax.tree_util.keystr(path, simple=True, separator="/"): leaf
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    }
    assert flat.keys() == leaves.keys()
    assert bits({k: np.asarray(v) for k, v in leaves.items()}) == bits({k: flat[k] for k in leaves})


def test_an_array_of_jax_as_parameter_is_refused_with_a_hint():
    with pytest.raises(TypeError, match=r"numpy\.array makes one"):
        fastopt.Adam([jax.numpy.ones(3)])
