"""An optimizer on the host for parameters on a device: `CPUOffload`."""

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
from fastopt.torch.backward import late_reducer, refuse_taken, take_gradients
from fastopt.torch.distributed import is_dtensor
from fastopt.torch.door import Door, outside_of_graphs
from fastopt.torch.transfers import HostParameter, Link, host_parameters


class CPUOffload(torch.optim.Optimizer):
    """An optimizer whose state and updates are on the host, for parameters on any device.

    The device holds parameters, activations and the gradients in use.  The host holds a copy of
    each parameter, in float32 where it has 16 bits, the gradients, and the optimizer's state.  A
    step updates the host's copy and sends the new values to the device.

    Asynchronous copies, pinned memory and side streams are used on CUDA and XPU devices.  This
    part has not been run on a GPU yet.

    Parameters
    ----------
    params : iterable
        Parameters, pairs of a name and a parameter, or dicts of groups, as for `torch.optim`.
        Parameters on the CPU are updated in place, without copies.
    optimizer_class : type
        A class of `fastopt.torch`, or of `torch.optim`.
    offload_gradients : bool, default True
        Copy each gradient to the host as soon as it is complete, while the backward pass goes on,
        and free it on the device.  Gradients of further backward passes are added on the host, in
        float32.  ``p.grad`` is then None after ``backward()``, and `step` consumes the gradients,
        as if ``zero_grad()`` had followed.  With False gradients stay on the device, and are
        copied in `step`.
    max_grad_norm : float, optional
        Clip the norm of all gradients together to this value, as
        `torch.nn.utils.clip_grad_norm_`, which sees no gradient if they are offloaded.
        `grad_norm` is the norm before clipping.
    bucket_bytes : int, default 64 MiB
        The size of the host's allocations, which small parameters share.
    **options
        For `optimizer_class`: the learning rate, and the others.

    Attributes
    ----------
    optim : torch.optim.Optimizer
        The optimizer of the host's copies.
    param_groups : list of dict
        The groups, with the device's parameters.  Options are read at each step, so schedulers
        work.

    Raises
    ------
    TypeError
        `optimizer_class` is not a class of optimizers, or is ``LBFGS``; or an option has a wrong
        type.
    ValueError
        An option has a value that is not allowed; a parameter is a meta tensor, or is sharded
        by FSDP (use ``fully_shard`` with ``CPUOffloadPolicy``, and a class of `fastopt.torch`); or
        the gradients of a parameter are already taken in the backward pass, by `step_in_backward`
        or `CPUOffload`.
    RuntimeError
        A parameter belongs to a ``DistributedDataParallel`` module, which averages gradients
        after they have been offloaded; use ``offload_gradients=False`` there.

    Notes
    -----
    - All copies have ended when `step` returns.  Each step moves every gradient down and every
      parameter up once; parameters without a gradient are not sent, frozen ones have no copy.
    - After an update of parameters by other code, `step` notices their new ``_version`` and
      resumes from the new values, as `torch.optim` does.  Changes through ``p.data`` have no
      version: call `resync` after them.
    - ``state_dict()`` has the layout of `torch.optim`, and can be loaded there.  For 16-bit
      parameters it also has "master", the float32 values.  In `load_state_dict` a master counts if
      it rounds to the parameter; otherwise the parameter's value is used.  So load the model
      first, then the optimizer.
    - ``torch.amp.GradScaler`` works with ``offload_gradients=False``.  Otherwise its ``step`` is
      refused: it looks for infinities in ``p.grad``.  bfloat16 needs no scaler.
    - The optimizer can't be pickled or copied: its hooks belong to one model.  Save its
      ``state_dict()``.
    - Besides the optimizer's state, the host needs 8 bytes for each value of a float32 parameter
      and 6 for each of a 16-bit parameter; 4 more if gradients are accumulated, or if
      `optimizer_class` is of `torch.optim` and the parameter has 16 bits.

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
            Called first, with gradients enabled; it computes the loss and calls ``backward()``.

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
        """Resume from the values that the parameters have now on their devices.

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
        """Remove the hooks: gradients then stay on the device until `step`."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()

    @outside_of_graphs
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load a state dict of this class, `fastopt.torch` or `torch.optim`; see the notes.

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
        """Whether a GradScaler calls `step` itself, which refuses it by name."""
        return self._offload_gradients

    # The host's parameters

    def _params(self) -> list[Tensor]:
        return [p for group in self.param_groups for p in group["params"]]

    def _prepare(self, params: Iterable[Tensor]) -> None:
        """Check parameters, and give those of devices that are not frozen a copy on the host."""
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
        """Return the host's copy of a parameter: itself on the CPU, its shape alone if frozen."""
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
        """Return a group of the host's copies, with the names and options of a group."""
        hosts: list[Any] = [self._host(p) for p in group["params"]]
        if "param_names" in group:
            hosts = list(zip(group["param_names"], hosts, strict=True))
        others = {k: v for k, v in group.items() if k not in ("params", "param_names")}
        return {"params": hosts, **others}

    # Groups and state: those with the device's parameters are the truth

    def _write_groups(self) -> None:
        """Give the host's optimizer the groups as they are now."""
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
        """Take the options of the host's optimizer."""
        self.param_groups = [
            {**theirs, "params": group["params"]}
            for group, theirs in zip(self.param_groups, self.optim.param_groups, strict=True)
        ]

    def _write_state(self) -> None:
        """Give the host's optimizer the state that a user has replaced."""
        for p in self._params():
            if p in self.state:
                self.optim.state[self._host(p)] = self.state[p]

    def _read_state(self) -> None:
        """Show the state of the host's optimizer under the device's parameters."""
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
        """Begin to copy a complete gradient to the host, and free it on the device."""
        if not self._is_checked:
            _refuse_late_reduction([p])
            self._is_checked = True
        if p.grad is not None:
            with torch.no_grad():
                self._hosts[p].take(p.grad.detach(), self._link(p.device))
            p.grad = None

    def _follow_changes(self) -> None:
        """Resume from values that other code has written since the last step."""
        for p, host in self._hosts.items():
            _require_same_shape(p, host)
            if p._version != host.version:
                host.follow(p)

    def _collect_left(self) -> None:
        """Copy the gradients that are on a device, without waiting."""
        for p, host in self._hosts.items():
            if p.grad is not None:
                host.take(p.grad.detach(), self._link(p.device))
                if self._offload_gradients:
                    p.grad = None

    def _give_gradients(self) -> list[Tensor]:
        """Attach the gradients to the host's copies; return the parameters that have one."""
        for p in self._params():
            if p in self._hosts:
                self._hosts[p].master.grad = self._hosts[p].gradient()
        return [p for p in self._params() if p in self._hosts and self._host(p).grad is not None]

    def _take_back_gradients(self, updated: list[Tensor]) -> None:
        """Detach them; those that are still on the device are not kept here for a second try."""
        for p in updated:
            self._hosts[p].master.grad = None
            if not self._offload_gradients:
                self._hosts[p].drop()

    def _clip(self) -> None:
        if self._max_grad_norm is not None and not self._is_ours:
            hosts = [self._host(p) for p in self._params()]
            self._grad_norm = torch.nn.utils.clip_grad_norm_(hosts, self._max_grad_norm)

    def _upload(self, params: Iterable[Tensor]) -> None:
        """Send new values to the devices; one is rounded while those before it are copied."""
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
    name = late_reducer(params)
    if name is not None:
        raise RuntimeError(
            f"a parameter belongs to a {name} module, which averages gradients over the processes "
            "after they have been offloaded; use offload_gradients=False"
        )


def _is_frozen(p: Tensor) -> bool:
    return not p.requires_grad and p.grad is None


def _require_same_shape(p: Tensor, host: HostParameter) -> None:
    if p.shape != host.master.shape:
        raise ValueError(
            f"a parameter's shape was {tuple(host.master.shape)} and is now {tuple(p.shape)}; "
            "create the optimizer anew"
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
