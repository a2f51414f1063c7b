"""CPUOffload: an optimizer on the host for parameters on a device."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import chain
from typing import Any

import torch
from torch import Tensor

from fastopt._checks import Whole, flag
from fastopt.optimizers.base.extras import positive
from fastopt.torch.backward import INSTEAD, refuse_late_reduction, refuse_taken, take_gradients
from fastopt.torch.distributed import is_dtensor
from fastopt.torch.door import Door, outside_of_graphs
from fastopt.torch.transfers import HostParameter, Link, host_parameters


class CPUOffload(torch.optim.Optimizer):
    """An optimizer whose state and updates are on the host, for parameters on any device.

    The device stores the parameters, the activations and the gradients of the current backward
    pass.  The host stores the optimizer's state, the gradients, and a copy of each parameter, which
    is float32 for a 16-bit parameter.  A step updates the copies on the host and sends the new
    values to the device.

    On CUDA and XPU devices, copies are asynchronous, on a side stream, with pinned memory.  This
    has not been tested on a GPU yet.

    Parameters
    ----------
    params : iterable
        Parameters, pairs of a name and a parameter, or group dicts, as for `torch.optim`.
        Parameters on the CPU are updated in place, without copies.
    optimizer_class : type
        A class of `fastopt.torch`, or of `torch.optim`.
    offload_gradients : bool, default True
        Whether each gradient is copied to the host as soon as it is complete, while the backward
        pass continues, and then freed on the device.  ``p.grad`` is then None after
        ``backward()``.  Gradients of several backward passes are summed on the host, in the dtype
        of the copy, and `step` frees them, as if ``zero_grad()`` had followed.  If False,
        gradients stay on the device and are copied in `step`.
    max_grad_norm : float, optional
        Limit of the norm of all gradients together.  Gradients are multiplied by ``min(1,
        max_grad_norm / (norm + 1e-6))``, as `torch.nn.utils.clip_grad_norm_` does, which finds no
        gradients if they are offloaded.  `grad_norm` is the norm before clipping.
    bucket_bytes : int, default 64 MiB
        The size in bytes of an allocation on the host, in which small parameters are stored
        together.
    **options
        The other arguments of `optimizer_class`, such as ``lr``.

    Attributes
    ----------
    optim : torch.optim.Optimizer
        The optimizer of the copies on the host.
    param_groups : list of dict
        The groups, with the parameters on the device.  Options are read at each step, so
        schedulers work.

    Raises
    ------
    TypeError
        `optimizer_class` is not a class of optimizers, or is ``LBFGS``; or an option has the wrong
        type.
    ValueError
        An option has a value that is not allowed.  A parameter is a meta tensor, or is sharded by
        FSDP (use ``fully_shard`` with ``CPUOffloadPolicy`` and a class of `fastopt.torch`).  Or the
        gradient of a parameter is already taken in the backward pass, by `step_in_backward` or
        another `CPUOffload`.
    RuntimeError
        A parameter belongs to a ``DistributedDataParallel`` module, which averages gradients
        after they have been offloaded; use ``offload_gradients=False`` there.

    Notes
    -----
    - All copies have ended when `step` returns.  Each step copies each gradient to the host and
      each parameter to the device once.  Parameters without a gradient are not copied.  Frozen
      parameters (``requires_grad=False`` and no gradient) have no copy on the host.
    - If other code has changed a parameter in place, `step` resumes from the new values, as
      `torch.optim` does.  It compares ``p._version``.  Changes through ``p.data`` do not change
      the version: call `resync` after them.
    - ``state_dict()`` has the layout of `torch.optim`, and can be loaded there.  For a 16-bit
      parameter it also has the item "master", the float32 values.  `load_state_dict` uses a master
      if it rounds to the parameter; otherwise it uses the parameter's value.  Therefore load the
      model first, then the optimizer.
    - ``torch.amp.GradScaler`` works with ``offload_gradients=False``.  Otherwise
      ``scaler.step(optimizer)`` raises an error, because it looks for infinities in ``p.grad``.
      bfloat16 needs no scaler.
    - The optimizer can't be pickled or copied: its hooks belong to one model.  Save its
      ``state_dict()``.
    - In addition to the optimizer's state, the host needs 8 bytes per element of a float32
      parameter, and 6 per element of a 16-bit parameter.  It needs 4 bytes more per element if
      gradients are accumulated, or if the parameter has 16 bits and `optimizer_class` is a class
      of `torch.optim`.

    Examples
    --------
    >>> import torch
    >>> from fastopt.torch import AdamW, CPUOffload
    >>> device = "cuda" if torch.cuda.is_available() else "cpu"
    >>> model = torch.nn.Linear(3, 1).to(device)
    >>> opt = CPUOffload(model.parameters(), AdamW, lr=1e-3, max_grad_norm=1.0)
    >>> for _ in range(2):
    ...     model(torch.ones(4, 3, device=device)).square().sum().backward()
    ...     opt.step()
    ...     opt.zero_grad()
    >>> int(opt.state_dict()["state"][0]["step"])
    2
    """

    _takes_gradients = True

    def __init__(
        self,
        params: Any,
        optimizer_class: type[torch.optim.Optimizer],
        *,
        offload_gradients: bool = True,
        max_grad_norm: float | None = None,
        bucket_bytes: int = 2**26,
        **options: Any,
    ) -> None:
        _require_class(optimizer_class)
        self._offload_gradients = flag("offload_gradients", offload_gradients)
        self._bucket_bytes = Whole(low=1)("bucket_bytes", bucket_bytes)
        if max_grad_norm is not None:
            max_grad_norm = positive("max_grad_norm", max_grad_norm)
        self._is_ours = issubclass(optimizer_class, Door)
        if self._is_ours and max_grad_norm is not None:
            options["max_grad_norm"] = max_grad_norm
        self._max_grad_norm = max_grad_norm
        self._grad_norm: Any = None
        self._hosts: dict[Tensor, HostParameter] = {}
        self._placeholders: dict[Tensor, Tensor] = {}
        self._links: dict[torch.device, Link] = {}
        self._handles: list[Any] = []
        self._is_checked = False
        super().__init__(params, {})
        self._prepare(self._params())
        self.optim = optimizer_class([self._host_group(g) for g in self.param_groups], **options)
        self.defaults = self.optim.defaults
        self._read_groups()
        self._read_state()
        self.register_state_dict_post_hook(_with_masters)
        self._hook(self._hosts)

    # Public methods

    @outside_of_graphs
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update all parameters that have a gradient; all copies have ended on return.

        Parameters
        ----------
        closure : callable, optional
            A function that computes the loss, calls ``backward()`` and returns the loss.  It is
            called first, with gradients enabled.

        Returns
        -------
        object
            What the closure returned, or None.

        Raises
        ------
        RuntimeError
            A GradScaler called this method and gradients are offloaded.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        self._refuse_scaler()
        with torch.no_grad():
            self._follow_changes()
            self._write_groups()
            self._write_state()
            self._collect_left()
            updated = self._give_gradients()
            try:
                self._clip()
                self.optim.step()
            finally:
                self._take_back_gradients(updated)
            self._read_state()
            self._upload(updated)
            for p in updated:
                self._hosts[p].drop()
        return loss

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Drop the gradients on the device and on the host.

        Parameters
        ----------
        set_to_none : bool, default True
            With False they become zero instead, as in `torch.optim`.
        """
        super().zero_grad(set_to_none)
        for host in self._hosts.values():
            if set_to_none:
                host.drop()
            else:
                host.zero()

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group of parameters.

        Parameters
        ----------
        param_group : dict
            "params", and options that differ from the defaults.
        """
        super().add_param_group(param_group)
        if not hasattr(self, "optim"):  # called by the constructor
            return
        try:
            added = [p for p in self.param_groups[-1]["params"] if p not in self._hosts]
            self._prepare(added)
            self.optim.add_param_group(self._host_group(self.param_groups[-1]))
        except BaseException:
            self.param_groups.pop()
            raise
        self._hook(p for p in added if p in self._hosts)

    def resync(self) -> None:
        """Resume from the current values of the parameters on their devices.

        It is needed after values have been changed through ``p.data``, or a parameter's ``data``
        has been replaced.  A float32 value that rounds to the parameter's is kept.
        """
        with torch.no_grad():
            for p, host in self._hosts.items():
                _require_same_shape(p, host)
                host.follow(p)

    @property
    def grad_norm(self) -> Any:
        """The norm of all gradients in the last step, before clipping; see `max_grad_norm`."""
        return self.optim.grad_norm if self._is_ours else self._grad_norm  # type: ignore[attr-defined]

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Replace the parameters by their averages in a ``with`` block; see `Door.averaged`.

        Yields
        ------
        None
        """
        with torch.no_grad():
            self._follow_changes()
        try:
            with self.optim.averaged():  # type: ignore[attr-defined]
                self._upload_all()
                yield
        finally:
            self._upload_all()

    def remove(self) -> None:
        """Remove the hooks.  Gradients then stay on the device until `step`."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()

    @outside_of_graphs
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load a state dict of this class, of `fastopt.torch` or of `torch.optim`; see the notes.

        Parameters
        ----------
        state_dict : dict
            Its state goes to the host.

        Raises
        ------
        ValueError
            The groups have other numbers of parameters.
        """
        state_dict = state_dict.copy()
        for before in self._optimizer_load_state_dict_pre_hooks.values():
            state_dict = before(self, state_dict) or state_dict
        states = state_dict["state"]
        plain = {i: _without_master(state) for i, state in states.items()}
        self._write_groups()
        self.optim.load_state_dict({**state_dict, "state": plain})
        self._read_groups()
        self.state = defaultdict(dict)
        self._read_state()
        saved = chain.from_iterable(group["params"] for group in state_dict["param_groups"])
        for i, p in zip(saved, self._params(), strict=True):
            self._load_master(p, states.get(i, {}))
        for after in self._optimizer_load_state_dict_post_hooks.values():
            after(self)

    def __getstate__(self) -> dict[str, Any]:
        raise TypeError(
            "a CPUOffload can't be pickled or copied: its hooks belong to one model; save its "
            "state_dict(), and load it into a CPUOffload of the other model"
        )

    @property
    def _step_supports_amp_scaling(self) -> bool:
        """Whether GradScaler leaves unscaling to `step`, which then raises a clear error."""
        return self._offload_gradients

    # The copies on the host

    def _params(self) -> list[Tensor]:
        return [p for group in self.param_groups for p in group["params"]]

    def _prepare(self, params: Iterable[Tensor]) -> None:
        """Check parameters, and make copies on the host of those on devices that are not frozen."""
        params = list(params)
        for p in params:
            _require_plain(p)
        trained = [p for p in params if p.device.type != "cpu" and not _is_frozen(p)]
        if self._offload_gradients:
            refuse_taken(trained)
            _refuse_late_reduction(trained)
        with torch.no_grad():
            self._hosts |= host_parameters(trained, self._bucket_bytes, self._is_ours)

    def _hook(self, params: Iterable[Tensor]) -> None:
        if self._offload_gradients:
            trained = (p for p in params if p.requires_grad and p.is_leaf)
            self._handles += [take_gradients(p, self._take) for p in trained]

    def _host(self, p: Tensor) -> Tensor:
        """Return the copy of a parameter on the host.

        It is the parameter itself on the CPU, and a placeholder of the same shape if it is frozen.
        """
        if p not in self._hosts and p.device.type == "cpu":
            return p
        if p not in self._hosts and not _is_frozen(p):
            self._prepare([p])
        if p in self._hosts:
            return self._hosts[p].master
        if p not in self._placeholders:
            self._placeholders[p] = torch.zeros(()).expand(p.shape)
        return self._placeholders[p]

    def _host_group(self, group: dict[str, Any]) -> dict[str, Any]:
        """Return a group with the copies on the host, and with the names and options of `group`."""
        hosts: list[Any] = [self._host(p) for p in group["params"]]
        if "param_names" in group:
            hosts = list(zip(group["param_names"], hosts, strict=True))
        others = {k: v for k, v in group.items() if k not in ("params", "param_names")}
        return {"params": hosts, **others}

    # Groups and state.  `self.param_groups` and `self.state` are what a user sees and edits; the
    # optimizer of the copies follows them.

    def _write_groups(self) -> None:
        """Copy the groups, which a user may have edited, to the optimizer of the copies."""
        theirs = self.optim.param_groups
        for i, group in enumerate(self.param_groups):
            hosts = [self._host(p) for p in group["params"]]
            if i == len(theirs):
                theirs.append({"params": hosts})
            elif len(hosts) != len(theirs[i]["params"]) or any(
                a is not b for a, b in zip(hosts, theirs[i]["params"], strict=True)
            ):
                theirs[i]["params"] = hosts
            theirs[i].update((k, v) for k, v in group.items() if k != "params")
        del theirs[len(self.param_groups) :]

    def _read_groups(self) -> None:
        """Copy the options of the optimizer of the copies to the groups."""
        self.param_groups = [
            {**theirs, "params": group["params"]}
            for group, theirs in zip(self.param_groups, self.optim.param_groups, strict=True)
        ]

    def _write_state(self) -> None:
        """Copy the state, which a user may have replaced, to the optimizer of the copies."""
        for p in self._params():
            if p in self.state:
                self.optim.state[self._host(p)] = self.state[p]

    def _read_state(self) -> None:
        """Store the state of the optimizer of the copies under the parameters on the device."""
        for p in self._params():
            host = self._host(p)
            if host in self.optim.state:
                self.state[p] = self.optim.state[host]

    def _load_master(self, p: Tensor, state: Any) -> None:
        host = self._hosts.get(p)
        if host is None:
            return
        master = state.get("master") if isinstance(state, dict) else None
        with torch.no_grad():
            if isinstance(master, Tensor) and master.shape == p.shape:
                host.master.copy_(master)
            host.follow(p)

    # The parts of a step

    def _refuse_scaler(self) -> None:
        if self._offload_gradients and getattr(self, "found_inf", None) is not None:
            raise RuntimeError(
                "GradScaler looks for infinities in p.grad, but offload_gradients=True has moved "
                "the gradients to the host; use offload_gradients=False, or bfloat16, which needs "
                "no scaler"
            )

    def _link(self, device: torch.device) -> Link:
        if device not in self._links:
            self._links[device] = Link(device)
        return self._links[device]

    def _take(self, p: Tensor) -> None:
        """Start to copy a complete gradient to the host, and free it on the device."""
        if not self._is_checked:
            _refuse_late_reduction([p])
            self._is_checked = True
        if p.grad is not None:
            with torch.no_grad():
                self._hosts[p].take(p.grad.detach(), self._link(p.device))
            p.grad = None

    def _follow_changes(self) -> None:
        """Resume from values that other code has written to the parameters since the last step."""
        for p, host in self._hosts.items():
            _require_same_shape(p, host)
            if p._version != host.version:
                host.follow(p)

    def _collect_left(self) -> None:
        """Start to copy the gradients that are on a device."""
        for p, host in self._hosts.items():
            if p.grad is not None:
                host.take(p.grad.detach(), self._link(p.device))
                if self._offload_gradients:
                    p.grad = None

    def _give_gradients(self) -> list[Tensor]:
        """Set ``grad`` of the copies on the host; return the parameters that have a gradient."""
        for p in self._params():
            if p in self._hosts:
                self._hosts[p].master.grad = self._hosts[p].gradient()
        return [p for p in self._params() if p in self._hosts and self._host(p).grad is not None]

    def _take_back_gradients(self, updated: list[Tensor]) -> None:
        """Remove ``grad`` of the copies.

        Without `offload_gradients`, drop these gradients: the next step copies those on the device.
        """
        for p in updated:
            self._hosts[p].master.grad = None
            if not self._offload_gradients:
                self._hosts[p].drop()

    def _clip(self) -> None:
        if self._max_grad_norm is not None and not self._is_ours:
            hosts = [self._host(p) for p in self._params()]
            self._grad_norm = torch.nn.utils.clip_grad_norm_(hosts, self._max_grad_norm)

    def _upload(self, params: Iterable[Tensor]) -> None:
        """Send new values to the devices; each is rounded while previous ones are copied."""
        for p in params:
            self._hosts[p].send(p, self._link(p.device))
        for link in self._links.values():
            link.wait()

    def _upload_all(self) -> None:
        with torch.no_grad():
            self._upload(self._hosts)


