"""Options that fastopt adds survive copies, and change neither groups nor state dicts."""

import copy
import pickle

import pytest
import torch

from tests.torch.pairs import (
    DENSE,
    OPTIONS,
    PAIRS,
    assert_same,
    make_params,
    params_of,
    set_gradients,
)

NAMES = [name for name in DENSE if name != "ASGD"]  # which refuses ema_decay
SHAPES = [(3, 4), (5,)]
OWN = dict(max_grad_norm=0.5, ema_decay=0.9, n_threads=1)
COPIES = {
    "pickle": lambda opt: pickle.loads(pickle.dumps(opt)),
    "deepcopy": copy.deepcopy,
}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("way", COPIES)
def test_own_options_and_state_survive_copies(way, name):
    opt = PAIRS[name][0](make_params(SHAPES), **OPTIONS[name], **OWN)
    set_gradients([opt], 1)
    opt.step()
    other = COPIES[way](opt)
    for t in range(3):
        set_gradients([opt, other], t)
        opt.step()
        other.step()
        assert opt.grad_norm == other.grad_norm > 0.5
        for p, q in zip(params_of(opt), params_of(other), strict=True):
            assert torch.equal(p, q)
            assert_same(opt.state[p], other.state[q], 0, "state")
            assert "ema" in opt.state[p]


@pytest.mark.parametrize("name", NAMES)
def test_own_options_are_not_in_groups_and_state_dicts(name):
    opt = PAIRS[name][0](make_params(SHAPES), **OPTIONS[name], **OWN)
    theirs = PAIRS[name][1](make_params(SHAPES), **OPTIONS[name])
    assert list(opt.param_groups[0]) == list(theirs.param_groups[0])
    set_gradients([opt, theirs], 1)
    opt.step()
    theirs.step()
    theirs.load_state_dict(opt.state_dict())  # torch keeps "ema", which it does not know
    set_gradients([theirs], 2)
    theirs.step()
    other = PAIRS[name][0](make_params(SHAPES), **OPTIONS[name], **OWN)
    other.load_state_dict(theirs.state_dict())
    set_gradients([other], 3)
    other.step()


@pytest.mark.parametrize("name", NAMES)
def test_own_options_see_unscaled_gradients(name):
    """With GradScaler, norms, limits and averages are those of the unscaled gradients."""
    own = dict(max_grad_norm=0.5, max_grad_value=0.2, ema_decay=0.9)
    scaled, other = (PAIRS[name][0](make_params(SHAPES), **OPTIONS[name], **own) for _ in range(2))
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
    for t in range(5):
        set_gradients([scaled, other], t)
        scaler.scale(torch.zeros(()))  # its first use makes the scale
        for p in params_of(scaled):
            p.grad *= scaler.get_scale()
        if t == 2:
            params_of(scaled)[1].grad[0] = torch.inf
        scaler.step(scaled)
        scaler.update()
        if t != 2:
            other.step()
            assert scaled.grad_norm == pytest.approx(other.grad_norm, rel=1e-6)
        for p, q in zip(params_of(scaled), params_of(other), strict=True):
            assert_same(p, q, 1e-6, f"step {t}")
            assert_same(scaled.state[p], other.state[q], 1e-6, f"step {t}, state")


def test_an_infinite_scaled_gradient_is_skipped_and_not_raised():
    opt = PAIRS["AdamW"][0](make_params(SHAPES), on_nonfinite="raise")
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
    scaler.scale(torch.zeros(()))
    set_gradients([opt], 1)
    params_of(opt)[0].grad[0, 0] = torch.inf
    before = [p.detach().clone() for p in params_of(opt)]
    scaler.step(opt)
    scaler.update()
    assert scaler.get_scale() == 2.0
    assert_same([p.detach() for p in params_of(opt)], before, 0, "parameters")
