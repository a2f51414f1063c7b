"""Run a scenario with our class and with torch's, and compare what the caller sees.

A scenario takes a class and its options, uses the optimizer in one way, and returns what a user
could observe: parameters, state, events, errors.
"""

import copy

import torch

from tests.torch.pairs import (
    OPTIONS,
    PAIRS,
    assert_same,
    normal,
    params_of,
    plain,
    set_gradients,
)

SHAPES = [(3, 4), (5,)]


def assert_same_result(scenario, name, tol=2e-6, **options):
    """Assert that the scenario has the same result with our class as with torch's."""
    options = {**OPTIONS[name], **plain(name), **options}
    ours, theirs = (scenario(cls, copy.deepcopy(options)) for cls in PAIRS[name])
    assert_same(ours, theirs, tol, scenario.__name__)


def steps(opt, count=2, seed=10):
    """Step `count` times and return what is left: parameters, gradients and state."""
    for t in range(count):
        set_gradients([opt], seed + t)
        opt.step()
    return seen(opt)


def seen(opt):
    """Return copies of parameters, gradients and state, without creating entries of state."""
    return copy.deepcopy([(p.detach(), p.grad, dict(opt.state.get(p, {}))) for p in params_of(opt)])


def model_and_data(dtype=torch.float32):
    """Return a small convolutional model, the same at each call, and its input."""
    torch.manual_seed(0)
    model = torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 3), torch.nn.Tanh(), torch.nn.Flatten(), torch.nn.Linear(16, 2)
    )
    return model.to(dtype), normal((2, 3, 4, 4), 7, dtype)


def fit(model, opt, x, count=2):
    """Train for a few steps; return the parameters."""
    for _ in range(count):
        opt.zero_grad()
        model(x).square().sum().backward()
        opt.step()
    return [p.detach().contiguous() for p in model.parameters()]
