"""Steps in the backward pass: a parameter is updated as soon as its gradient is complete."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Iterable, Mapping
from types import TracebackType
from typing import Any

import torch
from torch import Tensor
from torch.utils.hooks import RemovableHandle

from fastopt._checks import Whole
from fastopt.torch import options
from fastopt.torch.door import Door, exclude_from_graphs

# Wrappers that average gradients after the hooks of parameters have run, and what to use instead.
INSTEAD = {
    "DistributedDataParallel": "fastopt.torch.step_in_ddp_backward, a communication hook that "
    "steps the parameters of a bucket after it has been averaged",
    "FullyShardedDataParallel": "torch.distributed.fsdp.fully_shard",
}
TOO_EARLY = (
    "after the hooks of parameters have run: steps in the backward pass would use gradients of one "
    "process"
)


def step_in_backward(optimizer: Any, *, accumulate: int = 1) -> StepInBackward:
    """Update each parameter in the backward pass as soon as its gradient is complete.

    The gradient is freed after the update, so most gradients never exist at the same time.  Peak
    memory falls by nearly the size of the model.  The updated values are those of a loop that
    calls ``optimizer.step()`` after ``loss.backward()``, bit for bit.

    Parameters
    ----------
    optimizer : torch.optim.Optimizer
        An optimizer of `fastopt.torch`, with any number of parameters and groups.  Learning rates
        and other options are read from ``param_groups`` at each update, so schedulers work.
    accumulate : int, default 1
        The number of backward passes whose gradients are summed.  A parameter is updated in the
        last of them.  Divide the loss by this number if the mean gradient is needed, as in any
        loop that accumulates gradients.  Above 1, gradients exist from the first pass to the last:
        the peak memory of a pass is that of a usual loop, and memory is saved only between an
        update and the next pass.

    Returns
    -------
    StepInBackward
        A handle.  Its ``remove()``, or the end of a ``with`` block, removes the hooks.  The hooks
        have no effect once both the handle and the optimizer have been deleted.

    Raises
    ------
    TypeError
        `optimizer` is not one of `fastopt.torch`, or is a `CPUOffload`; or `accumulate` is not an
        integer.
    ValueError
        `max_grad_norm` is set: the norm of all gradients is known only after the backward pass.
        `max_grad_value` applies to each element and is allowed.  Also if `accumulate` is less than
        1, a parameter is not a leaf, or a parameter is already updated in the backward pass.
    RuntimeError
        A parameter belongs to a ``DistributedDataParallel`` module, whose gradients are averaged
        after the hooks have run.  The first backward pass raises this error too, if the model has
        been wrapped since.

    Notes
    -----
    - The training loop may keep ``optimizer.step()`` and ``optimizer.zero_grad()``.
      ``step()`` updates each parameter that still has a gradient, and frees the gradient.  These
      are parameters without a hook (of a new group, or of a layer that was frozen) and, with
      ``accumulate``, parameters with fewer gradients than that, as at the end of an epoch.
      ``zero_grad()`` between the passes of an accumulation drops the gradients and starts a new
      count.
    - ``torch.nn.utils.clip_grad_norm_`` after the backward pass finds no gradients and clips
      nothing.  Some training frameworks call it by default.  Use ``max_grad_value``.
    - A parameter that is used several times, or by several modules (tied weights), is updated
      once per backward pass, after all contributions have been summed.  An exception is
      ``torch.utils.checkpoint`` with ``use_reentrant=True``, which runs several backward passes:
      a parameter that two checkpointed segments share would be updated twice.
    - ``torch.amp.GradScaler`` is not supported: ``scaler.step(optimizer)`` raises an error.  It
      would unscale gradients and look for infinities after the parameters have been updated.
      bfloat16 needs no scaler.
    - In a model compiled by ``torch.compile``, the gradients of a graph become complete together,
      at the end of its backward pass.  Most of them then exist at the same time: the updates are
      right, but little or no memory is saved.  Compile single layers instead of the whole model.
    - Under FSDP2 (``fully_shard``) hooks see reduced gradients, and the values are right.  A pass
      with ``set_requires_gradient_sync(False)`` runs no hook: leave `accumulate` at 1.
    - ``on_nonfinite`` applies to one parameter at a time.  With "raise" or "skip", parameters
      whose gradients were complete before the first one that is not finite have been updated.
    - If the backward pass still needs a value that has been updated, autograd raises its error
      about an inplace operation, as it does after ``optimizer.step()``.
    - Hooks of ``register_step_pre_hook`` and ``register_step_post_hook`` run only in ``step()``.

    Examples
    --------
    >>> import torch
    >>> from fastopt.torch import AdamW, step_in_backward
    >>> model = torch.nn.Linear(3, 1)
    >>> opt = AdamW(model.parameters(), lr=1e-3)
    >>> handle = step_in_backward(opt)
    >>> before = model.weight.clone()
    >>> model(torch.ones(2, 3)).sum().backward()
    >>> torch.equal(model.weight, before), model.weight.grad
    (False, None)
    >>> handle.remove()
    """
    _refuse_optimizer(optimizer)
    count = Whole(low=1)("accumulate", accumulate)
    params = _trained(optimizer)
    for p in params:
        if not p.is_leaf:
            raise ValueError(
                f"a parameter of shape {tuple(p.shape)} is not a leaf; autograd sets the "
                "gradients of leaves only"
            )
    refuse_taken(params)
    refuse_late_reduction(params, TOO_EARLY, INSTEAD)
    return StepInBackward(optimizer, count)


class StepInBackward:
    """The handle that `step_in_backward` returns: it removes the hooks.

    It is also a context manager, which removes the hooks at the end of the ``with`` block.

    Attributes
    ----------
    optimizer : torch.optim.Optimizer
        The optimizer whose parameters are updated.
    accumulate : int
        The number of backward passes per update.

    Examples
    --------
    >>> import torch
    >>> from fastopt.torch import SGD, step_in_backward
    >>> w = torch.nn.Parameter(torch.ones(2))
    >>> with step_in_backward(SGD([w], lr=0.5)):
    ...     w.sum().backward()
    >>> w.tolist(), w.grad
    ([0.5, 0.5], None)
    """

    def __init__(self, optimizer: Any, accumulate: int) -> None:
        self.optimizer = optimizer
        self.accumulate = accumulate
        self._passes: dict[Tensor, int] = {}  # since the last update; 0 where there is no item
        self._is_checked = False
        self._handles = [
            optimizer.register_step_pre_hook(refuse_scaler),
            optimizer.register_step_post_hook(self._after_step),
        ]
        for p in _trained(optimizer):
            if accumulate > 1:
                self._handles.append(self._watch_zeroing(p))
            self._handles.append(take_gradients(p, self._take))

    def remove(self) -> None:
        """Remove the hooks; gradients of an unfinished accumulation stay in ``grad``."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()

    def __enter__(self) -> StepInBackward:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.remove()

    def _after_step(self, *_: object) -> None:
        """Free the gradients that `step` has used, and start a new count."""
        for group in self.optimizer.param_groups:
            for p in group["params"]:
                p.grad = None
        self._passes.clear()

    def _watch_zeroing(self, p: Tensor) -> RemovableHandle:
        """Start a new count if a gradient is about to be accumulated and ``grad`` is None."""
        parameter, hooks = weakref.ref(p), weakref.ref(self)  # see `GradientHook`

        def before_accumulation(_: Tensor) -> None:
            p, owner = parameter(), hooks()
            if p is not None and owner is not None and p.grad is None:
                owner._passes.pop(p, None)

        return p.register_hook(before_accumulation)  # type: ignore[no-any-return, no-untyped-call]

    def _take(self, p: Tensor) -> None:
        """Update a parameter whose gradient is complete, and free the gradient."""
        if not self._is_checked:
            refuse_late_reduction([p], TOO_EARLY, INSTEAD)
            self._is_checked = True
        passes = self._passes.get(p, 0) + 1
        if passes < self.accumulate:
            self._passes[p] = passes
            return
        with torch.no_grad():
            self.optimizer._step_one(p)
        p.grad = None
        self._passes.pop(p, None)


