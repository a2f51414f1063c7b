"""PyTorch's optimizers with the step in C: change one import.

>>> import torch
>>> from fastopt.torch import AdamW  # in place of: from torch.optim import AdamW
>>> model = torch.nn.Linear(2, 1)
>>> opt = AdamW(model.parameters(), lr=0.1, max_grad_norm=1.0)
>>> model(torch.ones(4, 2)).sum().backward()
>>> opt.step()

Classes that torch.optim has too extend those of torch.optim, so arguments, errors, groups,
schedulers and state dicts are PyTorch's.  The others have the arguments of fastopt's class with the
same name.  `Door` is their base class and documents the keyword arguments that fastopt adds.
`step_in_backward` and `step_in_ddp_backward` update parameters during the backward pass.
`CPUOffload` updates parameters of a device on the host.

| module | what it answers |
|---|---|
| `classes` | which optimizers there are |
| `door` | what a step does: hooks, closures, gradient scalers; saving and loading |
| `further` | which optimizers there are that torch.optim lacks |
| `base` | how a class that torch.optim lacks takes its options from fastopt's class |
| `options` | which options there are, and how those of a group are read |
| `state` | the initial values, dtypes and layout of a parameter's state, and how it is loaded |
| `tensors` | which tensors are accepted, and which strided tensor stores their elements |
| `matrices` | what the directions of matrices are in a step of `Muon` |
| `distributed` | how a step works on shards, and the norm of gradients over all shards |
| `backward` | how parameters are updated in the backward pass |
| `ddp` | how parameters are updated in the backward pass of DistributedDataParallel |
| `offload` | how an optimizer on the host updates parameters on a device: `CPUOffload` |
| `transfers` | how values and gradients are copied between a device and the host |
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

from fastopt.torch.backward import StepInBackward, step_in_backward  # noqa: E402
from fastopt.torch.classes import (  # noqa: E402
    ASGD,
    SGD,
    Adadelta,
    Adafactor,
    Adagrad,
    Adam,
    Adamax,
    AdamW,
    Muon,
    NAdam,
    RAdam,
    RMSprop,
    Rprop,
    SparseAdam,
)
from fastopt.torch.ddp import step_in_ddp_backward  # noqa: E402
from fastopt.torch.door import Door  # noqa: E402
from fastopt.torch.further import (  # noqa: E402
    ADOPT,
    LAMB,
    LARS,
    SM3,
    SMORMS3,
    AdaBelief,
    Adan,
    AdEMAMix,
    DoG,
    Ftrl,
    Lion,
    NovoGrad,
    Prodigy,
    QHAdam,
    ScheduleFreeAdamW,
    ScheduleFreeRAdam,
    ScheduleFreeSGD,
    Signum,
    StableAdamW,
    Yogi,
)
from fastopt.torch.offload import CPUOffload  # noqa: E402
from fastopt.torch.state import float32_state  # noqa: E402

__all__ = [
    "ADOPT",
    "ASGD",
    "LAMB",
    "LARS",
    "SGD",
    "SM3",
    "SMORMS3",
    "AdEMAMix",
    "AdaBelief",
    "Adadelta",
    "Adafactor",
    "Adagrad",
    "Adam",
    "AdamW",
    "Adamax",
    "Adan",
    "CPUOffload",
    "DoG",
    "Door",
    "Ftrl",
    "Lion",
    "Muon",
    "NAdam",
    "NovoGrad",
    "Prodigy",
    "QHAdam",
    "RAdam",
    "RMSprop",
    "Rprop",
    "ScheduleFreeAdamW",
    "ScheduleFreeRAdam",
    "ScheduleFreeSGD",
    "Signum",
    "SparseAdam",
    "StableAdamW",
    "StepInBackward",
    "Yogi",
    "float32_state",
    "step_in_backward",
    "step_in_ddp_backward",
]
