"""Training in several processes gives the numbers of torch.optim in one process."""

import numpy as np
import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import CPUOffloadPolicy, MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import Partial, Shard
from torch.distributed.tensor.parallel import (
    ColwiseParallel,
    RowwiseParallel,
    SequenceParallel,
    parallelize_module,
)
from torch.nn.parallel import DistributedDataParallel

import fastopt.torch
from tests.torch.networks import (
    MAX_NORM,
    N_STEPS,
    NAMES,
    OPTIONS,
    assert_close,
    in_one_process,
    network,
    numbers,
    optimizer,
    train_part,
)
from tests.torch.processes import processes

each_name = pytest.mark.parametrize("name", NAMES)
each_n = pytest.mark.parametrize("n", [2, 3])


def with_ddp(name, as_view):
    model = DistributedDataParallel(network(), gradient_as_bucket_view=as_view)
    return train_part(model, optimizer(name, model.parameters()))


@each_n
@each_name
@pytest.mark.parametrize("as_view", [False, True])
def test_ddp(name, as_view, n):
    assert_close(processes(n)(with_ddp, name, as_view), in_one_process(name))


def with_zero(name):
    from torch.distributed.optim import ZeroRedundancyOptimizer  # warns that parts are deprecated

    model = DistributedDataParallel(network())
    opt = ZeroRedundancyOptimizer(
        model.parameters(), optimizer_class=getattr(fastopt.torch, name), **OPTIONS[name]
    )
    return train_part(model, opt)


@each_n
@each_name
def test_zero_redundancy_optimizer(name, n):
    assert_close(processes(n)(with_zero, name), in_one_process(name))


def sharded(**options):
    """Return the network with each layer's parameters sharded."""
    model = network()
    for layer in model:
        fully_shard(layer, **options)
    return fully_shard(model, **options)


def with_fsdp(name, norms, **options):
    """norms: the limits for torch's clip_grad_norm_ and for the optimizer."""
    model = sharded(**options)
    opt = optimizer(name, model.parameters(), max_grad_norm=norms["ours"])
    return train_part(model, opt, max_norm=norms["torch"])


@each_n
@each_name
@pytest.mark.parametrize("clips", [None, "torch", "ours"])
def test_fsdp(name, clips, n):
    """Both ways of clipping use the norm of all shards."""
    norms = {who: MAX_NORM if who == clips else None for who in ("torch", "ours")}
    expected = in_one_process(name, max_norm=clips and MAX_NORM)
    assert_close(processes(n)(with_fsdp, name, norms), expected)


OFF = {"torch": None, "ours": None}


def with_offload(name):
    return with_fsdp(name, OFF, offload_policy=CPUOffloadPolicy(pin_memory=False))


@each_n
@each_name
def test_fsdp_with_cpu_offload(name, n):
    assert_close(processes(n)(with_offload, name), in_one_process(name))


def with_mixed_precision(name):
    """Return the parameters of fastopt's and torch's optimizer, with computations in bfloat16."""
    results = []
    for library in (fastopt.torch, torch.optim):
        model = sharded(mp_policy=MixedPrecisionPolicy(param_dtype=torch.bfloat16))
        results.append(train_part(model, optimizer(name, model.parameters(), library)))
    return results


@each_n
@each_name
def test_fsdp_with_mixed_precision(name, n):
    for ours, theirs in processes(n)(with_mixed_precision, name):
        assert_close([ours], theirs)


def with_copies():
    mesh = init_device_mesh("cpu", (2, 2), mesh_dim_names=("replicate", "shard"))
    return with_fsdp("SGD", {"torch": None, "ours": MAX_NORM}, mesh=mesh)


def test_fsdp_with_copies():
    """With hybrid sharding, a shard that two processes store counts once in the norm."""
    assert_close(processes(4)(with_copies), in_one_process("SGD", max_norm=MAX_NORM))


# Tensor parallelism


class Sequences(nn.Module):
    """A layer on sequences: (rows, positions, 4) -> (rows, positions, 3)."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.norm, self.up, self.down = nn.LayerNorm(4), nn.Linear(4, 6), nn.Linear(6, 3)

    def forward(self, X):
        return self.down(torch.tanh(self.up(self.norm(X))))


def train_on_sequences(model, opt, group=None, rows=slice(None), max_norm=None):
    """Take steps on this process's positions of some rows; return all parameters."""
    torch.manual_seed(1)
    X, y = torch.randn(4, 6, 4)[rows], torch.randn(4, 6, 3)[rows]
    scale = y.numel()
    if group is not None:
        X, y = (t.chunk(group.size(), 1)[group.rank()] for t in (X, y))
    for _ in range(N_STEPS):
        opt.zero_grad()
        ((model(X) - y).square().sum() / scale).backward()
        if max_norm is not None:
            nn.utils.clip_grad_norm_(model.parameters(), max_norm)
        opt.step()
    return numbers(model)