def _trained(optimizer: Any) -> list[Tensor]:
    return [p for group in optimizer.param_groups for p in group["params"] if p.requires_grad]


class GradientHook:
    """A hook that calls a method of an optimizer with a parameter whose gradient is complete.

    It has a weak reference to the method.  The garbage collector does not see the hooks of
    autograd, so a strong reference would keep the model and its optimizer alive.
    """

    def __init__(self, take: Callable[[Tensor], None]) -> None:
        self.take = weakref.WeakMethod(take)

    def __call__(self, p: Tensor) -> None:
        take = self.take()
        if take is not None:
            take(p)

    exclude_from_graphs(__call__)


def take_gradients(p: Tensor, take: Callable[[Tensor], None]) -> RemovableHandle:
    """Call the method `take` with the parameter whenever its gradient is complete."""
    return p.register_post_accumulate_grad_hook(GradientHook(take))  # type: ignore[no-any-return, no-untyped-call]


def refuse_taken(params: Iterable[Tensor]) -> None:
    """Raise an error if a parameter is already updated or offloaded in the backward pass."""
    for p in params:
        hooks = getattr(p, "_post_accumulate_grad_hooks", None) or {}
        if any(
            isinstance(hook, GradientHook) and hook.take() is not None for hook in hooks.values()
        ):
            raise ValueError(
                f"the gradient of a parameter of shape {tuple(p.shape)} is already taken in the "
                "backward pass, by step_in_backward or CPUOffload; call its remove() first"
            )


