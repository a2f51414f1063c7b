"""The dtype or layout of a model changes in mid-training."""

import pytest
import torch
from torch.nn import Parameter

from tests.torch.pairs import (
    DENSE,
    NAMES,
    OPTIONS,
    PAIRS,
    assert_same,
    make_pair,
    make_params,
    normal,
    params_of,
    plain,
    rows,
    set_gradients,
    tolerance,
    walk,
)

SHAPES = [(3, 4), (5,)]


def layouts_of(name):
    return [rows] * len(SHAPES) if name == "SparseAdam" else None


def cast(opt, dtype):
    """Change the parameters as model.to(dtype) does."""
    for p in params_of(opt):
        p.grad = None
        p.data = p.data.to(dtype)


@pytest.mark.parametrize("name", NAMES)
def test_to_float64(name):
    """The state is converted, as when torch loads a state dict into a float64 model."""
    ours, before = make_pair(name, lambda: make_params(SHAPES), **OPTIONS[name])
    for t in range(3):
        set_gradients([ours, before], t, layouts_of(name))
        ours.step()
        before.step()
    for p, q in zip(params_of(before), params_of(ours), strict=True):
        p.data.copy_(q.data)
        for key, value in before.state[p].items():
            if torch.is_tensor(value):
                value.copy_(ours.state[q][key])
    theirs = PAIRS[name][1](make_params(SHAPES), **{**OPTIONS[name], **plain(name)})
    for p, q in zip(params_of(theirs), params_of(before), strict=True):
        p.data.copy_(q.data)
    for opt in (ours, theirs):
        cast(opt, torch.float64)
    theirs.load_state_dict(before.state_dict())
    # torch keeps "step" and casts the rest, NAdam's product of momenta included
    walk((ours, theirs), tolerance(name, torch.float64), layouts=layouts_of(name))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("name", NAMES)
def test_to_16_bits_and_back_keeps_float32_state(name, dtype):
    """The state is that of a float32 model, whatever the dtype of the parameters."""
    ours, theirs = pair = make_pair(name, lambda: make_params(SHAPES), **OPTIONS[name])
    for t, step_dtype in enumerate([torch.float32, torch.float32, dtype, dtype, torch.float32]):
        cast(ours, step_dtype)
        for i, (p, q) in enumerate(zip(*map(params_of, pair), strict=True)):
            q.data.copy_(p.data)
            g = normal(p.shape, 10 * t + i, step_dtype)
            p.grad, q.grad = ((rows(x) if name == "SparseAdam" else x) for x in (g, g.float()))
        ours.step()
        theirs.step()
        half_ulp = torch.finfo(step_dtype).eps / 2
        for p, q in zip(*map(params_of, pair), strict=True):
            bound = half_ulp * q.detach().abs() * (1 + 1e-3) + 1e-5
            assert ((p.detach().float() - q.detach()).abs() <= bound).all(), f"step {t}"
            assert_same(ours.state[p], theirs.state[q], 1e-6, f"step {t}, state")


@pytest.mark.parametrize("name", DENSE)
def test_checkpoint_of_another_layout(name):
    """State in channels_last is loaded for contiguous parameters, and the reverse."""
    formats = [torch.contiguous_format, torch.channels_last]
    for saved, loaded in (formats, formats[::-1]):

        def made(layout):
            return [Parameter(normal((4, 3, 5, 6), 0).contiguous(memory_format=layout))]

        first = make_pair(name, lambda saved=saved: made(saved), **OPTIONS[name])
        second = make_pair(name, lambda loaded=loaded: made(loaded), **OPTIONS[name])
        for old, new in zip(first, second, strict=True):
            set_gradients([old], 1)
            old.step()
            params_of(new)[0].data.copy_(params_of(old)[0].data)
            new.load_state_dict(old.state_dict())
        walk(second, 1e-6, steps=3)
