"""Which tensors are accepted, and the strided tensor that stores their elements."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn.parameter import is_lazy

from fastopt._core import byte_bounds
from fastopt._errors import FastoptError
from fastopt.arrays.overlap import Spans
from fastopt.torch import distributed

LOW_PRECISION = (torch.float16, torch.bfloat16)

MAX_AXES = 16  # FO_MAX_AXES
DTYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16)
INT_OF_SIZE = {2: torch.int16, 4: torch.int32, 8: torch.int64}


def is_wrapper(tensor: Tensor) -> bool:
    """Return whether a tensor's class may store its elements in other tensors."""
    return hasattr(type(tensor), "__torch_dispatch__") and type(tensor).__torch_dispatch__ not in (
        Tensor.__torch_dispatch__,
        torch._C._disabled_torch_dispatch_impl,
    )


def is_readable(p: Tensor) -> bool:
    """Return whether the memory of a tensor can be read as its values.

    It cannot for a lazy parameter without a shape, and for a view with a pending negation or
    conjugation.
    """
    return not (is_lazy(p) or p.is_neg() or p.is_conj())


def needs_resolving(tensor: Tensor) -> bool:
    """Return whether the elements are stored in another tensor, which `plain` returns."""
    return tensor.is_complex() or distributed.is_dtensor(tensor)


def plain(tensor: Tensor) -> Tensor:
    """Return the tensor that stores the elements.

    It is the local shard of a DTensor, a real view of a complex tensor, or the tensor itself.
    """
    tensor = distributed.local(tensor)
    return torch.view_as_real(tensor.detach()) if tensor.is_complex() else tensor


def plain_gradient(p: Tensor, grad: Tensor) -> Tensor:
    """Return the tensor that stores the elements of a gradient, as `plain` does."""
    grad = distributed.gradient_of(p, grad)
    if p.is_complex() != grad.is_complex():
        raise wrong_dtype(p, grad)
    if grad.is_complex():
        if grad.is_sparse:
            raise FastoptError("a complex gradient is sparse; use grad.to_dense()")
        grad = torch.view_as_real(grad.detach().resolve_conj())
    return grad


def resolved(tensor: Tensor) -> Tensor:
    """Return an equal tensor without a pending negation, so that its memory has its values."""
    return tensor.resolve_neg() if tensor.is_neg() else tensor


def refuse(p: Tensor) -> bool:
    """Raise an error that says why a parameter cannot be updated; return True if it can."""
    what = f"a parameter of shape {tuple(p.shape)}"
    if p.device.type == "meta":
        raise FastoptError(f"{what} is on the meta device and has no values; use to_empty()")
    if p.device.type != "cpu":
        raise FastoptError(
            f"{what} is on {p.device}, but updates run on the CPU: use model.to('cpu'), or "
            "fastopt.torch.CPUOffload"
        )
    if p.layout != torch.strided:
        raise FastoptError(f"{what} has layout {p.layout}; dense parameters are needed")
    if is_wrapper(p) and not distributed.is_dtensor(p):
        raise FastoptError(
            f"{what} is a {type(p).__name__}; Tensor, Parameter and DTensor are supported"
        )
    if p.dtype not in (*DTYPES, torch.complex64, torch.complex128):
        raise FastoptError(
            f"{what} is {p.dtype}; allowed: float16, bfloat16, float32, float64, complex64 and "
            "complex128"
        )
    if p.dim() > MAX_AXES:
        raise FastoptError(f"{what} has {p.dim()} dimensions; at most {MAX_AXES} are allowed")
    require_memory(what, p)
    if p.is_neg() or p.is_conj():
        raise FastoptError(
            f"{what} is a view of negated or conjugated numbers; use resolve_neg() or "
            "resolve_conj()"
        )
    if has_shared_elements(plain(p)):
        raise FastoptError(f"elements of {what} share memory (strides {p.stride()}); clone it")
    return True


def require_memory(what: str, tensor: Tensor) -> None:
    """Raise an error if the storage of a tensor has been freed; `what` names the tensor."""
    found = distributed.local(tensor)
    if found.layout == torch.strided and found.numel() and found.untyped_storage().nbytes() == 0:
        raise FastoptError(f"{what} has no memory; its storage has been freed")


def has_shared_elements(tensor: Tensor) -> bool:
    """Return whether elements of a tensor may have the same address."""
    extent = 1
    axes = [axis for axis in zip(tensor.stride(), tensor.shape, strict=True) if axis[1] > 1]
    for stride, length in sorted(axes):
        if stride < extent:
            return tensor.numel() > 0
        extent += (length - 1) * stride
    return False


def is_usual(grad: Tensor) -> bool:
    """Return whether a gradient is strided, on the CPU, and of a dtype that the C code reads."""
    return (
        grad.layout == torch.strided
        and grad.device.type == "cpu"
        and grad.dtype in DTYPES
        and not grad.is_conj()
        and not is_wrapper(grad)
    )


