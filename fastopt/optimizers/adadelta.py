"""AdaDelta: the rule adadelta of csrc."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Unpack

from fastopt._checks import at_least_0, fraction
from fastopt.optimizers.base.arguments import Common, Lr, Params
from fastopt.optimizers.base.optimizer import Optimizer


class Adadelta(Optimizer):
    """AdaDelta: steps in the units of the parameter, from running means of g^2 and dx^2.

    ::

        s  <- rho*s + (1 - rho)*g^2
        dx <- sqrt(d + eps) / sqrt(s + eps) * g
        d  <- rho*d + (1 - rho)*dx^2
        w  <- w - lr*dx

    Parameters
    ----------
    params
        Arrays to update in place: one, a list, a dict, or a list of group dicts.
    lr
        Learning rate >= 0, or a schedule.  Default 1, as in the paper.
    rho
        0 <= rho <= 1.  Default 0.9.
    eps
        >= 0, inside both roots.  Default 1e-6.
    weight_decay
        >= 0, added to the gradient as ``weight_decay * w``.  Default 0.
    **common
        ``decoupled_weight_decay``, ``maximize``, ``max_grad_norm``, ``ema_decay``, ``n_threads``
        and all other keywords of `fastopt.Optimizer`.

    Raises
    ------
    FastoptError, TypeError
        An option is outside its range or of the wrong type, or a parameter cannot be updated.

    Notes
    -----
    Adadelta is for training in which no learning rate should be tuned.

    State: ``square_avg`` (s) and ``acc_delta`` (d).

    References
    ----------
    Zeiler 2012, ADADELTA: an adaptive learning rate method, Algorithm 1 (arXiv 1212.5701).

    Examples
    --------
    >>> import numpy as np, fastopt
    >>> w = np.zeros(1)
    >>> fastopt.Adadelta(w, rho=0.0, eps=1.0).step(np.array([1.0]))
    >>> w.round(6)
    array([-0.707107])
    """

    _checks = {"rho": fraction, "eps": at_least_0}

    def __init__(
        self,
        params: Params,
        lr: Lr = 1.0,
        rho: float = 0.9,
        eps: float = 1e-6,
        weight_decay: float = 0.0,
        **common: Unpack[Common],
    ) -> None:
        options = dict(lr=lr, rho=rho, eps=eps, weight_decay=weight_decay)
        super().__init__(params, options, **common)

    @staticmethod
    def _kernel(options: Mapping[str, Any]) -> tuple[str, tuple[str, ...]]:
        return "adadelta", ("square_avg", "acc_delta")
