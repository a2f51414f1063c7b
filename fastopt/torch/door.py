"""Door: what every optimizer of fastopt.torch adds to its class of torch.optim."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim import optimizer as torch_optimizer

from fastopt._errors import FastoptError
from fastopt.optimizers.base.rule import Rule
from fastopt.torch import distributed, options, state
from fastopt.torch._plan import TensorPlan

GLOBAL_PRE = torch_optimizer._global_optimizer_pre_hooks
GLOBAL_POST = torch_optimizer._global_optimizer_post_hooks
is_compiling = torch.compiler.is_compiling
profiler_is_enabled: Callable[[], bool] = torch.autograd._profiler_enabled  # type: ignore[attr-defined]
outside_of_graphs: Callable[[Any], Any] = torch._disable_dynamo  # type: ignore[attr-defined]
scalar_dtype: Callable[[], torch.dtype] = torch_optimizer._get_scalar_dtype


class Door(Optimizer):
    """An optimizer of torch.optim whose step is one call of C for all parameters.

    Every optimizer of fastopt.torch is a `Door` and extends the class of torch.optim that has its
    name.  ``param_groups`` and ``state`` are PyTorch's and are read anew at each step.

    Parameters
    ----------
    *args, **kwargs
        The arguments of the class of torch.optim.  ``foreach`` and ``fused`` have no effect; with
        ``capturable`` or ``differentiable`` PyTorch's own step is taken.
    max_grad_norm
        The total norm of the gradients of all groups is limited to it in the same pass, as by
        `torch.nn.utils.clip_grad_norm_`, also over the shards of DTensors.  Default None.
    max_grad_value
        Elements of gradients are limited to plus or minus it.  Default None.
    on_nonfinite
        If a gradient is NaN or infinite: "propagate" (default; as in PyTorch), "raise" an error
        before anything has changed, or "skip" the step.
    zero_grads
        Whether the step sets dense gradients to 0.  Default False.
    ema_decay, ema_warmup
        Keep ``state[p]["ema"]``, an exponential moving average of each parameter; see `averaged`.
        With ``ema_warmup`` the decay of step t is at most (1 + t)/(10 + t).  Default None, False.
    state_dtype
        The dtype of state.  None (default): float32 for parameters of 16 or 32 bits, float64 for
        float64.  "param": the parameter's, as in PyTorch.  "float32" and "bfloat16": the same for
        all parameters, which must not be float64.  State of 16 bits is rounded stochastically.
    master
        "float32": keep ``state[p]["master"]``, a float32 copy of each parameter of 16 bits, which
        is updated in its place and rounded to it.  Default None.
    rounding
        How parameters of 16 bits are rounded: "nearest" (default) or "stochastic", which keeps
        updates that are smaller than half a unit in the last place.
    seed
        Of the random bits of stochastic rounding.  Default 0.
    n_threads
        Default: FASTOPT_NUM_THREADS if it is set, else `torch.get_num_threads()` at each step.
    weight_decay_mask
        A function of a parameter's name that returns whether weight decay applies; needs
        ``model.named_parameters()``.  Default None: to all.

    Raises
    ------
    ValueError, RuntimeError
        As in torch.optim.
    FastoptError, TypeError
        An option is outside its range or of the wrong type.

    Notes
    -----
    State of 16-bit parameters is float32, which is twice the memory of PyTorch's.  The order of
    the sum of squares in ``max_grad_norm`` depends on shapes and strides alone.

    Examples
    --------
    >>> import torch, fastopt.torch
    >>> w = torch.zeros(2, requires_grad=True)
    >>> opt = fastopt.torch.Adam([w], lr=0.1, max_grad_norm=1.0)
    >>> w.grad = torch.tensor([30.0, -0.1])
    >>> opt.step()
    >>> w.detach().numpy().round(3), round(opt.grad_norm, 3)
    (array([-0.1,  0.1], dtype=float32), 30.0)
    """

    _rule: type[Rule]  # the facts of the update rule
    _fixed: Mapping[str, Any] = {}  # options of the rule that torch's class has no argument for
    _keys: tuple[str, ...] = ()  # the order of a state's items in torch
    _sparse = "refused"  # sparse gradients: "refused", "allowed" or "only"
    _sparse_error: str

    _step_supports_amp_scaling = True  # torch.amp.GradScaler passes grad_scale and found_inf

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        cls.__signature__ = options.signature_of(cls, __package__)  # type: ignore[attr-defined]
        if not hasattr(cls, "_sparse_error"):
            cls._sparse_error = (
                f"{options.torch_class(cls).__name__} does not support sparse gradients"
            )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._options, others = options.split(kwargs)
        self._plan: TensorPlan | None = None
        self._block = ""  # the name of the current block that has replaced the parameters
        super().__init__(*args, **others)

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update every parameter that has a gradient.

        Parameters
        ----------
        closure
            A function that evaluates the model anew, calls ``backward`` and returns the loss.

        Returns
        -------
        The loss that `closure` returned, or None.

        Raises
        ------
        FastoptError
            A parameter or gradient cannot be updated, or two share memory.  Nothing has changed.
        """
        if is_compiling():
            return self._outside_of_graph(closure)
        for group in self.param_groups:
            if group.get("capturable") or group.get("differentiable"):
                return self._torch_step(closure)
        if (
            self._optimizer_step_pre_hooks
            or self._optimizer_step_post_hooks
            or GLOBAL_PRE
            or GLOBAL_POST
            or profiler_is_enabled()
        ):
            return self._step_with_hooks(*([] if closure is None else [closure]))
        return self._step(closure)

    step.hooked = True  # type: ignore[attr-defined]  # torch would wrap it, which costs 13 us a call

    def _step(self, closure: Callable[[], Any] | None = None) -> Any:
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        if self._block:
            raise FastoptError(f"step() inside {self._block}; leave the block first")
        plan = self._plan
        if plan is None or not plan.step(self):
            self._plan = plan = self._new_plan()
            if not plan.step(self):
                raise FastoptError("the parameters changed while the step read them")
        return loss

    def _step_alone(self, p: Tensor) -> None:
        """Take a step of one parameter; the others, and their state, stay as they are."""
        if self._plan is None or not self._plan.step_alone(self, p):
            self._plan = self._new_plan()
            if not self._plan.step_alone(self, p):
                raise FastoptError("the parameter does not belong to the optimizer")

    @outside_of_graphs
    def _new_plan(self) -> TensorPlan:
        with torch.no_grad():
            state.require_masters(self)
            if options.needs_all_gradients(self._options):
                distributed.require_all_gradients(self.param_groups)
            plan = TensorPlan(self)
            distributed.warn_if_one_thread(plan.n_elements, self._options["n_threads"] or None)
            return plan

    _step_with_hooks = Optimizer.profile_hook_step(_step)
    _outside_of_graph = outside_of_graphs(step)

    def _torch_step(self, closure: Callable[[], Any] | None) -> Any:
        """Take torch's own step, which supports capturable=True and differentiable=True."""
        options.require_defaults(self._options)
        step = options.torch_class(type(self)).step
        if not getattr(step, "hooked", False):
            step = Optimizer.profile_hook_step(step)
        return step(self) if closure is None else step(self, closure)

    def _decays(self, group: Mapping[str, Any], place: int) -> bool:
        """Return whether weight_decay applies to the parameter at a place in a group."""
        mask = self._options["weight_decay_mask"]
        if mask is None:
            return True
        if "param_names" not in group:
            raise FastoptError(
                "weight_decay_mask needs the names of the parameters; give the optimizer "
                "model.named_parameters()"
            )
        names = group["param_names"]
        if len(names) != len(group["params"]):
            raise FastoptError(
                "weight_decay_mask needs a name for each parameter; a group has "
                f"{len(names)} names and {len(group['params'])} parameters"
            )
        return bool(mask(names[place]))

    @staticmethod  # a plan keeps it, and must not keep the optimizer
    def _first_step() -> Any:
        """Return the initial value of state["step"]."""
        return torch.tensor(0.0, dtype=scalar_dtype())

    @property
    def grad_norm(self) -> float:
        """The norm of the last step's gradients before clipping; NaN if it was not computed.

        It is computed for ``max_grad_norm``, and if ``on_nonfinite`` is not "propagate".
        """
        return float("nan") if self._plan is None else self._plan.grad_norm

    # Averages and masters

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Replace the parameters by their averages in a `with` block.

        On exit they are restored bit for bit.

        Yields
        ------
        None

        Raises
        ------
        FastoptError
            The optimizer was made without ``ema_decay``, or the block is in use already.
        """
        if self._options["ema_decay"] is None:
            raise FastoptError("there is no average; make the optimizer with ema_decay=0.999, say")
        if self._block:
            raise FastoptError(f"{self._block} is already in use")
        with torch.no_grad():
            known = [p for p in self._parameters() if "ema" in self.state.get(p, {})]
            before = [p.detach().clone() for p in known]
            self._block = "averaged()"
            try:
                for p in known:
                    p.copy_(self.state[p]["ema"])
                yield
            finally:
                self._block = ""
                for p, value in zip(known, before, strict=True):
                    p.copy_(value)

    @torch.no_grad()
    def sync_master(self) -> None:
        """Copy the parameters into their float32 masters; call it after writing to parameters."""
        for p in self._parameters():
            if "master" in self.state.get(p, {}):
                self.state[p]["master"].copy_(p)

    def _parameters(self) -> Iterator[Tensor]:
        return (p for group in self.param_groups for p in group["params"])

    # Saving, loading and copying

    def load_state_dict(self, state_dict: Any) -> None:
        """Load the result of `state_dict`, of this class or of torch's.

        State keeps the dtype of this optimizer's state, such as float32 for bfloat16 parameters;
        PyTorch would cast it to the parameter's.  Tensors are copied.

        Parameters
        ----------
        state_dict : dict
        """
        handle = self.register_load_state_dict_pre_hook(state.protected)
        try:
            super().load_state_dict(state_dict)
        finally:
            handle.remove()

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_options": self._options}

    def __setstate__(self, pickled: dict[str, Any]) -> None:
        self._plan = None
        self._block = self.__dict__.get("_block", "")  # a block goes on after loading
        super().__setstate__(state.unprotected(pickled))
