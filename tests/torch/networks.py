"""Small networks that are trained in one process and in several, and how far they may differ."""

import functools

import numpy as np
import torch
import torch.distributed as dist
from torch import nn

import fastopt.torch

# From 0, Adagrad's first steps are as large for a gradient of 1e-5 as for 1, so that they amplify
# the rounding of sums in another order.
OPTIONS = {
    "AdamW": dict(lr=0.01, weight_decay=0.1),
    "SGD": dict(lr=0.05, momentum=0.9),
    "Adagrad": dict(lr=0.05, initial_accumulator_value=0.1),
}
NAMES = list(OPTIONS)
N_STEPS = 20
MAX_NORM = 0.3  # smaller than the norm of every gradient


def network():
    """Return a network of which some parameters have one row, so that shards are empty."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 7), nn.LayerNorm(7), nn.Tanh(), nn.Linear(7, 1))


def data():
    """Return 12 rows, which two to four processes can share equally."""
    torch.manual_seed(1)
    return torch.randn(12, 5), torch.randn(12, 1)


def optimizer(name, params, library=fastopt.torch, **options):
    """Return an optimizer of fastopt.torch or torch.optim."""
    return getattr(library, name)(params, **OPTIONS[name], **options)


def train(model, opt, n_steps=N_STEPS, max_norm=None, parts=1, part=0):
    """Take steps on a part of the rows, clipping with PyTorch if there is a max_norm."""
    dtype = next(model.parameters()).dtype
    X, y = (rows.chunk(parts)[part].to(dtype) for rows in data())
    for _ in range(n_steps):
        opt.zero_grad()
        (model(X) - y).square().mean().backward()
        if max_norm is not None:
            nn.utils.clip_grad_norm_(model.parameters(), max_norm)
        opt.step()


def train_part(model, opt, n_steps=N_STEPS, max_norm=None):
    """Take steps on this process's part of the rows; return all parameters."""
    train(model, opt, n_steps, max_norm, dist.get_world_size(), dist.get_rank())
    return numbers(model)


def numbers(model):
    """Return all elements of the parameters in one array."""
    whole = [getattr(p, "full_tensor", lambda p=p: p)().detach() for p in model.parameters()]
    return torch.cat([p.ravel() for p in whole]).float().numpy()


@functools.cache
def in_one_process(name, n_steps=N_STEPS, max_norm=None):
    """Return the parameters after steps of torch.optim on all rows."""
    model = network()
    train(model, optimizer(name, model.parameters(), torch.optim, foreach=False), n_steps, max_norm)
    return numbers(model)


def assert_close(results, expected):
    """Each process has the expected parameters."""
    start = numbers(network())
    for actual in results:
        np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-6)
    assert start.shape != expected.shape or np.abs(start - expected).max() > 0.01
