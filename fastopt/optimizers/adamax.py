"""AdaMax: the rule adamax of csrc."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Unpack

from fastopt._checks import Choice, Pair, at_least_0, decay_rate
from fastopt.optimizers.base.arguments import Common, Lr, Params
from fastopt.optimizers.base.optimizer import Optimizer


class Adamax(Optimizer):
    """AdaMax: Adam with the infinity norm in place of the root mean square.

    At step t, counted from 1::

        m <- beta1*m + (1 - beta1)*g
        u <- max(beta2*u, |g| + eps)            eps_mode="max" (PyTorch)
        w <- w - lr/(1 - beta1^t) * m/u

    Parameters
    ----------
    params
        Arrays to update in place: one, a list, a dict, or a list of group dicts.
    lr
        Learning rate >= 0, or a schedule.  Default 2e-3.
    betas
        beta1 and beta2, each 0 <= beta < 1.  Default (0.9, 0.999).
    eps
        >= 0.  Default 1e-8.  With 0, as in the paper, an element whose gradients were all 0
        becomes 0/0 = NaN.
    weight_decay
        >= 0, added to the gradient as ``weight_decay * w``.  Default 0.
    eps_mode
        Where eps is added.  "max" (default): to |g|; "outside": to u in the division (Keras);
        "state": to the u that is stored (DL4J).
    **common
        ``decoupled_weight_decay``, ``maximize``, ``max_grad_norm``, ``ema_decay``, ``n_threads``
        and all other keywords of `fastopt.Optimizer`.

    Raises
    ------
    FastoptError, TypeError
        An option is outside its range or of the wrong type, or a parameter cannot be updated.

    Notes
    -----
    Adamax is for networks that are trained with Adam, where gradients have rare large elements.

    State: ``exp_avg`` (m) and ``exp_inf`` (u).

    References
    ----------
    Kingma & Ba 2015, Adam: a method for stochastic optimization, Algorithm 2 (arXiv 1412.6980).

    Examples
    --------
    >>> import numpy as np, fastopt
    >>> w = np.zeros(2)
    >>> fastopt.Adamax(w, lr=0.1).step(np.array([3.0, -0.01]))
    >>> w.round(6)
    array([-0.1,  0.1])
    """

    _checks = {
        "betas": Pair(decay_rate),
        "eps": at_least_0,
        "eps_mode": Choice(("max", "outside", "state")),
    }

    def __init__(
        self,
        params: Params,
        lr: Lr = 2e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        *,
        eps_mode: str = "max",
        **common: Unpack[Common],
    ) -> None:
        options = dict(lr=lr, betas=betas, eps=eps, weight_decay=weight_decay, eps_mode=eps_mode)
        super().__init__(params, options, **common)

    @staticmethod
    def _kernel(options: Mapping[str, Any]) -> tuple[str, tuple[str, ...]]:
        return "adamax", ("exp_avg", "exp_inf")

    @staticmethod
    def _hyperparameters(options: Mapping[str, Any]) -> dict[str, float]:
        beta1, beta2 = options["betas"]
        mode, eps = options["eps_mode"], options["eps"]
        return {
            "beta1": beta1,
            "beta2": beta2,
            "eps_max": eps if mode == "max" else 0.0,
            "eps_state": eps if mode == "state" else 0.0,
            "eps": eps if mode == "outside" else 0.0,
        }
