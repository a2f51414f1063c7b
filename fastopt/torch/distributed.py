"""Steps in several processes: the shards of DTensors, and norms over all shards.

`torch.distributed.tensor.DTensor` is the class of the parameters that `fully_shard` and
`parallelize_module` make.  Other tensors need no communication: DDP has averaged their gradients
before the step, so every process computes the same numbers.

All processes must call the functions that communicate, with the same parameters, also with those
that have no gradient.  The functions return the same bits on every process of a mesh.
"""

from __future__ import annotations

import math
import os
import sys
import warnings
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any

import torch

from fastopt._cpus import cpu_quota
from fastopt._errors import FastoptError

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup

    _Known = dict[tuple[Any, ...], tuple[ProcessGroup, ...]]

_BLOCK = 16384  # elements converted to float64 at a time; PyTorch uses one thread for so few
_LARGE = 1_000_000  # elements; a step on fewer takes less than a millisecond


def is_dtensor(tensor: torch.Tensor) -> bool:
    """Return whether a tensor is a DTensor, without importing the module that defines it."""
    module = sys.modules.get("torch.distributed.tensor")
    return module is not None and isinstance(tensor, module.DTensor)


def local(tensor: Any) -> torch.Tensor:
    """Return the shard of a DTensor that this process stores, or any other tensor unchanged."""
    shard: torch.Tensor = tensor._local_tensor if is_dtensor(tensor) else tensor
    return shard


def gradient_of(param: Any, grad: Any) -> torch.Tensor:
    """Return the part of a gradient that belongs to this process's shard of the parameter.

    If the placements of the gradient differ from the parameter's, it is redistributed first, which
    communicates.  With sequence parallelism, for example, a LayerNorm's gradients are partial sums.

    Parameters
    ----------
    param : Tensor
    grad : Tensor
        A DTensor on the same mesh if `param` is a DTensor; otherwise not a DTensor.

    Raises
    ------
    FastoptError
        If the meshes differ.
    TypeError
        If one is a DTensor and the other is not.
    """
    if is_dtensor(param) != is_dtensor(grad):
        raise TypeError(
            f"a gradient is a {_kind(grad)} and its parameter is a {_kind(param)}; "
            "allowed: both DTensors, or neither"
        )
    if not is_dtensor(param):
        return local(grad)
    if grad.device_mesh != param.device_mesh:
        raise FastoptError(
            f"a gradient is on the mesh {grad.device_mesh} and its parameter on "
            f"{param.device_mesh}; allowed: the same mesh"
        )
    if grad.placements != param.placements:
        grad = grad.redistribute(placements=param.placements)
    shard = local(grad)
    if hasattr(shard, "wait"):  # redistribution is asynchronous
        shard = shard.wait()
    return shard


def require_all_gradients(groups: Iterable[Mapping[str, Any]]) -> None:
    """Raise an error if this process cannot compute the norm of all gradients.

    The shards of the older `FullyShardedDataParallel` are ordinary tensors, and the optimizer in a
    `ZeroRedundancyOptimizer` has only some of the parameters.  Each process would then use the norm
    of its part only, and would clip differently.

    Parameters
    ----------
    groups : iterable of dict
        ``param_groups`` of an optimizer with ``max_grad_norm`` or ``on_nonfinite``.

    Raises
    ------
    FastoptError
        If parameters are sharded in one of these two ways.
    """
    for group in groups:
        if group.keys() & {"max_grad_norm", "on_nonfinite"}:  # ZeRO copies its arguments to groups
            raise FastoptError(
                "max_grad_norm and on_nonfinite work on all parameters: they are not options of a "
                "group, and do not work in ZeroRedundancyOptimizer; there, call "
                "torch.nn.utils.clip_grad_norm_() before the step"
            )
        if any(getattr(p, "_fsdp_flattened", False) for p in group["params"]):
            raise FastoptError(
                "max_grad_norm and on_nonfinite do not work with FullyShardedDataParallel; call "
                "model.clip_grad_norm_() before the step, or use torch.distributed.fsdp."
                "fully_shard"
            )


def require_whole(name: str, params: Iterable[torch.Tensor]) -> None:
    """Raise an error if a parameter is a shard, and the rule needs whole parameters.

    Parameters
    ----------
    name : str
        The name of the class, for the error message.
    params : iterable of Tensor
        Parameters of an optimizer whose rule needs all elements of a parameter.

    Raises
    ------
    FastoptError
        If a parameter is the shard of a DTensor or of a `FullyShardedDataParallel`.
    """
    for p in params:
        is_flat = getattr(p, "_fsdp_flattened", False)
        if is_flat or _sharding_groups(p, {}):
            kind = "FullyShardedDataParallel" if is_flat else "DTensor"
            raise FastoptError(
                f"a parameter of shape {tuple(p.shape)} is a shard ({kind}); {name} needs all "
                "elements of a parameter: use DistributedDataParallel"
            )


