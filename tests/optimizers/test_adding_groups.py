"""add_param_group describes only the new parameters; the others keep their description."""

import ml_dtypes
import numpy as np
import pytest
from support import LAYOUTS, arrays, bits, everything, unchanged

from fastopt import SGD, Adagrad, Adam, FastoptError, RowSparse
from fastopt.arrays.overlap import Interleaved, Spans
from fastopt.optimizers.base.state import arrays as state_arrays

OPTIONS = {
    "adam": (Adam, {}),
    "rowwise": (Adagrad, {"rowwise": True}),
    "ema and norm": (Adam, {"ema_decay": 0.9, "max_grad_norm": 0.1}),
    "zero_grads": (SGD, {"momentum": 0.9, "zero_grads": True}),
    "master": (Adam, {"master": "float32"}),
    "stochastic": (Adam, {"rounding": "stochastic", "seed": 3}),
}


def groups():
    """Return two parameters for each layout, in all dtypes."""
    dtypes = [np.float32, np.float64, np.float16, ml_dtypes.bfloat16] * 2
    return [
        {"params": [layout(w) for w in arrays((4, 3), (2, 3), dtype=dtype)], "lr": 0.1 + i}
        for i, (layout, dtype) in enumerate(zip(LAYOUTS.values(), dtypes, strict=True))
    ]


def gradients(t, n_groups, rows):
    """Return the gradients of some groups in step t; some are missing and some row-sparse."""
    layout = list(LAYOUTS.values())[t % len(LAYOUTS)]
    grads = [layout(g) for g in arrays(*[(4, 3), (2, 3)] * n_groups, seed=t)]
    if rows:
        grads[t % len(grads)] = RowSparse([1, 0], np.ones((2, 3)))
    return [None if i % 5 == t % 5 else g for i, g in enumerate(grads)]


@pytest.mark.parametrize("name", OPTIONS)
def test_groups_added_between_steps_are_like_groups_without_gradients(name):
    cls, options = OPTIONS[name]
    first, *others = groups()
    added, at_once = cls([first], **options), cls(groups(), **options)
    for t in range(12):
        n = len(added.param_groups)
        one, other = (gradients(t, n, name != "ema and norm") for _ in range(2))
        added.step(one)
        at_once.step(other + [None] * (16 - 2 * n))
        if others:
            added.add_param_group(others.pop(0))
    assert everything(added) == everything(at_once)


@pytest.mark.parametrize(("first", "added"), [([1, 0], "x"), ([1], 0), ([2, 1], 0)])
def test_a_group_may_change_the_order_of_the_others(first, added):
    """Parameters whose keys are 0, 1, ... are in this order, all others in that of the groups."""
    keys = [*first, added]
    shapes = [3, 2, 4][: len(keys)]
    params = dict(zip(keys, arrays(*shapes), strict=True))
    grads = dict(zip(keys, arrays(*shapes, seed=1), strict=True))
    alone = {key: Adam(w.copy()) for key, w in params.items()}
    opt = Adam({key: params[key] for key in first})
    opt.step({key: grads[key] for key in first})
    opt.add_param_group({"params": {added: params[added]}})
    opt.accumulate(grads)
    opt.step()
    for key, one in alone.items():
        for _ in range(1 + (key != added)):
            one.step(grads[key])
        assert bits([params[key], opt.state[key]]) == bits([one.params, one.state[0]])


@pytest.mark.parametrize(
    "params",
    [[np.zeros(3) for _ in range(500)], [*np.zeros((20, 500)).T], [*np.zeros((500, 20))]],
    ids=["arrays", "columns", "rows"],
)
def test_the_other_parameters_are_not_looked_at_again(params, monkeypatch):
    opt = Adam(params[1:])
    described, compared, located = [], [], []

    def recording(calls, function):
        return lambda *args: calls.append(args) or function(*args)

    for holder, name, calls in (
        (state_arrays, "for_c", described),
        (Interleaved, "sharing", compared),
        (Spans, "with_arrays", located),
    ):
        monkeypatch.setattr(holder, name, recording(calls, getattr(holder, name)))
    opt.add_param_group({"params": params[:1]})
    assert len(described) == 1
    assert len(compared) <= 1
    assert [len(arrays) for _, _, arrays, _ in located] == [5]  # the parameter and its state


def test_the_memory_of_an_earlier_gradient_may_become_a_parameter():
    """Its address passed the check of the earlier steps, which must not hold any longer."""
    g = np.ones(3)
    opt = Adam([np.zeros(3)])
    opt.step([g])
    opt.add_param_group({"params": [g]})
    with unchanged(opt), pytest.raises(FastoptError, match="shares memory with parameter 1"):
        opt.step([g, np.ones(3)])


@pytest.mark.parametrize("size", [1, 4, 400])
def test_a_resized_parameter_is_refused_after_adding_a_group(size):
    """Its state would be shorter than the parameter."""
    w = np.zeros(3)
    opt = Adam([w])
    w.resize(size, refcheck=False)
    opt.add_param_group({"params": [np.zeros(2)]})
    with unchanged(opt), pytest.raises(FastoptError, match="parameter 0 was resized"):
        opt.step([np.ones(size), np.ones(2)])
