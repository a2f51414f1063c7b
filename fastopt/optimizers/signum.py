"""Signum and signSGD: the rules signum and signsgd of csrc."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Unpack

from fastopt._checks import decay_rate
from fastopt.optimizers.base.arguments import Extra, Lr, Params
from fastopt.optimizers.base.optimizer import Optimizer


class Signum(Optimizer):
    """Signum: steps of equal size in the direction of the sign of the mean gradient.

    At each step, with sign(0) = 0::

        w <- w * (1 - lr*weight_decay)              decoupled_weight_decay=True or "lr"
        m <- momentum*m + (1 - momentum)*g
        w <- w - lr * sign(m)

    With ``momentum=0`` this is signSGD: m is g, and there is no state.

    Parameters
    ----------
    params
        Arrays to update in place: one, a list, a dict, or a list of group dicts.
    lr
        Learning rate >= 0, or a schedule.  Default 1e-3.  Each element moves by lr at each step.
    momentum
        0 <= momentum < 1.  Default 0.9.
    weight_decay
        >= 0.  Default 0.
    decoupled_weight_decay
        As in `fastopt.AdamW`; False adds ``weight_decay * w`` to the gradient.  Default True.
    **common
        ``maximize``, ``max_grad_norm``, ``ema_decay``, ``n_threads`` and all other keywords of
        `fastopt.Optimizer`.

    Raises
    ------
    FastoptError, TypeError
        An option is outside its range or of the wrong type, or a parameter cannot be updated.

    Notes
    -----
    Signum is for gradients whose scale differs between layers or changes during training, where
    one state array, or none, is affordable.

    State: ``momentum_buffer`` (m), with momentum > 0.

    A NaN gradient makes the element NaN, as in optax; PyTorch's sign of NaN is 0.

    References
    ----------
    Bernstein et al. 2018, signSGD: compressed optimisation for non-convex problems, Algorithms 1
    and 2 (arXiv 1802.04434).  Bernstein et al. 2019, signSGD with majority vote, Algorithm 1,
    which has the decoupled weight decay (arXiv 1810.05291).

    Examples
    --------
    >>> import numpy as np, fastopt
    >>> w = np.zeros(3)
    >>> fastopt.Signum(w, lr=0.1).step(np.array([3.0, -0.01, 0.0]))
    >>> w
    array([-0.1,  0.1,  0. ])
    """

    _checks = {"momentum": decay_rate}

    def __init__(
        self,
        params: Params,
        lr: Lr = 1e-3,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
        *,
        decoupled_weight_decay: bool | str = True,
        **common: Unpack[Extra],
    ) -> None:
        options = dict(lr=lr, momentum=momentum, weight_decay=weight_decay)
        super().__init__(params, options, decoupled_weight_decay=decoupled_weight_decay, **common)

    @staticmethod
    def _kernel(options: Mapping[str, Any]) -> tuple[str, tuple[str, ...]]:
        return ("signum", ("momentum_buffer",)) if options["momentum"] > 0 else ("signsgd", ())
