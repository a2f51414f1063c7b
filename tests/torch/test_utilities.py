"""Utilities of PyTorch give the same results with fastopt.torch as with torch.optim."""

import copy

import pytest
import torch
from torch.optim.swa_utils import SWALR, AveragedModel, get_ema_multi_avg_fn, update_bn
from torch.utils.checkpoint import checkpoint
from torch.utils.data import DataLoader, TensorDataset

import fastopt.torch

X = torch.linspace(-2, 2, 96, dtype=torch.float64).sin().reshape(16, 6)
Y = X.sum(1, keepdim=True)


def network():
    torch.manual_seed(0)
    return torch.nn.Sequential(
        torch.nn.Linear(6, 8, bias=False),
        torch.nn.BatchNorm1d(8),
        torch.nn.GELU(),
        torch.nn.Linear(8, 1),
    ).double()


def update(model, opt, x=X, y=Y):
    opt.zero_grad()
    torch.nn.functional.mse_loss(model(x), y).backward()
    opt.step()


def weight_averages(model, opt):
    schedule = SWALR(opt, swa_lr=0.05, anneal_epochs=3)
    mean = AveragedModel(model)
    moving = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.9))
    for _ in range(6):
        update(model, opt)
        schedule.step()
        mean.update_parameters(model)
        moving.update_parameters(model)
    update_bn(DataLoader(TensorDataset(X), 4), mean)
    return [model, mean, moving]


def activation_checkpointing(model, opt):
    for use_reentrant in (False, True, False):
        x = X.clone().requires_grad_()
        update(lambda x, how=use_reentrant: checkpoint(model, x, use_reentrant=how), opt, x)
    return [model]


def forked_workers(model, opt):
    """Each epoch forks workers, after steps that have started threads."""
    large = torch.nn.Parameter(torch.ones(200_000, dtype=torch.float64))
    opt.add_param_group({"params": [large]})
    for _ in range(2):
        for x, y in DataLoader(TensorDataset(X, Y), 4, num_workers=2):
            large.grad = torch.full_like(large, x.mean().item())
            update(model, opt, x, y)
    return [model, torch.nn.ParameterList([large])]


def copied_trainer(model, opt):
    trainer = {"model": model, "opt": opt, "schedule": torch.optim.lr_scheduler.StepLR(opt, 2)}

    def train(trainer, steps):
        for _ in range(steps):
            update(trainer["model"], trainer["opt"])
            trainer["schedule"].step()
        return trainer["model"]

    train(trainer, 3)
    other = copy.deepcopy(trainer)
    return [train(trainer, 1), train(other, 3), train(trainer, 2)]


@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
@pytest.mark.parametrize("name", ["SGD", "AdamW"])
@pytest.mark.parametrize(
    "train", [weight_averages, activation_checkpointing, forked_workers, copied_trainer]
)
def test_utility(train, name):
    found, expected = (
        [model.state_dict() for model in train(model, cls(model.parameters(), lr=0.02))]
        for cls in (getattr(fastopt.torch, name), getattr(torch.optim, name))
        for model in [network()]
    )
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
