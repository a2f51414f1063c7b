"""Copies between a device and the host: pinned buffers, side streams, accumulated gradients.

On a device with streams (CUDA, XPU) copies run on a side stream, from and to pinned memory, while
the device computes.  On others they are blocking.  A buffer is read or overwritten only after the
copy that uses it has ended.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import Tensor

LOW = (torch.float16, torch.bfloat16)
PINNED = ("cuda", "xpu")  # devices whose copies from and to pinned memory are asynchronous


class Link:
    """The copies between one device and the host; all calls are made without gradients.

    Parameters
    ----------
    device : torch.device
    """

    def __init__(self, device: torch.device) -> None:
        module = None if device.type == "cpu" else torch.get_device_module(device)
        self.device = device
        self.module: Any = module if hasattr(module, "Stream") else None
        self.stream = None if self.module is None else self.module.Stream(device)

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
    """What the host holds for one parameter of a device.

    Attributes
    ----------
    master : torch.Tensor
        The values, in float32 where the parameter has 16 bits: a parameter of the optimizer.
    staging : torch.Tensor
        A buffer of the parameter's dtype.  It receives a gradient, and sends 16-bit values.
    version : int
        The parameter's version when `master` and the parameter last agreed.
    """

    def __init__(self, master: Tensor, staging: Tensor) -> None:
        self.master = master
        self.staging = staging
        self.version = -1
        self._is_staged = False  # whether staging holds a gradient that is not in the sum
        self._event: Any = None  # of the copy into staging
        self._sum: Tensor | None = None  # of earlier gradients
        self._buffer: Tensor | None = None  # the memory of dense sums, kept for later steps

    def take(self, grad: Tensor, link: Link) -> None:
        """Add a gradient of the device to those that the host has; the copy may still run."""
        if grad.layout is not torch.strided or grad.dtype != self.staging.dtype:
            self._add(grad.to("cpu", self.master.dtype))
            return
        self._add_staged()
        self._event = link.download(self.staging, grad)
        self._is_staged = True

    def gradient(self) -> Tensor | None:
        """Return the sum of the gradients taken, or None if there were none."""
        if self._is_staged and self._sum is None and self.staging.dtype == self.master.dtype:
            self._wait()
            return self.staging
        self._add_staged()
        return self._sum

    def drop(self) -> None:
        """Forget the gradients; a copy that still runs is followed by the next one."""
        self._is_staged, self._sum = False, None

    def zero(self) -> None:
        """Set the sum of the gradients to zero, if there is one."""
        total = self.gradient()
        if total is not None:
            total.zero_()

    def follow(self, p: Tensor) -> None:
        """Set the values to the parameter's, except those that already round to them."""
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
        """Add a gradient on the host to the sum; only sparse gradients have a sparse sum."""
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


class Bucket:
    """Parameters of one device and dtype, whose host buffers are parts of the same allocations.

    Parameters
    ----------
    params : list of torch.Tensor
    """

    def __init__(self, params: list[Tensor]) -> None:
        low = params[0].dtype in LOW
        n, pin = sum(p.numel() for p in params), params[0].device.type in PINNED
        dtype = params[0].dtype
        self._staging = torch.empty(n, dtype=dtype, device="cpu", pin_memory=pin)
        self._masters = (
            torch.empty(n, dtype=torch.float32, device="cpu")
            if low
            else torch.empty(n, dtype=dtype, device="cpu", pin_memory=pin)
        )
        self.hosts = dict(zip(params, self._cut(params), strict=True))
        for p, host in self.hosts.items():
            host.master.copy_(p.detach().to("cpu"))
            host.version = p._version

    def upload(self, params: Iterable[Tensor], link: Callable[[torch.device], Link]) -> None:
        """Begin to send the values of some parameters, rounded to their dtype."""
        is_rounded = self._staging.dtype != self._masters.dtype
        if is_rounded:
            self._staging.copy_(self._masters)
        for p in params:
            host = self.hosts[p]
            link(p.device).upload(p, host.staging if is_rounded else host.master)
            host.version = p._version

    def _cut(self, params: list[Tensor]) -> Iterator[HostParameter]:
        start = 0
        for p in params:
            stop, strides = start + p.numel(), dense_strides(p)
            master, staging = (
                flat[start:stop].as_strided(p.shape, strides)
                for flat in (self._masters, self._staging)
            )
            yield HostParameter(master, staging)
            start = stop


def dense_strides(p: Tensor) -> tuple[int, ...]:
    """Return the strides of a dense tensor with the order of axes of `p`."""
    plan = torch.empty_strided(p.shape, p.stride(), device="meta")
    return torch.empty_like(plan, memory_format=torch.preserve_format).stride()


def buckets_of(params: Iterable[Tensor], most: int) -> list[Bucket]:
    """Return buckets of the parameters, in their order, of at most `most` bytes.

    A larger parameter has a bucket to itself.
    """
    full: list[list[Tensor]] = []
    open_: dict[Any, list[Tensor]] = {}  # the bucket that is being filled, by device and dtype
    for p in params:
        bucket = open_.setdefault((p.device, p.dtype), [])
        if bucket and sum(map(_bytes, bucket)) + _bytes(p) > most:
            full.append(bucket)
            bucket = open_[p.device, p.dtype] = []
        bucket.append(p)
    return [Bucket(members) for members in (*full, *open_.values())]


def _bytes(p: Tensor) -> int:
    return p.numel() * p.element_size()
