"""The directions of matrices in a step of `Muon`, computed as those of `fastopt.Muon`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor

from fastopt._core import N_SAVED
from fastopt.arrays.accepted import as_array
from fastopt.arrays.dtypes import Array
from fastopt.optimizers.base.directions import Lent, Matrix, computed, options_for_c, work_like
from fastopt.torch import tensors
from fastopt.torch.options import Group


class Member(NamedTuple):
    """A matrix that has a gradient: its position in the optimizer, options and state."""

    position: int
    p: Tensor
    group: Group
    for_c: tuple[Any, ...]  # of the group, with or without weight decay
    inner: Mapping[str, Any]
    taken: int  # the number of steps taken


def directions(
    optimizer: Any, members: Sequence[Member], norm: float, grad_scale: float, n_threads: int
) -> Lent:
    """Return (position, index of a state, array) for each matrix.

    norm: the norm of all gradients, which is not used without max_grad_norm.
    """
    found, options = [], []
    for i, member in enumerate(members):
        name = tensors.name_of(optimizer, member.position)
        if member.p.is_complex():
            raise RuntimeError("Muon does not support complex parameters")  # torch's error
        direction, for_c = member.group.direction, member.for_c
        assert direction is not None
        coupled = for_c[2] if for_c[3] == "coupled" else 0.0
        options.append(options_for_c(direction, for_c[1], coupled, for_c[5]))
        master = member.inner.get("master")
        matrix = Matrix(
            name,
            member.position,
            i,
            _gradient(name, member.p),
            tuple(_array(name, member.inner[key]) for key in member.group.arrays),
            (np.array(member.taken), np.zeros((N_SAVED, 1))),
            work_like(
                _array(name, member.p), None if master is None else _array(name, master), coupled
            ),
            direction,
        )
        found.append(matrix)
    clips = optimizer._options["max_grad_norm"] is not None
    extras = {**optimizer._options, "grad_scale": grad_scale}
    return computed(found, options, extras, norm if clips else None, n_threads)


def _array(name: str, tensor: Tensor) -> Array:
    return as_array(name, tensor.detach())


def _gradient(name: str, p: Tensor) -> Array:
    assert p.grad is not None
    grad = tensors.resolved(tensors.plain_gradient(p, p.grad)).detach()
    return _array(name, grad.to_dense() if tensors.is_of_mkldnn(grad) else grad)
