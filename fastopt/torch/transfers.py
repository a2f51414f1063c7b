"""Copies between a device and the host: pinned buffers, side streams, accumulated gradients.

On a device with streams (CUDA, XPU), copies run on a side stream, from and to pinned memory, while
the device computes.  On other devices, they are blocking.  A buffer is read or overwritten only
after the copy that uses it has ended.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from fastopt.torch.tensors import LOW_PRECISION

PINNED = ("cuda", "xpu")  # device types with asynchronous copies from and to pinned memory


class Link:
    """The copies between one device and the host; its methods must be called under no_grad.

    Parameters
    ----------
    device : torch.device
    """

    def __init__(self, device: torch.device) -> None:
        module: Any = None if device.type == "cpu" else torch.get_device_module(device)
        self.device = device
        self.module = module if hasattr(module, "Stream") else None
        self.stream: Any = None if self.module is None else module.Stream(device)

    def download(self, to: Tensor, source: Tensor) -> Any:
        """Copy to the host; return an event to wait for, or None if the copy has ended.

        `source` may be deleted before that: its memory is kept until the copy has ended.
        """
        if self.module is None:
            to.copy_(source)
            return None
        self.stream.wait_stream(self.module.current_stream(self.device))
        with self.module.stream(self.stream):
            to.copy_(source, non_blocking=True)
            source.record_stream(self.stream)
            event = self.module.Event()
            event.record(self.stream)
        return event

    def upload(self, to: Tensor, source: Tensor) -> None:
        """Copy to the device; `source` must stay as it is until `wait`."""
        if self.module is None:
            to.copy_(source)
            return
        self.stream.wait_stream(self.module.current_stream(self.device))
        with self.module.stream(self.stream):
            to.copy_(source, non_blocking=True)

    def wait(self) -> None:
        """Wait until all copies have ended."""
        if self.module is not None:
            self.stream.synchronize()


class HostParameter:
    """The data on the host that belong to one parameter on a device.

    Parameters
    ----------
    p : torch.Tensor
    master : torch.Tensor
        Memory for the values, in float32 where the parameter has 16 bits.  It becomes a parameter
        of the host's optimizer.
    staging : torch.Tensor
        A buffer of the parameter's dtype, to which gradients and rounded values are copied.
    mixes : bool
        Whether the optimizer accepts gradients of another dtype than the master's.

    Attributes
    ----------
    version : int
        ``p._version`` when the master and the parameter were last equal, up to rounding.
    """

    def __init__(self, p: Tensor, master: Tensor, staging: Tensor, mixes: bool) -> None:
        self.master = master
        self.staging = staging
        self.is_rounded = master.dtype != staging.dtype
        self._gives_staged = mixes or not self.is_rounded
        if mixes:
            master.grad_dtype = None
        self._is_staged = False  # whether `staging` has a gradient that is not in the sum
        self._event: Any = None  # recorded after the copy into `staging`
        self._sum: Tensor | None = None  # the sum of earlier gradients
        self._buffer: Tensor | None = None  # memory for a dense sum, reused in later steps
        master.copy_(p.detach().to("cpu"))
        self.version = p._version

    def take(self, grad: Tensor, link: Link) -> None:
        """Add a gradient on the device to the sum; the copy to the host may be asynchronous."""
        if grad.layout is not torch.strided or grad.dtype != self.staging.dtype:
            self._add(grad.to("cpu", self.master.dtype))
            return
        self._add_staged()
        self._event = link.download(self.staging, grad)
        self._is_staged = True

    def gradient(self) -> Tensor | None:
        """Return the sum of the gradients taken, or None if there were none."""
        if self._is_staged and self._sum is None and self._gives_staged:
            self._wait()
            return self.staging
        self._add_staged()
        return self._sum

    def drop(self) -> None:
        """Drop the gradients.  A copy that still runs ends before the next copy starts."""
        self._is_staged, self._sum = False, None

    def zero(self) -> None:
        """Set the sum of the gradients to zero, if there is one."""
        total = self.gradient()
        if total is not None:
            total.zero_()

    def send(self, p: Tensor, link: Link) -> None:
        """Start to copy the values to the device, rounded to its dtype; this drops the gradient."""
        if self.is_rounded:
            self.staging.copy_(self.master)
        link.upload(p, self.staging if self.is_rounded else self.master)
        self.version = p._version

    def follow(self, p: Tensor) -> None:
        """Set each value to the parameter's, except those that round to it already."""
        theirs = p.detach().to("cpu")
        agrees = self.master.to(theirs.dtype) == theirs
        self.master.copy_(torch.where(agrees, self.master, theirs.to(self.master.dtype)))
        self.version = p._version

    def _wait(self) -> None:
        if self._event is not None:
            self._event.synchronize()
            self._event = None

    def _add_staged(self) -> None:
        if self._is_staged:
            self._wait()
            self._add(self.staging)
            self._is_staged = False

    def _add(self, grad: Tensor) -> None:
        """Add a gradient on the host to the sum, which is sparse if all gradients are sparse."""
        if self._sum is None and grad.layout is torch.strided:
            if self._buffer is None:
                self._buffer = torch.empty_like(self.master)
            self._sum = self._buffer.copy_(grad)
        elif self._sum is None:
            self._sum = grad
        elif self._sum.layout is torch.strided:
            self._sum.add_(grad)
        else:
            self._sum = grad.to(self.master.dtype) + self._sum


def host_parameters(
    params: Iterable[Tensor], bucket_bytes: int, mixes: bool
) -> dict[Tensor, HostParameter]:
    """Return the data on the host for parameters on devices, with their current values.

    Parameters
    ----------
    params : iterable of torch.Tensor
    bucket_bytes : int
        The largest size of an allocation; a larger parameter has an allocation to itself.
    mixes : bool
        Whether the optimizer accepts gradients of another dtype than the master's.
    """
    hosts: dict[Tensor, HostParameter] = {}
    for bucket in buckets_of(params, bucket_bytes):
        dtype, n = bucket[0].dtype, sum(p.numel() for p in bucket)
        pin = bucket[0].device.type in PINNED
        staging = torch.empty(n, dtype=dtype, device="cpu", pin_memory=pin)
        masters = (
            torch.empty(n, dtype=torch.float32, device="cpu")
            if dtype in LOW_PRECISION
            else torch.empty_like(staging, pin_memory=pin)
        )
        start = 0
        for p in bucket:
            master, buffer = (_part(flat, start, p) for flat in (masters, staging))
            hosts[p] = HostParameter(p, master, buffer, mixes)
            start += p.numel()
    return hosts


def buckets_of(params: Iterable[Tensor], most: int) -> list[list[Tensor]]:
    """Return lists of parameters of one device and dtype, each of at most `most` bytes."""
    full: list[list[Tensor]] = []
    open_: dict[Any, list[Tensor]] = {}  # the last bucket of each device and dtype
    for p in params:
        bucket = open_.setdefault((p.device, p.dtype), [])
        if bucket and sum(map(_bytes, bucket)) + _bytes(p) > most:
            full.append(bucket)
            bucket = open_[p.device, p.dtype] = []
        bucket.append(p)
    return [*full, *open_.values()]


def _bytes(p: Tensor) -> int:
    return p.numel() * p.element_size()


def _part(flat: Tensor, start: int, p: Tensor) -> Tensor:
    """Return a view of a flat tensor with the shape and order of axes of a parameter."""
    plan = torch.empty_strided(p.shape, p.stride(), device="meta")
    strides = torch.empty_like(plan, memory_format=torch.preserve_format).stride()
    return flat[start : start + p.numel()].as_strided(p.shape, strides)
