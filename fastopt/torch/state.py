"""The state of a parameter: its initial values, dtypes and layout, and how it is loaded."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from fastopt._core import float8_blocks, float8_pack
from fastopt._errors import FastoptError
from fastopt.optimizers.base.rule import EXACTLY_AT_PARAM
from fastopt.optimizers.base.state import float8
from fastopt.torch import distributed, tensors
from fastopt.torch.options import Group


def real_dtype(dtype: torch.dtype) -> torch.dtype:
    """Return the dtype of the arithmetic for a parameter of this dtype."""
    return torch.float64 if dtype in (torch.float64, torch.complex128) else torch.float32


def start(
    states: Any,
    p: Tensor,
    group: Group,
    keys: Iterable[str],
    dtype: torch.dtype,
    started: list[tuple[Any, Tensor, list[str]]],
) -> Any:
    """Add the missing items of a parameter's state, in the order of `keys`; return the state.

    started: a list, to which the arguments of `undo` are appended.
    """
    inner = states[p]  # PyTorch's defaultdict creates an empty dict
    missing = [name for name in keys if inner.get(name) is None]
    started.append((inner, p, missing))
    if dtype is torch.uint8:
        missing = [name for name in missing if not _pack(inner, name, group)]
    for name in missing:
        inner[name] = _first_value(p, name, inner, group, dtype)
    return inner


def undo(states: Any, started: Iterable[tuple[Any, Tensor, list[str]]]) -> None:
    """Remove the items that `start` added, if the step was not taken."""
    for inner, p, added in started:
        for name in added:
            inner.pop(name, None)
        if not inner:
            states.pop(p, None)


def _first_value(
    p: Tensor, name: str, inner: Mapping[str, Any], group: Group, dtype: torch.dtype
) -> Any:
    if name == "step":
        # PyTorch's SGD counts no steps; if its buffer exists, the first step was taken.
        return group.first_step() + (inner.get("momentum_buffer") is not None)
    if name in group.scalars:
        return torch.tensor(group.scalars[name], dtype=torch.float64)
    shapes = group.factored(tuple(p.shape))
    if name in shapes:
        return torch.zeros(shapes[name], dtype=real_dtype(p.dtype))
    source = p.detach()
    if dtype is torch.uint8 and (state := _with_8_bits(name, group)) is not None:
        number = float(group.initial.get(state, 0.0))
        new = float8.new_arrays(group.float8, state, tuple(p.shape), number)
        return torch.from_numpy(new[name])
    value = group.initial.get(name, 0.0)
    if name in ("master", "ema", "slow"):
        return _like(source, real_dtype(p.dtype), dtype is torch.uint8).copy_(source)
    if isinstance(value, str):  # AT_PARAM
        if value == EXACTLY_AT_PARAM and dtype.itemsize == 2 and p.dtype != dtype:
            raise FastoptError(
                f"state_dtype is 16 bits, but {name!r} is the initial value of a parameter, which "
                "would be rounded; leave state_dtype out"
            )
        return _like(source, dtype).copy_(source)
    return torch.full_like(_like(source, dtype), complex(value, value) if p.is_complex() else value)


def _with_8_bits(name: str, group: Group) -> str | None:
    """Return the state to which the codes or scales with this name belong, or None."""
    return next((key for key in group.arrays if name in (key, float8.scale_of(key))), None)


def _pack(inner: dict[str, Any], name: str, group: Group) -> bool:
    """Convert a state to 8 bits if only its scales, with this name, are missing."""
    state = _with_8_bits(name, group)
    value = None if state is None or name == state else inner.get(state)
    if not isinstance(value, Tensor) or not value.is_floating_point():
        return False
    tensors.require_memory(f"state {state!r}", value)
    values = value.detach().to_dense().float().contiguous().numpy()
    codes, scale = float8_pack(values, float8.is_signed(group.float8, str(state)))
    inner[str(state)], inner[name] = torch.from_numpy(codes), torch.from_numpy(scale)
    return True


def unpacked(inner: Mapping[str, Any], name: str, kinds: Mapping[str, str]) -> Tensor:
    """Return a state as a tensor of floats; kinds: `Rule._float8`."""
    value: Tensor = inner[name]
    scale = inner.get(float8.scale_of(name))
    if value.dtype is not torch.uint8 or name not in kinds or not isinstance(scale, Tensor):
        return value
    arrays = {name: value.numpy(), float8.scale_of(name): scale.numpy()}
    return torch.from_numpy(float8.values(kinds, arrays, name))


def _like(p: Tensor, dtype: torch.dtype, in_c_order: bool = False) -> Tensor:
    """Return an uninitialised tensor with the shape and order of axes of `p`, complex if `p` is."""
    if p.is_complex():
        dtype = torch.complex128 if dtype is torch.float64 else torch.complex64
    order = torch.contiguous_format if in_c_order else torch.preserve_format
    return torch.empty_like(p, dtype=dtype, memory_format=order)


def lay_out(
    p: Tensor,
    inner: dict[str, Any],
    name: str,
    dtype: torch.dtype,
    kinds: Mapping[str, str],
    in_c_order: bool,
) -> Tensor:
    """Convert a state tensor to its parameter's layout and to a dtype; return its elements.

    kinds: `Rule._float8`; in_c_order: whether the layout is in C order whatever the parameter's.
    """
    value = inner[name]
    if isinstance(value, Tensor) and value.dtype is torch.uint8:
        value = unpacked(inner, name, kinds)
        inner.pop(float8.scale_of(name), None)
    if not isinstance(value, Tensor) or value.shape != p.shape:
        shape = tuple(value.shape) if isinstance(value, Tensor) else value
        raise FastoptError(f"state {name!r} has shape {shape}; its parameter has {tuple(p.shape)}")
    tensors.require_memory(f"state {name!r}", value)
    # PyTorch's SGD makes sparse buffers if all gradients were sparse.
    inner[name] = _like(p.detach(), dtype, in_c_order).copy_(value.detach().to_dense())
    return tensors.plain(inner[name])


def bytes_of(p: Tensor, inner: dict[str, Any], name: str, has_scales: bool) -> Tensor:
    """Return the codes or the scales of an 8-bit state, contiguous; raise an error for others."""
    value, shape = inner[name], tuple(p.shape)
    if has_scales:
        shape = float8_blocks(shape)
    if not isinstance(value, Tensor) or value.dtype is not torch.uint8 or value.shape != shape:
        found = (
            f"{value.dtype} of shape {tuple(value.shape)}" if isinstance(value, Tensor) else value
        )
        raise FastoptError(
            f"state {name!r} is {found}; with state_dtype='float8', torch.uint8 of shape {shape} "
            "is needed"
        )
    if not value.is_contiguous():
        inner[name] = value = value.contiguous()
    return value


def float32_state(optimizer: Any, p: Tensor, name: str) -> Tensor:
    """Return a state of a parameter as float32, also if it is stored in 8 or 16 bits.

    Parameters
    ----------
    optimizer : Door
    p
        A parameter of the optimizer.
    name
        The name of the state, such as ``"exp_avg"``.

    Returns
    -------
    Tensor
        A new tensor of the shape of ``optimizer.state[p][name]``.

    Raises
    ------
    FastoptError
        The parameter has no such state.

    Examples
    --------
    >>> import torch, fastopt.torch
    >>> w = torch.zeros(16, 256, requires_grad=True)
    >>> opt = fastopt.torch.SGD([w], momentum=0.9, state_dtype="float8")
    >>> w.sum().backward()
    >>> opt.step()
    >>> opt.state[w]["momentum_buffer"].dtype
    torch.uint8
    >>> bool((fastopt.torch.float32_state(opt, w, "momentum_buffer") == 1).all())
    True
    """
    inner = optimizer.state.get(p, {})
    if not isinstance(inner.get(name), Tensor):
        raise FastoptError(f"name is {name!r}; the parameter has the state {list(inner)}")
    value = unpacked(inner, name, optimizer._rule._float8).detach()
    return value.to(torch.float32, copy=True)


def lay_out_factored(p: Tensor, inner: dict[str, Any], name: str, group: Group) -> Tensor:
    """Convert a state tensor of a factored rule to a contiguous one of the dtype of C."""
    value = inner[name]
    shape = group.factored(tuple(p.shape))[name]
    if not isinstance(value, Tensor) or value.shape != shape:
        found = tuple(value.shape) if isinstance(value, Tensor) else value
        raise FastoptError(f"state {name!r} has shape {found}; {shape} is needed")
    tensors.require_memory(f"state {name!r}", value)
    converted = torch.empty(shape, dtype=real_dtype(p.dtype)).copy_(value.detach())
    inner[name] = converted
    return converted


def between(p: Tensor, inner: Mapping[str, Any], name: str, weight: float) -> Any:
    """Return p + weight * (state - p), from the master of `p` if it has one."""
    if weight == 1.0:
        return inner[name]
    start = inner.get("master", p).to(inner[name].dtype)
    return start + weight * (inner[name] - start)


def uphill(p: Tensor, inner: Mapping[str, Any], distance: float, norm: float) -> Tensor:
    """Return p + distance * p.grad / norm, from the master of p if it has one.

    The ratio is computed in double precision, where it neither overflows nor underflows.
    """
    main = inner.get("master", p)
    assert p.grad is not None
    exact = torch.complex128 if p.is_complex() else torch.float64
    step = distance * (p.grad.to(exact) / norm)
    real = _computed_in(main)
    point: Tensor = main.to(real) + step.to(real)
    return point


def _computed_in(p: Tensor) -> torch.dtype:
    """Return the dtype of the arithmetic for a tensor, complex if it is complex."""
    if p.is_complex():
        return torch.complex128 if p.dtype is torch.complex128 else torch.complex64
    return real_dtype(p.dtype)


def require_masters(optimizer: Any) -> None:
    """Remove each master that does not round to its parameter; the next step makes a new one."""
    is_stochastic = optimizer._options["rounding"] == "stochastic"
    for p in optimizer._parameters():
        inner = optimizer.state.get(p) or {}
        master = inner.get("master")
        if isinstance(master, Tensor) and not _rounds_to(master, p.detach(), is_stochastic):
            del inner["master"]


def _rounds_to(master: Tensor, p: Tensor, is_stochastic: bool) -> bool:
    if (
        master.dtype is not torch.float32
        or master.shape != p.shape
        or p.dtype not in tensors.LOW_PRECISION
    ):
        return False
    master, p = tensors.plain(master), tensors.plain(p)
    nearest = master.to(p.dtype)
    same = (nearest == p) | (nearest.isnan() & p.isnan())
    if is_stochastic:  # a master may also round to the other neighbour
        side = torch.where(master > p.float(), torch.inf, -torch.inf)
        between = torch.nextafter(p, side.to(p.dtype))
        same |= (between.float() - p.float()).abs() > (master - p.float()).abs()
    return bool(same.all())


class Protected:
    """A wrapper of a state tensor, so that torch's load_state_dict neither casts nor shares it."""

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor


def protected(_: Any, state_dict: Mapping[str, Any]) -> dict[str, Any]:
    """Return a state dict whose state tensors are `Protected`."""
    return {
        **state_dict,
        "state": {
            key: {
                name: Protected(value) if isinstance(value, Tensor) else value
                for name, value in inner.items()
            }
            if isinstance(inner, dict)
            else inner
            for key, inner in state_dict["state"].items()
        },
    }


def unprotected(pickled: dict[str, Any]) -> dict[str, Any]:
    """Return a state dict with the tensors of `protected` unwrapped and copied to the CPU."""
    for inner in pickled.get("state", {}).values():
        if isinstance(inner, dict):
            for name, value in inner.items():
                if isinstance(value, Protected):
                    found = value.tensor.detach()
                    is_here = distributed.is_dtensor(found) or found.device.type == "cpu"
                    inner[name] = found.clone() if is_here else found.cpu()
    return pickled
