"""Shards, gradients and norms of DTensors, in several processes."""

import math
import re
import warnings

import numpy as np
import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import FullyShardedDataParallel
from torch.distributed.tensor import DTensor, Partial, Replicate, Shard, distribute_tensor
from torch.testing._internal.distributed import fake_pg  # noqa: F401  (the backend "fake")

import fastopt.torch
from fastopt import FastoptError
from fastopt.torch import distributed
from tests.torch.processes import processes

# How tensors are laid out: the shape, the mesh (None: not a DTensor) and the placement on each axis
# of the mesh: the sharded dimension, or "copy".  Shards are uneven, and some are empty.
SHARDED = [((5, 3), (-1,), [0]), ((1, 4), (-1,), [0]), ((4, 5), (-1,), [1])]
COPIED = [((5, 3), (-1,), ["copy"])]
PLAIN = [((7,), None, [])]
LAYOUTS = {
    "sharded": (2, SHARDED),
    "sharded, copied and plain": (3, SHARDED + COPIED + PLAIN),
    "plain": (2, PLAIN),
    "two axes, copied on the first": (
        4,
        [((5, 3), (2, 2), ["copy", 0]), ((3,), (2, 2), ["copy", 0])],
    ),
    "two axes, copied on the second": (4, [((5, 3), (2, 2), [0, "copy"])]),
    "sharded on two axes": (4, [((5, 3), (2, 2), [0, 0]), ((5, 3), (2, 2), [0, 1])]),
    "several meshes": (
        4,
        [
            ((5, 3), (2, 2), [0, 1]),
            ((5, 3), (2, 2), ["copy", 0]),
            ((1, 3), (1, 4), [0, 0]),
            *SHARDED,
            *COPIED,
            *PLAIN,
        ],
    ),
}


def with_gradients(layouts, scale=1.0, dtype=torch.float64):
    """Return tensors with gradients, and all numbers of the gradients."""
    torch.manual_seed(1)
    params, whole = [], []
    for shape, mesh, placements in layouts:
        numbers = (torch.randn(shape, dtype=torch.float64) * scale).to(dtype)
        params.append(split(torch.zeros_like(numbers), mesh, placements))
        params[-1].grad = split(numbers, mesh, placements)
        whole.append(numbers.ravel())
    return params, torch.cat(whole)


def split(numbers, mesh, placements):
    """Return a DTensor, or the tensor itself if the mesh is None."""
    if mesh is None:
        return numbers
    mesh = init_device_mesh("cpu", [dist.get_world_size() if size < 0 else size for size in mesh])
    placements = [Replicate() if where == "copy" else Shard(where) for where in placements]
    return distribute_tensor(numbers, mesh, placements)


def norm_over(layouts, scale, dtype):
    """Return the total norm of random gradients, and the norm of all of their numbers."""
    params, whole = with_gradients(layouts, scale, dtype)
    return distributed.total_norm(params), float((whole.double() / scale).norm()) * scale


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(
    ("scale", "dtype"),
    [
        (1.0, torch.float64),
        (1e250, torch.float64),
        (1e-250, torch.float64),
        (1e30, torch.float32),
        (1.0, torch.bfloat16),
    ],
)
def test_total_norm(layout, scale, dtype):
    """Each element counts once, in double precision, and each process gets the same bits."""
    n, layouts = LAYOUTS[layout]
    results = processes(n)(norm_over, layouts, scale, dtype)
    assert results == results[:1] * n
    actual, expected = results[0]
    assert actual == pytest.approx(expected, rel=1e-13, abs=0)


def norm_with(values):
    """Return the norm if the last element of each process has this value; None: no gradient."""
    params, _ = with_gradients(SHARDED[:1] + PLAIN)
    value = values[dist.get_rank()]
    if value is None:
        params[0].grad = None
    else:
        params[0].grad._local_tensor[-1] = value
    return distributed.total_norm(params)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_total_norm_that_is_not_finite(value):
    """One such element in one process is enough, on all processes."""
    expected = [math.nan if math.isnan(value) else math.inf] * 2
    np.testing.assert_equal(processes(2)(norm_with, (0.0, value)), expected)
    np.testing.assert_equal(processes(2)(norm_with, (math.inf, math.nan)), [math.nan] * 2)


def test_total_norm_without_a_gradient_in_one_process():
    """The missing gradient counts as zeros, and no process waits forever."""
    first, second = (processes(2)(norm_with, values)[0] for values in [(None, 0.0), (0.0, None)])
    none, both = (processes(2)(norm_with, values)[0] for values in [(None, None), (0.0, 0.0)])
    assert first**2 + second**2 == pytest.approx(none**2 + both**2)
    assert none < min(first, second)
    assert processes(2)(norm_with, (None, 0.0)) == [first] * 2