def _late_reducer(params: Iterable[Tensor]) -> str | None:
    """Return the name of a wrapper in `INSTEAD` to which a parameter belongs, or None."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return None
    ours = {id(p) for p in params}
    for module in gc.get_objects():
        if issubclass(type(module), torch.nn.Module):
            names = INSTEAD.keys() & {cls.__name__ for cls in type(module).__mro__}
            if names and any(id(p) in ours for p in module.parameters()):
                return names.pop()
    return None


def refuse_late_reduction(
    params: Iterable[Tensor], problem: str, instead: Mapping[str, str]
) -> None:
    """Raise an error if a parameter belongs to a wrapper in `INSTEAD`.

    problem: what happens before the wrapper averages; instead: what to use for each wrapper.
    """
    name = _late_reducer(params)
    if name is not None:
        raise RuntimeError(
            f"a parameter belongs to a {name} module, which averages gradients over the processes "
            f"{problem}; use {instead[name]}"
        )


def _refuse_optimizer(optimizer: Any) -> None:
    if getattr(optimizer, "_takes_gradients", False):
        raise TypeError(
            "optimizer is a CPUOffload, which already takes gradients in the backward pass"
        )
    require_steps_of_one_parameter(optimizer)


def require_steps_of_one_parameter(optimizer: Any) -> None:
    """Raise an error unless each parameter can be updated without the other gradients."""
    if not isinstance(optimizer, Door):
        raise TypeError(
            f"optimizer is {torch.typename(optimizer)}; an optimizer of fastopt.torch is needed"
        )
    for group in optimizer.param_groups:
        if options.read(optimizer, group).sums == "all":
            raise ValueError(
                f"{type(optimizer).__name__} needs sums over all parameters before it updates one "
                "of them; call step() after the backward pass"
            )
    norm = optimizer._options["max_grad_norm"]
    if norm is not None:
        raise ValueError(
            f"max_grad_norm is {norm}: the norm of all gradients is known after the backward pass, "
            "when the parameters have been updated already; use max_grad_value"
        )


def refuse_scaler(optimizer: Any, *_: object) -> None:
    """Raise an error in a step of `torch.amp.GradScaler`; a hook to run before the step."""
    if getattr(optimizer, "found_inf", None) is not None:
        raise RuntimeError(
            "GradScaler looks for infinities and unscales gradients after the backward pass, when "
            "the parameters have already been updated; use bfloat16, which needs no scaler, or do "
            "not step in the backward pass"
        )