def _require_class(cls: Any) -> None:
    if not (isinstance(cls, type) and issubclass(cls, torch.optim.Optimizer)):
        raise TypeError(
            f"optimizer_class is {cls!r}; a class of fastopt.torch or torch.optim is needed"
        )
    if issubclass(cls, (torch.optim.LBFGS, CPUOffload)):
        raise TypeError(
            f"optimizer_class is {cls.__name__}, which can't update the host's copies from "
            "gradients alone; allowed: the other classes of fastopt.torch and torch.optim"
        )


def _require_plain(p: Tensor) -> None:
    if p.device.type == "meta":
        raise ValueError(
            f"a parameter of shape {tuple(p.shape)} is a meta tensor, which has no values; "
            "materialize the model first"
        )
    if is_dtensor(p) or getattr(p, "_fsdp_flattened", False):
        raise ValueError(
            f"a parameter of shape {tuple(p.shape)} is sharded over processes; use fully_shard "
            "with CPUOffloadPolicy() and a class of fastopt.torch"
        )


def _refuse_late_reduction(params: Iterable[Tensor]) -> None:
    instead = dict.fromkeys(INSTEAD, "offload_gradients=False")
    refuse_late_reduction(params, "after they have been offloaded", instead)


def _is_frozen(p: Tensor) -> bool:
    return not p.requires_grad and p.grad is None


def _require_same_shape(p: Tensor, host: HostParameter) -> None:
    if p.shape != host.master.shape:
        raise ValueError(
            f"a parameter's shape was {tuple(host.master.shape)} and is now {tuple(p.shape)}; "
            "create a new optimizer"
        )


def _without_master(state: Any) -> Any:
    if not isinstance(state, dict):
        return state
    return {key: value for key, value in state.items() if key != "master"}


def _with_masters(opt: Any, state_dict: dict[str, Any]) -> None:
    """Add the float32 values of 16-bit parameters to a state dict."""
    states = state_dict["state"]
    for i, p in enumerate(opt._params()):
        host = opt._hosts.get(p)
        if host is not None and i in states and host.master.dtype != p.dtype:
            states[i] = {**states[i], "master": host.master}