def test_total_norm_of_special_gradients():
    """Sparse, complex, empty, missing and large gradients."""
    sparse, empty = torch.zeros(4, 2), torch.zeros(0)
    complex_ = torch.zeros(2, dtype=torch.complex64)
    rows = [[1.0, 2.0], [2.0, 2.0]]  # they add up to 3, 4
    sparse.grad = torch.sparse_coo_tensor([[1, 1]], rows, (4, 2), check_invariants=True)
    complex_.grad = torch.tensor([3.0 + 4.0j, 0.0]).conj()
    empty.grad = torch.zeros(0, dtype=torch.float32)
    large = torch.zeros(100_000, requires_grad=True)
    large.sum().backward()
    assert distributed.total_norm([]) == 0.0
    assert distributed.total_norm([empty, torch.zeros(3)]) == 0.0
    assert distributed.total_norm([sparse]) == 5.0
    assert distributed.total_norm([complex_]) == 5.0
    assert distributed.total_norm([large]) == pytest.approx(math.sqrt(100_000), rel=1e-14)


def part_of_gradient(where):
    """Return this process's part of a gradient, and the expected shard."""
    torch.manual_seed(2)
    n, mesh = dist.get_world_size(), init_device_mesh("cpu", (dist.get_world_size(),))
    whole = torch.randint(100, (5, 3)) * 6.0
    param = distribute_tensor(torch.zeros(5, 3), mesh, [Shard(0)])
    if where == "sums":
        grad = DTensor.from_local(whole / n, mesh, [Partial()])
    else:
        grad = distribute_tensor(whole, mesh, [Replicate() if where == "copy" else Shard(where)])
    part = distributed.gradient_of(param, grad)
    assert (part is grad._local_tensor) == (where == 0)
    expected = distribute_tensor(whole, mesh, [Shard(0)])._local_tensor
    return part.tolist(), expected.tolist()


@pytest.mark.parametrize("n", [2, 3])
@pytest.mark.parametrize("where", [0, 1, "copy", "sums"])
def test_gradient_of(where, n):
    """A gradient is redistributed to its parameter's placements, if it has others."""
    for part, expected in processes(n)(part_of_gradient, where):
        assert part == expected


def messages():
    """Return the errors for gradients that do not match their parameters."""
    mesh, other = init_device_mesh("cpu", (2,)), init_device_mesh("cpu", (2, 1))
    plain = torch.zeros(4)
    split = distribute_tensor(plain, mesh, [Shard(0)])
    elsewhere = distribute_tensor(plain, other, [Shard(0), Replicate()])
    found = []
    for param, grad in [(plain, split), (split, plain), (split, elsewhere)]:
        with pytest.raises((TypeError, FastoptError)) as error:
            distributed.gradient_of(param, grad)
        found.append(f"{error.type.__name__}: {error.value}")
    return found


STARTS = [
    "TypeError: a gradient is a DTensor and its parameter is a Tensor; allowed: ",
    "TypeError: a gradient is a Tensor and its parameter is a DTensor; allowed: ",
    "FastoptError: a gradient is on the mesh DeviceMesh((2, 1)",
]


def test_gradient_of_another_layout():
    one, two, three = processes(2)(messages)[0]
    assert one.startswith(
        "TypeError: a gradient is a DTensor and its parameter is a Tensor; allowed"
    )
    assert two.startswith(
        "TypeError: a gradient is a Tensor and its parameter is a DTensor; allowed"
    )
    assert three.startswith("FastoptError: a gradient is on the mesh DeviceMesh((2, 1)")


def without_cpu():
    """Return the error for a mesh whose processes cannot exchange CPU tensors."""
    mesh = DeviceMesh.from_group(dist.new_group(backend="cuda:fake"), "cpu")
    param = DTensor.from_local(torch.zeros(3), mesh, [Shard(0)], run_check=False)
    with pytest.raises(RuntimeError) as error:
        distributed.total_norm([param])
    return str(error.value)


def alone_without_cpu():
    """Return the norm on a mesh of one process."""
    groups = [dist.new_group([rank], backend="cuda:fake") for rank in range(2)]
    mesh = DeviceMesh.from_group(groups[dist.get_rank()], "cpu")
    param = DTensor.from_local(torch.zeros(4), mesh, [Shard(0)], run_check=False)
    param.grad = DTensor.from_local(torch.ones(4), mesh, [Shard(0)], run_check=False)
    return distributed.total_norm([param])


def test_mesh_without_cpu():
    message = processes(2)(without_cpu)[0]
    assert message.startswith("max_grad_norm and on_nonfinite need a process group for CPU ")
    assert "a parameter's mesh has 'cuda:fake'; allowed: " in message
    assert 'torch.distributed.init_process_group("cpu:gloo,cuda:nccl")' in message


def test_mesh_of_one_process_needs_no_communication():
    assert processes(2)(alone_without_cpu) == [2.0] * 2


