"""A device in pure Python: "fake:0", whose tensors are host tensors that ordinary code can't read.

Forward, backward and hooks run on it.  Bytes that cross between it and the host are counted.
Asynchronous copies on a side stream are executed when the stream, or an event on it, is
synchronized: code that reads a buffer too early, or overwrites one, gets wrong numbers.
"""

import contextlib

import torch
from torch.utils._pytree import tree_map

crossed = {"down": 0, "up": 0}  # bytes, since `reset`
_streams = []  # the innermost stream of `with stream(...)` is the last one


def reset():
    crossed.update(down=0, up=0)


class FakeTensor(torch.Tensor):
    """A tensor of the device; `on_device` holds its values."""

    @staticmethod
    def __new__(cls, values):
        return torch.Tensor._make_wrapper_subclass(
            cls, values.shape, strides=values.stride(), dtype=values.dtype, device="fake:0"
        )

    def __init__(self, values):
        self.on_device = values

    def record_stream(self, stream):
        stream.recorded.add(self.on_device.data_ptr())

    __torch_function__ = torch._C._disabled_torch_function_impl

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func is torch.ops.aten.copy_.default:
            return _copy(*args, **kwargs)
        target = kwargs.get("device")
        if func is torch.ops.aten._to_copy.default and target == torch.device("cpu"):
            _count("down", args[0])
            return _on_host(func, args, kwargs).clone()
        return tree_map(
            lambda x: cls(x) if isinstance(x, torch.Tensor) else x, _on_host(func, args, kwargs)
        )


def _unwrapped(x):
    if isinstance(x, FakeTensor):
        return x.on_device
    return torch.device("cpu") if isinstance(x, torch.device) else x


def _on_host(func, args, kwargs):
    return func(*tree_map(_unwrapped, args), **tree_map(_unwrapped, kwargs))


def _count(way, tensor):
    crossed[way] += tensor.numel() * tensor.element_size()


def _copy(to, source, non_blocking=False):
    """Copy, at once or on the current side stream."""
    crosses = isinstance(to, FakeTensor) != isinstance(source, FakeTensor)
    if crosses:
        _count("up" if isinstance(to, FakeTensor) else "down", source)
    values, place = _unwrapped(source), _unwrapped(to)
    if crosses and non_blocking and _streams:
        _streams[-1].put(lambda: place.copy_(values), source)
    else:
        place.copy_(values)
    return to


class Stream(torch.Stream):
    """A stream that executes its copies when it is synchronized."""

    def __new__(cls, device=None):
        return super().__new__(cls, device="fake:0")

    def __init__(self, device=None):
        self.waiting, self.done, self.recorded, self.is_ordered = [], 0, set(), False

    def wait_stream(self, other):
        self.is_ordered = True

    def put(self, copy, source):
        """Queue a copy; the source of a download must be recorded before the copy is executed."""
        assert self.is_ordered, "the stream does not wait for the stream of the computation"
        self.is_ordered = False
        self.waiting.append((copy, source))

    def finish(self, n):
        while self.done < n:
            copy, source = self.waiting.pop(0)
            if isinstance(source, FakeTensor):
                assert source.on_device.data_ptr() in self.recorded, "record_stream was not called"
            copy()
            self.done += 1

    def synchronize(self):
        self.finish(self.done + len(self.waiting))


class Event:
    """A position in a stream."""

    def record(self, stream):
        self.stream, self.position = stream, stream.done + len(stream.waiting)

    def synchronize(self):
        self.stream.finish(self.position)


class _Module:
    """The functions that torch calls in the module ``torch.fake``."""

    Stream, Event = Stream, Event

    def is_initialized(self):
        return True

    def is_available(self):
        return True

    def current_device(self):
        return 0

    def device_count(self):
        return 1

    def _is_in_bad_fork(self):
        return False

    def manual_seed_all(self, seed):
        pass

    def current_stream(self, device=None):
        return "the stream of the computation"

    @contextlib.contextmanager
    def stream(self, stream):
        _streams.append(stream)
        yield
        _streams.pop()


module = _Module()


def _empty_strided(size, stride, *, dtype=None, layout=None, device=None, pin_memory=None):
    return FakeTensor(torch.empty_strided(size, stride, dtype=dtype))


def _empty(size, *, dtype=None, layout=None, device=None, pin_memory=None, memory_format=None):
    return FakeTensor(torch.empty(size, dtype=dtype, memory_format=memory_format))


def install():
    """Make "fake:0" a device of this process; it can not be removed."""
    if hasattr(torch, "fake"):
        return
    torch.utils.backend_registration._setup_privateuseone_for_python_backend(
        "fake", backend_module=module
    )
    library = torch.library.Library("aten", "IMPL")
    library.impl("empty_strided", _empty_strided, "PrivateUse1")
    library.impl("empty.memory_format", _empty, "PrivateUse1")
    _registered.append(library)


_registered = []


def moved(model):
    """Return the model with its parameters, shared ones included, moved to the device."""
    new = {}
    for owner in model.modules():
        for name, p in owner._parameters.items():
            if p is not None and p not in new:
                new[p] = torch.nn.Parameter(FakeTensor(p.detach().clone()), p.requires_grad)
            if p is not None:
                owner._parameters[name] = new[p]
    return model


def values(tensor):
    """Return the values of a tensor of the device, without counting the bytes."""
    return tensor.on_device if isinstance(tensor, FakeTensor) else tensor.detach()
