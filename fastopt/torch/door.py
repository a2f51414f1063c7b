"""Door: the base class of the optimizers of fastopt.torch."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim import optimizer as torch_optimizer

from fastopt._checks import at_least_0
from fastopt._errors import FastoptError
from fastopt.optimizers.base.points.averages import added_by
from fastopt.optimizers.base.rule import Rule
from fastopt.optimizers.base.state import float8
from fastopt.torch import distributed, options, state, tensors
from fastopt.torch._plan import TensorPlan

GLOBAL_PRE = torch_optimizer._global_optimizer_pre_hooks
GLOBAL_POST = torch_optimizer._global_optimizer_post_hooks
is_compiling = torch.compiler.is_compiling
profiler_is_enabled: Callable[[], bool] = torch.autograd._profiler_enabled  # type: ignore[attr-defined]
outside_of_graphs: Callable[[Any], Any] = torch._disable_dynamo  # type: ignore[attr-defined]
scalar_dtype: Callable[[], torch.dtype] = torch_optimizer._get_scalar_dtype


def exclude_from_graphs(function: Any) -> None:
    """Make torch.compile run a function, and every function that it calls, without tracing it.

    The decorator `torch.compiler.disable` does the same, but adds to the time of each call outside
    of torch.compile.
    """
    try:
        from torch._C._dynamo import eval_frame

        skip = eval_frame._FrameAction.SKIP
        strategy = eval_frame._FrameExecStrategy(skip, skip)
        eval_frame.set_code_exec_strategy(function.__code__, strategy)
    except (ImportError, AttributeError):  # this torch has no such setting, and traces what it can
        pass


class Door(Optimizer):
    """Base class of the optimizers: one call of C updates all parameters in a step.

    Each class of `fastopt.torch` extends `Door`.  If `torch.optim` has a class with the same name,
    it also extends that class.  ``param_groups`` and ``state`` are PyTorch's.  They are read again
    at each step, so they may be changed between steps.

    Parameters
    ----------
    *args, **kwargs
        The arguments of the class of `torch.optim`.  ``foreach`` and ``fused`` have no effect.
        With ``capturable`` or ``differentiable``, `step` calls PyTorch's own step.  A class that
        `torch.optim` lacks has the arguments of the class of `fastopt` with the same name, and none
        of these four.
    max_grad_norm : float, optional
        Limit of the norm of all gradients together, over all groups and over the shards of
        DTensors.  The gradients are multiplied by ``min(1, max_grad_norm / (norm + 1e-6))``, as
        `torch.nn.utils.clip_grad_norm_` does, but ``p.grad`` is not changed.  Default None: no
        clipping.
    max_grad_value : float, optional
        Each element of a gradient is clipped to [-max_grad_value, max_grad_value].  Default None.
    on_nonfinite : {"propagate", "raise", "skip"}
        What happens if a gradient contains NaN or infinity.  "propagate" (default): nothing
        special, as in PyTorch.  "raise": `step` raises FastoptError and changes nothing.  "skip":
        `step` changes nothing and returns.
    zero_grads : bool
        Whether `step` sets dense gradients to 0 after it has used them, also if the step is
        skipped.  Default False.
    ema_decay : float, optional
        The decay of an exponential moving average of each parameter over the steps, which is
        stored in ``state[p]["ema"]``; see `averaged`.  Default None: no average.
    ema_warmup : bool
        Whether the decay at step t = 1, 2, ... is ``min(ema_decay, (1 + t) / (10 + t))``.  Default
        False.
    lookahead_steps, lookahead_alpha : int, optional; float
        Lookahead (Zhang et al. 2019) around the rule: at every ``lookahead_steps``-th step of a
        parameter, ``slow += lookahead_alpha * (p - slow)`` and then ``p = slow``, where ``slow`` is
        ``state[p]["slow"]``, which starts at the parameter.  Default None (no Lookahead) and 0.5.
    state_dtype : {None, "param", "float32", "bfloat16", "float8"}
        The dtype of the optimizer's state.  None (default): float64 for float64 parameters,
        float32 for all others.  "param": the dtype of the parameter, as in PyTorch.  "float32" and
        "bfloat16": this dtype for all parameters, which must not be float64 (nor complex, for
        "bfloat16").  State of 16 bits is rounded stochastically.  "float8": as in
        `fastopt.Optimizer`, for Adam, AdamW, Lion, SGD with momentum and Adagrad;
        ``state[p]["exp_avg"]`` is then torch.uint8, with scales in ``state[p]["exp_avg_scale"]``.
        `float32_state` returns the values.  A loaded state of another dtype is converted at the
        next step.
    float8_mask : callable, optional
        A function that takes the name of a parameter and returns whether its state has 8 bits.  The
        optimizer must be given ``model.named_parameters()``.  Default None: that of all parameters
        with at least 4096 elements.
    master : {None, "float32"}
        "float32": each 16-bit parameter has a float32 copy in ``state[p]["master"]``.  A step
        updates the copy and rounds it to the parameter; see `sync_master`.  Default None.
    rounding : {"nearest", "stochastic"}
        How 16-bit parameters are rounded.  With "stochastic", updates that are smaller than half a
        unit in the last place have their effect on average.  Default "nearest".
    seed : int
        The seed of stochastic rounding.  Default 0.
    n_threads : int, optional
        The largest number of threads of a step.  Default: the environment variable
        FASTOPT_NUM_THREADS if it is set, else `torch.get_num_threads()` at each step.
    weight_decay_mask : callable, optional
        A function that takes the name of a parameter and returns whether weight decay applies to
        it.  The optimizer must be given ``model.named_parameters()``.  Default None: weight decay
        applies to all parameters.
    l1 : float
        After the update of the rule, each element is moved towards 0 by ``lr * l1``, and becomes 0
        if it is not farther from 0 than that.  Default 0.
    bounds : tuple of float, optional
        A pair (low, high), in which None means no bound: after the update and ``l1``, each element
        is clipped to [low, high].  Slow weights (``lookahead_steps``) are clipped, too.  Default
        None.

    Raises
    ------
    ValueError, RuntimeError
        As in the class of `torch.optim`.
    FastoptError, TypeError
        An option is outside its range or of the wrong type.

    Notes
    -----
    ``l1`` and ``bounds`` may also be items of a group, which take precedence.  An item
    ``decoupled_weight_decay`` of a group, or the argument where a class has it, may be
    ``"proximal"``: after the update of the rule, w <- w / (1 + lr * weight_decay).

    The state of a 16-bit parameter is float32 by default, which takes twice the memory of PyTorch's
    state.

    Equal inputs give equal bits with any number of threads.  The order in which ``max_grad_norm``
    adds up squares depends only on shapes and strides.

    A function that is given to `torch.compile` may call `step`.  The graph breaks there.

    Idle OpenMP threads wait in a loop for about 10 ms, PyTorch's own, too, if PyTorch is imported
    before fastopt.  If other programs use the same CPUs, set the environment variable
    GOMP_SPINCOUNT to 1000 before Python starts: steps and PyTorch's operations are then faster.

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

    _rule: type[Rule]  # the class of fastopt with the same update rule
    _fixed: Mapping[str, Any] = {}  # values of the rule's options that torch's class lacks
    _keys: tuple[str, ...] = ()  # the keys of a parameter's state, in torch's order
    _counts_steps = True  # whether torch's class has "step" in the state of a parameter
    # Sparse gradients: "refused"; "allowed"; "without momentum": dense with momentum; "rows": only
    # those with one sparse dimension; "only": as "rows", and dense gradients are refused.
    _sparse = "refused"
    _sparse_error: str

    _step_supports_amp_scaling = True  # torch.amp.GradScaler passes grad_scale and found_inf

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if not hasattr(cls, "_rule"):  # a base class
            return
        cls.__signature__ = options.signature_of(cls, __package__)  # type: ignore[attr-defined]
        if not hasattr(cls, "_sparse_error"):
            cls._sparse_error = f"{cls._rule.__name__} does not support sparse gradients"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._options, others = options.split(kwargs)
        self._plan: TensorPlan | None = None
        self._block = ""  # the `with` block that has replaced the parameters, or ""
        super().__init__(*args, **others)

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update every parameter that has a gradient.

        Parameters
        ----------
        closure : callable, optional
            A function that evaluates the model again, calls ``backward`` and returns the loss.  It
            is called before the update, with gradients enabled.

        Returns
        -------
        The loss that `closure` returned, or None.

        Raises
        ------
        FastoptError, TypeError, RuntimeError
            A parameter, gradient or state cannot be used, or tensors that the step writes share
            memory.  No parameter or state has changed then.
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
    exclude_from_graphs(step)

    def _step(self, closure: Callable[[], Any] | None = None) -> Any:
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        self._require_not_averaged()
        plan = self._plan
        if plan is None or not plan.step(self):
            self._plan = plan = self._new_plan()
            if not plan.step(self):
                raise FastoptError("the parameters changed while the step read them")
        return loss

    def _step_one(self, p: Tensor) -> None:
        """Update the parameter `p` only; the others, and their state, are unchanged."""
        self._require_not_averaged()
        if self._plan is None or not self._plan.step_one(self, p):
            self._plan = self._new_plan()
            if not self._plan.step_one(self, p):
                raise FastoptError("the parameter does not belong to the optimizer")

    exclude_from_graphs(_step_one)

    def _require_not_averaged(self) -> None:
        """Raise an error if the parameters are replaced by their averages."""
        if self._block:
            raise FastoptError(f"step() inside {self._block}; leave the block first")

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
        """Call PyTorch's own step, which supports capturable=True and differentiable=True."""
        options.require_defaults(self._options, self.param_groups)
        step = options.torch_class(type(self)).step
        if not getattr(step, "hooked", False):
            step = Optimizer.profile_hook_step(step)
        return step(self) if closure is None else step(self, closure)

    @classmethod
    def _arguments(cls) -> inspect.Signature:
        """Return the arguments of the class, without the keywords that fastopt adds."""
        return inspect.signature(options.torch_class(cls))

    def _options_of(self, group: Mapping[str, Any]) -> dict[str, Any]:
        """Return the values of the rule's options in a group."""
        return options.of_torch(self, group)

    def _decays(self, group: Mapping[str, Any], index: int) -> bool:
        """Return whether weight decay applies to the parameter with this index in a group."""
        return self._is_chosen("weight_decay_mask", group, index)

    def _has_float8(self, group: Mapping[str, Any], index: int) -> bool:
        """Return whether the parameter with this index in a group has state of 8 bits."""
        p = group["params"][index]
        return (
            self._options["state_dtype"] == "float8"
            and tensors.is_readable(p)
            and p.numel() >= float8.LEAST
            and self._is_chosen("float8_mask", group, index)
        )

    def _is_chosen(self, name: str, group: Mapping[str, Any], index: int) -> bool:
        """Return whether a mask is true for the parameter with this index in a group."""
        mask = self._options[name]
        if mask is None:
            return True
        if "param_names" not in group:
            raise FastoptError(
                f"{name} needs the names of the parameters; give the optimizer "
                "model.named_parameters()"
            )
        names = group["param_names"]
        if len(names) != len(group["params"]):
            raise FastoptError(
                f"{name} needs a name for each parameter; a group has "
                f"{len(names)} names and {len(group['params'])} parameters"
            )
        return bool(mask(names[index]))

    @staticmethod  # static: a plan keeps a reference to it, but must not keep the optimizer alive
    def _first_step() -> Any:
        """Return the initial value of state["step"]."""
        return torch.tensor(0.0, dtype=scalar_dtype())

    @property
    def grad_norm(self) -> float:
        """The norm of all gradients in the last step, before clipping; NaN if it was not computed.

        It is computed if ``max_grad_norm`` is set, or if ``on_nonfinite`` is not "propagate".
        """
        return float("nan") if self._plan is None else self._plan.grad_norm

    # Averages and masters

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Replace the parameters by their averages in a ``with`` block.

        At the end of the block, the parameters have their former values again, bit for bit.  A step
        inside the block is an error.

        Yields
        ------
        None

        Raises
        ------
        FastoptError
            The optimizer has neither ``ema_decay`` nor ``lookahead_steps``, and its rule has no
            average; or it is already in such a block.
        """
        if self._block:
            raise FastoptError(f"{self._block} is already in use")
        with torch.no_grad():
            averages = self._averages()
            before = [p.detach().clone() for p, _, _ in averages]
            self._block = "averaged()"
            try:
                for p, name, weight in averages:
                    p.copy_(state.between(p, self.state[p], name, weight))
                yield
            finally:
                self._block = ""
                for (p, _, _), value in zip(averages, before, strict=True):
                    p.copy_(value)

    def _averages(self) -> list[tuple[Tensor, str, float]]:
        """Return (parameter, state, weight): the average is p + weight * (state - p)."""
        added = added_by(self._options)
        averages = [
            self._rule._average(self._options_of(group)) or (added and (added, 1.0))
            for group in self.param_groups
        ]
        if not any(averages):
            raise FastoptError("ema_decay is None; averaged() needs it, as in ema_decay=0.999")
        return [
            (p, *average)
            for group, average in zip(self.param_groups, averages, strict=True)
            if average
            for p in group["params"]
            if average[0] in self.state.get(p, {})
        ]

    @contextmanager
    def perturbed(self, rho: float) -> Iterator[None]:
        """Move the parameters uphill to p + rho * p.grad / norm in a ``with`` block.

        The norm is that of all gradients together, over all groups and over the shards of DTensors.
        This is where sharpness-aware minimization takes its gradients (Foret et al. 2021)::

            loss_of(model).backward()
            with opt.perturbed(0.05):
                opt.zero_grad()
                loss_of(model).backward()
            opt.step()

        At the end of the block, the parameters have their former values again, bit for bit; their
        gradients are those of the block.  A step inside the block is an error.

        Parameters
        ----------
        rho : float
            The distance, >= 0.

        Yields
        ------
        None

        Raises
        ------
        FastoptError, TypeError
            ``rho`` is negative or not a number, a gradient is sparse, or the call is inside a block
            of this optimizer.

        Notes
        -----
        With ``maximize``, the point is downhill.  A parameter without a gradient does not move, and
        none moves if all gradients are 0.

        Examples
        --------
        >>> import torch, fastopt.torch
        >>> w = torch.tensor([3.0, -4.0], requires_grad=True)
        >>> opt = fastopt.torch.SGD([w], lr=0.5)
        >>> w.pow(2).sum().backward()
        >>> with opt.perturbed(1.0):
        ...     opt.zero_grad()
        ...     w.pow(2).sum().backward()
        >>> opt.step()
        >>> w.detach().numpy().round(3)
        array([-0.6,  0.8], dtype=float32)
        """
        rho = at_least_0("rho", rho)
        if self._block:
            raise FastoptError(f"{self._block} is already in use")
        moved = [
            (p, -rho if group.get("maximize") else rho)
            for group in self.param_groups
            for p in group["params"]
            if p.grad is not None
        ]
        if any(p.grad.is_sparse for p, _ in moved):
            raise FastoptError("a gradient is sparse; perturbed() needs dense gradients")
        norm = distributed.total_norm(list(self._parameters()))
        before = [p.detach().clone() for p, _ in moved]
        self._block = "perturbed()"
        try:
            with torch.no_grad():
                for p, distance in moved if norm != 0 else ():
                    p.copy_(state.uphill(p, self.state.get(p, {}), distance, norm))
            yield
        finally:
            self._block = ""
            with torch.no_grad():
                for (p, _), value in zip(moved, before, strict=True):
                    p.copy_(value)

    @torch.no_grad()
    def sync_master(self) -> None:
        """Copy the values of the parameters into their float32 masters.

        Call it after other code has written to the parameters: a step resumes from the masters.
        """
        for p in self._parameters():
            if "master" in self.state.get(p, {}):
                self.state[p]["master"].copy_(p)

    def _parameters(self) -> Iterator[Tensor]:
        return (p for group in self.param_groups for p in group["params"])

    # Saving, loading and copying

    def load_state_dict(self, state_dict: Any) -> None:
        """Load a state dict of this class or of the class of torch.optim.

        The next step converts the state to the dtype of this optimizer's state, such as float32 for
        bfloat16 parameters.  PyTorch casts it to the parameter's dtype.  Tensors are copied.

        Parameters
        ----------
        state_dict : dict
            The result of ``state_dict()``.
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
        # Loading inside a `with` block does not end the block.
        self._block = self.__dict__.get("_block", "")
        super().__setstate__(state.unprotected(pickled))
