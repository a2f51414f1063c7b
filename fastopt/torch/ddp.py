"""Steps in the backward pass of DistributedDataParallel, after gradients have been averaged."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Variable
from torch.nn.parallel import DistributedDataParallel

from fastopt.torch.backward import refuse_scaler, require_steps_of_one_parameter


def step_in_ddp_backward(
    model: DistributedDataParallel,
    optimizer: Any,
    *,
    hook: Callable[[Any, Any], Any] | None = None,
    state: Any = None,
) -> None:
    """Update each parameter in the backward pass, as soon as its gradient has been averaged.

    DDP averages gradients in buckets.  While one bucket is averaged, the parameters of the previous
    bucket are updated.  The updated values are those of a loop that calls ``optimizer.step()``
    after ``loss.backward()``, bit for bit.

    Parameters
    ----------
    model : DistributedDataParallel
        The model.  Its communication hook is registered; DDP allows only one.
    optimizer : torch.optim.Optimizer
        An optimizer of `fastopt.torch`, with parameters of the model.
    hook : callable, optional
        A communication hook that averages gradients, such as ``bf16_compress_hook`` of
        `torch.distributed.algorithms.ddp_comm_hooks.default_hooks`.  Default: ``allreduce_hook`` of
        that module.
    state : object, optional
        The first argument of `hook`; not used without `hook`.  For PyTorch's own hooks it is the
        process group.  Default None, which is the default group.

    Raises
    ------
    TypeError
        `model` is not a DistributedDataParallel, or `optimizer` is not one of `fastopt.torch`.
    ValueError
        `max_grad_norm` is set: the norm of all gradients is known only after the backward pass.
        `max_grad_value` applies to each element and is allowed.

    Notes
    -----
    - After ``backward()``, the gradients of the parameters are None.  A loop may keep
      ``optimizer.step()`` and ``optimizer.zero_grad()``, which then do nothing.
    - To accumulate the gradients of several passes, put all passes but the last one in a
      ``with model.no_sync():`` block.  The last pass updates the parameters.
    - This saves time, not memory: the buckets of DDP store all gradients.  Give DDP
      ``gradient_as_bucket_view=True``, which saves a copy of each gradient.
    - With ``find_unused_parameters=True``, a parameter that no process has used is updated with a
      gradient of zeros.  ``optimizer.step()`` would not update it.
    - `torch.amp.GradScaler` is not supported: ``scaler.step(optimizer)`` raises an error.  It would
      unscale the gradients after the parameters have been updated.

    Examples
    --------
    >>> import torch
    >>> from torch.nn.parallel import DistributedDataParallel
    >>> from fastopt.torch import AdamW, step_in_ddp_backward
    >>> def train(model, batches):
    ...     model = DistributedDataParallel(model, gradient_as_bucket_view=True)
    ...     step_in_ddp_backward(model, AdamW(model.parameters(), lr=1e-3))
    ...     for X, y in batches:
    ...         torch.nn.functional.mse_loss(model(X), y).backward()
    """
    if not isinstance(model, DistributedDataParallel):
        raise TypeError(
            f"model is {torch.typename(model)}; a DistributedDataParallel is needed. Use "
            "step_in_backward for models that are not wrapped"
        )
    require_steps_of_one_parameter(optimizer)
    if hook is None:
        from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import allreduce_hook

        hook, state = allreduce_hook, model.process_group
    optimizer.register_step_pre_hook(refuse_scaler)
    stepping = _Stepping(optimizer, hook)
    # A lambda, because DDP refuses most annotations of a hook.
    model.register_comm_hook(state, lambda state, bucket: stepping.reduce(state, bucket))


class _Stepping:
    """A communication hook that updates the parameters of a bucket while the next is averaged."""

    def __init__(self, optimizer: Any, hook: Callable[[Any, Any], Any]) -> None:
        self.optimizer = optimizer
        self.hook = hook
        self.waiting: _Bucket | None = None
        self.stepped: list[Tensor] = []
        self.error: Exception | None = None  # raised by an update in this pass

    def reduce(self, state: Any, bucket: Any) -> Any:
        """Start to average a bucket, update the previous one, and return the future average."""
        if bucket.index() == 0:  # the first of this pass
            self.waiting, self.stepped, self.error = None, [], None
            Variable._execution_engine.queue_callback(self.finish)
        before, self.waiting = self.waiting, _Bucket(self.hook(state, bucket), bucket)
        if before is not None:
            self.step(before)
        return self.waiting.average

    def finish(self) -> None:
        """Update the last bucket.  DDP then copies the averages into the gradients."""
        if self.waiting is not None:
            self.step(self.waiting)
            self.waiting = None
        Variable._execution_engine.queue_callback(self.end)

    def end(self) -> None:
        """Free the gradients, and raise the error of an update, now that DDP has ended its pass."""
        for p in self.stepped:
            p.grad = None
        error, self.stepped, self.error = self.error, [], None
        if error is not None:
            raise error

    def step(self, bucket: _Bucket) -> None:
        """Wait for the average of a bucket, and update those of its parameters in the optimizer."""
        average = bucket.average.wait()
        known = {id(p) for group in self.optimizer.param_groups for p in group["params"]}
        with torch.no_grad():
            if average.data_ptr() != bucket.buffer.data_ptr():
                bucket.buffer.copy_(average)
            for p, grad in zip(bucket.params, bucket.grads, strict=True):
                if id(p) in known and self.error is None:
                    p.grad = grad
                    self.step_one(p)

    def step_one(self, p: Tensor) -> None:
        try:
            self.optimizer._step_one(p)
        except Exception as error:
            self.error = error
        else:
            self.stepped.append(p)
        p.grad = None


class _Bucket:
    """A bucket whose gradients are being averaged."""

    def __init__(self, average: Any, bucket: Any) -> None:
        self.average = average  # a future of one tensor with all gradients
        self.buffer: Tensor = bucket.buffer()
        self.params: list[Tensor] = bucket.parameters()
        self.grads: list[Tensor] = bucket.gradients()  # views of the buffer