@torch.no_grad()
def total_norm(params: Iterable[torch.Tensor]) -> float:
    """Return the norm of all gradients, over all shards.

    A shard that several processes store counts once, and so does a parameter that is not a DTensor.
    Parameters may be on several meshes, or on none. The processes of a mesh get the same bits with
    any number of threads.

    Parameters
    ----------
    params : iterable of Tensor
        All parameters of the optimizer, in the same order on every process. One without a gradient
        counts as zeros, but must not be left out: other processes would wait for it forever.

    Returns
    -------
    float
        It overflows only if the norm itself does. It is NaN or infinite on every process if one
        element is on any of them, so that all processes can skip the step.

    Raises
    ------
    RuntimeError
        If the processes of a mesh cannot exchange CPU tensors.

    Notes
    -----
    Processes that hold other parameters, such as the other stages of pipeline parallelism, are not
    included, as in `torch.nn.utils.clip_grad_norm_`.
    """
    known: _Known = {}
    parts: dict[tuple[ProcessGroup, ...], list[float]] = {}
    for p in params:
        norm = 0.0 if p.grad is None else _norm(gradient_of(p, p.grad))
        parts.setdefault(_sharding_groups(p, known), []).append(norm)
    totals = {groups: _root(norms) for groups, norms in parts.items()}
    for group in dict.fromkeys(chain.from_iterable(totals)):
        keys = [groups for groups in totals if group in groups]
        columns = zip(*_gather([totals[key] for key in keys], group), strict=True)
        totals.update((key, _root(column)) for key, column in zip(keys, columns, strict=True))
    return _root(totals.values())


def warn_if_one_thread(n_elements: int, n_threads: int | None) -> None:
    """Warn if large steps run on one thread because a launcher has set OMP_NUM_THREADS=1.

    torchrun sets it for every process, unless the user has set it. Only the first process of a
    machine warns, and only if there are two or more CPUs for each process.

    Parameters
    ----------
    n_elements : int
        The number of elements that a step updates.
    n_threads : int or None
        The option of the optimizer. There is no warning if it is set.
    """
    environ = os.environ
    if (
        n_elements >= _LARGE
        and n_threads is None
        and not environ.get("FASTOPT_NUM_THREADS")
        and environ.get("OMP_NUM_THREADS") == "1"
        and environ.get("LOCAL_RANK") == "0"
        and torch.get_num_threads() == 1
        and (share := _n_cpus() // int(environ.get("LOCAL_WORLD_SIZE") or 1)) > 1
    ):
        warnings.warn(
            f"each step updates {n_elements} elements on one thread, because OMP_NUM_THREADS is 1, "
            "which torchrun sets by default; set n_threads or the environment variable "
            f"FASTOPT_NUM_THREADS: this machine has {share} CPUs for each of its processes",
            stacklevel=2,
        )


def _kind(tensor: torch.Tensor) -> str:
    return "DTensor" if is_dtensor(tensor) else "Tensor"


def _norm(grad: torch.Tensor) -> float:
    """Return the norm of a tensor, computed in float64."""
    if grad.layout == torch.sparse_coo:
        grad = grad.coalesce().values()
    if grad.is_complex():
        grad = torch.view_as_real(grad.resolve_conj())
    blocks = torch.split(grad.reshape(-1), _BLOCK)
    norm = _root(_norm_of_block(block) for block in blocks)
    if grad.dtype == torch.float64 and (norm < 1e-140 or norm == math.inf):
        # Squares have overflowed or underflowed, unless an element is infinite or all are 0.
        largest = max((float(block.abs().max()) for block in blocks if len(block)), default=0.0)
        if 0.0 < largest < math.inf:
            return largest * _root(_norm_of_block(block / largest) for block in blocks)
    return norm


def _norm_of_block(block: torch.Tensor) -> float:
    return float(torch.linalg.vector_norm(block, dtype=torch.float64))


def _sharding_groups(param: Any, known: _Known) -> tuple[ProcessGroup, ...]:
    """Return the process groups over which a parameter's elements are divided.

    known: the results for other parameters; most have the same placements.
    """
    if not is_dtensor(param):
        return ()
    mesh, placements = param.device_mesh, param.placements
    key = mesh, placements
    if key not in known:
        outside = mesh.get_coordinate() is None  # this process stores nothing of the parameter
        known[key] = tuple(
            mesh.get_group(axis)
            for axis, placement in enumerate(placements)
            if not (outside or placement.is_replicate() or mesh.size(axis) == 1)
        )
    return known[key]


def _gather(values: Sequence[float], group: ProcessGroup) -> list[list[float]]:
    """Return the values of every process of a group, in the order of their ranks.

    Adding up the values in this order gives the same bits on all processes with any backend.
    """
    import torch.distributed as dist

    backend = dist.get_backend_config(group)
    if "cpu:" not in backend:
        raise RuntimeError(
            "max_grad_norm and on_nonfinite need a process group for CPU tensors, and a "
            f"parameter's mesh has {backend!r}; allowed: one with a CPU backend, as in "
            'torch.distributed.init_process_group("cpu:gloo,cuda:nccl")'
        )
    mine = torch.tensor(values, dtype=torch.float64, device="cpu")
    rows = [torch.empty_like(mine) for _ in range(dist.get_world_size(group))]
    dist.all_gather(rows, mine, group=group)
    return [row.tolist() for row in rows]


def _root(norms: Iterable[float]) -> float:
    """Return the norm of a vector of norms; NaN if one is NaN, even if another is infinite."""
    values = list(norms)
    return math.nan if any(map(math.isnan, values)) else math.hypot(*values)


def _n_cpus() -> int:
    """Return the number of CPUs that all processes of this machine share."""
    counted = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return min(counted or 1, cpu_quota() or sys.maxsize)