PLAN = {
    "norm": SequenceParallel(),
    "up": ColwiseParallel(input_layouts=Shard(1)),
    "down": RowwiseParallel(output_layouts=Shard(1)),
}


def with_tensor_parallelism(name, max_norm):
    mesh = init_device_mesh("cpu", (dist.get_world_size(),))
    model = parallelize_module(Sequences(), mesh, PLAN)
    model(torch.randn(1, 2, 4)).sum().backward()
    assert model.norm.weight.grad.placements == (Partial(),)
    opt = optimizer(name, model.parameters(), max_grad_norm=max_norm)
    return train_on_sequences(model, opt, mesh.get_group())


def sequences_in_one_process(name, max_norm):
    model = Sequences()
    opt = optimizer(name, model.parameters(), torch.optim, foreach=False)
    return train_on_sequences(model, opt, max_norm=max_norm)


@each_n
@each_name
@pytest.mark.parametrize("max_norm", [None, MAX_NORM])
def test_tensor_parallelism(name, max_norm, n):
    """The gradients of the LayerNorm are partial sums, which the step adds up."""
    results = processes(n)(with_tensor_parallelism, name, max_norm)
    assert_close(results, sequences_in_one_process(name, max_norm))


def with_two_axes(max_norm):
    mesh = init_device_mesh("cpu", (2, 2), mesh_dim_names=("data", "tensor"))
    model = parallelize_module(Sequences(), mesh["tensor"], PLAN)
    for layer in (model.norm, model.up, model.down, model):
        fully_shard(layer, mesh=mesh["data"])
    half = mesh.get_local_rank("data")
    opt = optimizer("SGD", model.parameters(), max_grad_norm=max_norm)
    rows = slice(2 * half, 2 * half + 2)
    return train_on_sequences(model, opt, mesh.get_group("tensor"), rows)


@pytest.mark.parametrize("max_norm", [None, MAX_NORM])
def test_fsdp_with_tensor_parallelism(max_norm):
    results = processes(4)(with_two_axes, max_norm)
    assert_close(results, sequences_in_one_process("SGD", max_norm))


# One process differs from the others


def with_one_bad_gradient(on_nonfinite, in_process):
    """Return the parameters before and after a step in which one gradient is NaN."""
    model = sharded()
    opt = optimizer("SGD", model.parameters(), on_nonfinite=on_nonfinite)
    for p in model.parameters():
        p.grad = torch.zeros_like(p)
    if dist.get_rank() == in_process:
        model[0].weight.grad._local_tensor[0, 0] = torch.nan
    before, error = numbers(model), None
    try:
        opt.step()
    except fastopt.FastoptError as raised:
        error = str(raised)
    return (before == numbers(model)).all(), error


@pytest.mark.parametrize("in_process", [0, 1])
@pytest.mark.parametrize(
    ("on_nonfinite", "message"), [("skip", None), ("raise", "has a NaN or an infinity")]
)
def test_gradient_that_is_not_finite_in_one_process(on_nonfinite, message, in_process):
    """All processes skip the step, or raise an error."""
    for is_same, error in processes(2)(with_one_bad_gradient, on_nonfinite, in_process):
        assert is_same
        assert error is None if message is None else message in error


def with_missing_gradients(in_process, which):
    """Take a step where one process lacks some gradients; return actual and expected values."""
    model = sharded()
    opt = optimizer("SGD", model.parameters(), max_grad_norm=MAX_NORM)
    for i, p in enumerate(model.parameters()):
        p.grad = torch.ones_like(p)
        if i in which and dist.get_rank() == in_process:
            p.grad._local_tensor.zero_()
    grads = torch.cat([p.grad.full_tensor().ravel() for p in model.parameters()]).numpy()
    expected = numbers(model) - OPTIONS["SGD"]["lr"] * MAX_NORM / np.sqrt(grads.sum()) * grads
    for i, p in enumerate(model.parameters()):
        if i in which and dist.get_rank() == in_process:
            p.grad = None
    opt.step()
    return numbers(model), expected


@pytest.mark.parametrize("which", [{0}, range(6)])
@pytest.mark.parametrize("in_process", [0, 1])
def test_missing_gradients_in_one_process(in_process, which):
    """Missing gradients count as zeros in the norm, and no process waits forever."""
    for actual, expected in processes(2)(with_missing_gradients, in_process, which):
        np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-6)
