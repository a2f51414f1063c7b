"""The optimizers that torch.optim lacks: each has the arguments of the class of fastopt."""

from __future__ import annotations

from fastopt import optimizers
from fastopt.torch.base import Further


class LAMB(Further):
    """LAMB: Adam whose step is scaled, for each parameter, to the norm of the parameter.

    Parameters
    ----------
    params, lr, betas, eps, weight_decay, bias_correction, decoupled_weight_decay, maximize
        As in `fastopt.LAMB`, with the same defaults.
    **extra
        Keyword arguments that fastopt adds, such as ``max_grad_norm``, ``ema_decay``, ``master``
        and ``rounding``; see `fastopt.torch.Door`, which also documents the errors.

    Notes
    -----
    The formula is that of `fastopt.LAMB`.  The shards of DTensors and of
    ``FullyShardedDataParallel`` are refused: the norms are of all elements of a parameter.

    Examples
    --------
    >>> import torch
    >>> from fastopt.torch import LAMB
    >>> w = torch.tensor([3.0, 4.0], requires_grad=True)
    >>> w.grad = torch.tensor([2.0, -8.0])
    >>> LAMB([w], lr=0.1).step()
    >>> w.detach()  # norm(w)/norm(u) is 5/sqrt(2)
    tensor([2.6464, 4.3536])
    """

    _rule = optimizers.LAMB
