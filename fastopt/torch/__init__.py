"""PyTorch's optimizers, each step in one call of C: change one import.

>>> import torch
>>> from fastopt.torch import AdamW  # in place of: from torch.optim import AdamW
>>> model = torch.nn.Linear(2, 1)
>>> opt = AdamW(model.parameters(), lr=0.1, max_grad_norm=1.0)
>>> model(torch.ones(4, 2)).sum().backward()
>>> opt.step()

The classes extend those of torch.optim, so arguments, errors, groups, schedulers and state dicts
are PyTorch's.  `Door` documents the keywords that are added.

| module | what it answers |
|---|---|
| `classes` | which optimizers there are |
| `door` | what a step does: hooks, closures, gradient scalers; saving and loading |
| `options` | which options there are, and how those of a group are read |
| `state` | how the state of a parameter starts, and its dtypes and layout |
| `tensors` | which tensors are accepted, and which plain tensor holds their elements |
| `distributed` | what a step needs to know of other processes |
| `ddp` | how parameters are stepped in the backward pass of DistributedDataParallel |
| `_plan` | the boundary to C: read every tensor, check it, take a step |
"""

try:
    import torch as _torch
except ModuleNotFoundError as _error:
    if _error.name != "torch":
        raise
    raise ModuleNotFoundError(
        "fastopt.torch needs PyTorch; from a checkout: pip install '.[torch]'", name="torch"
    ) from None

_OLDEST = (2, 11)
if tuple(map(int, _torch.__version__.split(".")[:2])) < _OLDEST:
    raise ImportError(
        f"fastopt.torch needs PyTorch {_OLDEST[0]}.{_OLDEST[1]} or newer; {_torch.__version__} is "
        "installed; from a checkout: pip install '.[torch]'"
    )

from fastopt.torch.classes import (  # noqa: E402
    SGD,
    Adadelta,
    Adagrad,
    Adam,
    Adamax,
    AdamW,
    NAdam,
    RMSprop,
    SparseAdam,
)
from fastopt.torch.ddp import step_in_ddp_backward  # noqa: E402
from fastopt.torch.door import Door  # noqa: E402

__all__ = [
    "SGD",
    "Adadelta",
    "Adagrad",
    "Adam",
    "AdamW",
    "Adamax",
    "Door",
    "NAdam",
    "RMSprop",
    "SparseAdam",
    "step_in_ddp_backward",
]