def dense_or_rows(optimizer: Any, group: int, p: Tensor, grad: Tensor) -> Any:
    """Return (dense gradient, None), or (values, indices) for the rows of a sparse gradient.

    values[k] belongs to row indices[k].  An index may occur several times.
    """
    if is_usual(grad):
        require_memory("a gradient", grad)
        return grad, None
    if grad.layout == torch.sparse_coo:
        options = optimizer.param_groups[group]
        if optimizer._sparse == "refused":
            raise RuntimeError(optimizer._sparse_error)
        if options.get("weight_decay"):
            raise RuntimeError("weight_decay option is not compatible with sparse gradients")
        grad = grad.detach()
        has_momentum = optimizer._sparse == "without momentum" and options.get("momentum")
        if grad.sparse_dim() == 1 and not has_momentum:
            return grad._values().contiguous(), grad._indices()[0].contiguous()
        if optimizer._sparse in ("only", "rows"):
            raise FastoptError(
                f"a sparse gradient has {grad.sparse_dim()} sparse dimensions; "
                f"{type(optimizer).__name__} needs one, the first axis of the parameter"
            )
        return grad.to_dense(), None  # equal: rows that are not present have gradient 0
    if optimizer._sparse == "only":
        require_rows(False)
    if grad.layout != torch.strided:
        if is_of_mkldnn(grad):
            return grad.to_dense(), None
        raise FastoptError(f"a gradient has layout {grad.layout}; use grad.to_dense()")
    if grad.device.type != "cpu":
        raise FastoptError(f"a gradient is on {grad.device}; its parameter is on the CPU")
    if grad.is_conj() or is_wrapper(grad):
        raise FastoptError(f"a gradient is a {type(grad).__name__}; a plain tensor is needed")
    raise wrong_dtype(p, grad)


def is_of_mkldnn(grad: Tensor) -> bool:
    """Return whether a tensor has the layout of oneDNN."""
    return bool(grad.layout == torch._mkldnn)  # type: ignore[attr-defined]


def wrong_dtype(p: Tensor, grad: Tensor) -> FastoptError:
    """Return the error for a gradient whose dtype cannot be used."""
    return FastoptError(f"a gradient is {grad.dtype}; its parameter is {p.dtype}")


def clear(params: Iterable[Tensor]) -> None:
    """Set the dense gradients of parameters to 0."""
    for p in params:
        if p.grad is not None and p.grad.layout == torch.strided:
            distributed.local(p.grad).detach().zero_()


def require_rows(are_rows: bool) -> None:
    """Raise the error of torch's SparseAdam if a gradient is dense."""
    if not are_rows:
        raise RuntimeError(
            "SparseAdam does not support dense gradients, please consider Adam instead"
        )


def name_of(optimizer: Any, number: int) -> str:
    """Return the name of a parameter for error messages.

    number: its index in the list of the parameters of all groups.
    """
    for group in optimizer.param_groups:
        if number < len(group["params"]):
            names = group.get("param_names")
            return f"parameter {names[number]!r}" if names else f"parameter {number}"
        number -= len(group["params"])
    raise AssertionError("number is beyond the last parameter")


def require_clearable(p: Tensor) -> None:
    """Raise an error if elements of a gradient share memory, which zero_grads does not support."""
    if p.grad is not None and p.grad.layout == torch.strided and has_shared_elements(p.grad):
        raise FastoptError(
            f"elements of the gradient of a parameter of shape {tuple(p.shape)} share memory "
            f"(strides {p.grad.stride()}); zero_grads would clear some of them before they are read"
        )


def require_apart(
    optimizer: Any, found: Iterable[tuple[int, Tensor, Mapping[str, Any]]], clears: bool
) -> None:
    """Raise an error if tensors that a step writes share memory with each other or a gradient.

    found: the number, parameter and state of each parameter that is updated.
    clears: whether the step also writes the gradients.
    """
    written: list[tuple[str, Any]] = []
    gradients: list[tuple[str, Any]] = []
    for number, p, inner in found:
        name = f"{name_of(optimizer, number)} of shape {tuple(p.shape)}"
        written.append((name, _as_array(p)))
        for key, value in inner.items():
            if isinstance(value, Tensor):
                written.append((f"state {key!r} of {name}", _as_array(value)))
        if p.grad is not None and p.grad.layout == torch.strided:
            (written if clears else gradients).append(
                (f"the gradient of {name}", _as_array(p.grad))
            )
    arrays = [array for _, array in written]
    spans = Spans().with_arrays([name for name, _ in written], arrays, byte_bounds(arrays))
    for name, array in gradients:
        spans.require_apart(name, array)


def _as_array(tensor: Tensor) -> Any:
    found = plain(tensor).detach().resolve_neg()
    return found.view(INT_OF_SIZE[found.element_size()]).numpy()