def outside_of_mesh():
    """Return the norm of two parameters, where the last process is not in the first one's mesh."""
    mesh = DeviceMesh("cpu", [0, 1])
    param, plain = distribute_tensor(torch.ones(4), mesh, [Shard(0)]), torch.ones(1)
    param.grad = distribute_tensor(2 * torch.ones(4), mesh, [Shard(0)])
    plain.grad = 2 * torch.ones(1)
    return distributed.total_norm([param, plain])


def test_process_outside_of_mesh():
    assert processes(3)(outside_of_mesh) == [math.sqrt(16 + 4)] * 2 + [2.0]


def group_of(case):
    """Return the error for the groups that a wrapper of torch.distributed makes."""
    if case == "ZeroRedundancyOptimizer":
        from torch.distributed.optim import ZeroRedundancyOptimizer

        opt = ZeroRedundancyOptimizer(
            nn.Linear(2, 2).parameters(), fastopt.torch.SGD, lr=0.1, max_grad_norm=1.0
        )
        return error_of(opt.optim.param_groups)
    model = FullyShardedDataParallel(nn.Linear(2, 2), device_id=torch.device("cpu"))
    return error_of([{"params": list(model.parameters())}])


def step_of_sums(kind):
    """Return the error of a step of LAMB, or the whole parameter after it."""
    start, gradient = torch.arange(1.0, 7.0).view(3, 2), torch.ones(3, 2)
    if kind == "FullyShardedDataParallel":
        model = FullyShardedDataParallel(nn.Linear(2, 2), device_id=torch.device("cpu"))
        p = next(iter(model.parameters()))
        p.grad = torch.ones_like(p)
    else:
        mesh = init_device_mesh("cpu", [dist.get_world_size()])
        places = [Replicate() if kind == "copy" else Shard(0)]
        p = nn.Parameter(distribute_tensor(start, mesh, places))
        p.grad = distribute_tensor(gradient, mesh, places)
    opt = fastopt.torch.LAMB([p], lr=0.1)
    try:
        opt.step()
    except FastoptError as error:
        return str(error)
    whole = nn.Parameter(start)
    whole.grad = gradient
    fastopt.torch.LAMB([whole], lr=0.1).step()
    return torch.equal(p.full_tensor(), whole)


@pytest.mark.parametrize("kind", ["FullyShardedDataParallel", "DTensor"])
def test_shards_are_refused_by_rules_with_sums(kind):
    for found in processes(2)(step_of_sums, kind):
        assert re.search(rf"is a shard \({kind}\); LAMB needs all elements of a parameter", found)


def test_copies_are_whole():
    assert processes(2)(step_of_sums, "copy") == [True, True]


def error_of(groups):
    with pytest.raises(FastoptError) as error:
        distributed.require_all_gradients(groups)
    return str(error.value)


@pytest.mark.parametrize(
    ("case", "remedy"),
    [
        ("ZeroRedundancyOptimizer", "torch.nn.utils.clip_grad_norm_() before the step"),
        ("FullyShardedDataParallel", "model.clip_grad_norm_() before the step"),
    ],
)
def test_require_all_gradients(case, remedy):
    for found in processes(2)(group_of, case):
        assert found.startswith("max_grad_norm and on_nonfinite ")
        assert case in found
        assert remedy in found
    distributed.require_all_gradients(fastopt.torch.SGD([torch.zeros(3)]).param_groups)


LAUNCHED = {"OMP_NUM_THREADS": "1", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "2"}


@pytest.mark.parametrize(
    ("environment", "n_elements", "n_threads", "warns"),
    [
        ({}, 10**6, None, True),
        ({}, 10**6 - 1, None, False),
        ({}, 10**6, 1, False),
        ({"FASTOPT_NUM_THREADS": "1"}, 10**6, None, False),
        ({"FASTOPT_NUM_THREADS": ""}, 10**6, None, True),
        ({"OMP_NUM_THREADS": "2"}, 10**6, None, False),
        ({"LOCAL_RANK": "1"}, 10**6, None, False),
        ({"LOCAL_WORLD_SIZE": "5"}, 10**6, None, False),
    ],
)
def test_warning_of_one_thread(monkeypatch, environment, n_elements, n_threads, warns):
    """The warning is for OMP_NUM_THREADS=1 by torchrun, with two or more CPUs per process."""
    monkeypatch.delenv("FASTOPT_NUM_THREADS", raising=False)
    for name, value in (LAUNCHED | environment).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(distributed, "_n_cpus", lambda: 9)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        distributed.warn_if_one_thread(n_elements, n_threads)
    assert len(caught) == warns
    for warning in caught:
        assert "set n_threads or the environment variable FASTOPT_NUM_THREADS" in str(
            warning.message
        )
        assert "4 CPUs for each" in str(warning.message)
