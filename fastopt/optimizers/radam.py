"""RAdam: the rule radam of csrc."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Unpack

from fastopt._checks import Choice, Pair, Real, at_least_0, decay_rate
from fastopt.optimizers.base.arguments import Extra, Lr, Params
from fastopt.optimizers.base.optimizer import Optimizer


class RAdam(Optimizer):
    """RAdam: Adam that takes steps of momentum until v has averaged enough squared gradients.

    At step t, counted from 1, with c1 = 1 - beta1^t, c2 = 1 - beta2^t,
    rho_inf = 2/(1 - beta2) - 1 and rho = rho_inf - 2*t*beta2^t/c2::

        m <- beta1*m + (1 - beta1)*g
        v <- beta2*v + (1 - beta2)*g^2
        R  = sqrt((rho - 4)*(rho - 2)*rho_inf / ((rho_inf - 4)*(rho_inf - 2)*rho))

        w <- w - lr/c1 * m                                              if rho <= threshold
        w <- w - lr*R*sqrt(c2)/c1 * m / (sqrt(v + eps_root) + eps)      else, eps_mode="hat"
        w <- w - lr*R/c1 * m / (sqrt(v/c2 + eps_root) + eps)            else, eps_mode="corrected"

    Parameters
    ----------
    params
        Arrays to update in place: one, a list, a dict, or a list of group dicts.
    lr
        Learning rate >= 0, or a schedule.  Default 1e-3.
    betas
        beta1 and beta2, each 0 <= beta < 1.  Default (0.9, 0.999).
    eps, eps_root
        >= 0, outside and inside the root.  Default 1e-8 and 0.
    weight_decay
        >= 0, added to the gradient as ``weight_decay * w``.  Default 0.
    decoupled_weight_decay
        As in `fastopt.AdamW`.  Default False.
    eps_mode
        "hat" (default; PyTorch) or "corrected" (the paper's correction of v, optax): see above.
    threshold
        The value that rho has to exceed, >= 4.  Default 5.  optax compares with >=.
    **common
        ``maximize``, ``max_grad_norm``, ``ema_decay``, ``n_threads`` and all other keywords of
        `fastopt.Optimizer`.

    Raises
    ------
    FastoptError, TypeError
        An option is outside its range or of the wrong type, or a parameter cannot be updated.

    Notes
    -----
    RAdam is for training in which the learning rate of Adam would have to be warmed up.

    State: ``exp_avg`` (m) and ``exp_avg_sq`` (v).

    rho does not exceed 5 before step 6.  The first five steps are therefore proportional to the
    gradient, while Adam's are at most about lr: large gradients need a small lr or
    ``max_grad_norm``.  With beta2 <= 2/3, rho never exceeds 5 and all steps are steps of momentum.

    References
    ----------
    Liu et al. 2020, On the variance of the adaptive learning rate and beyond, Algorithm 2
    (arXiv 1908.03265); it has a threshold of 4 and no epsilon.

    Examples
    --------
    >>> import numpy as np, fastopt
    >>> w = np.zeros(2)
    >>> opt = fastopt.RAdam(w, lr=0.1)
    >>> opt.step(np.array([3.0, -0.01]))
    >>> w.round(6)
    array([-0.3  ,  0.001])
    """

    _checks = {
        "betas": Pair(decay_rate),
        "eps": at_least_0,
        "eps_root": at_least_0,
        "eps_mode": Choice(("hat", "corrected")),
        "threshold": Real(low=4.0),
    }

    def __init__(
        self,
        params: Params,
        lr: Lr = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        decoupled_weight_decay: bool | str = False,
        *,
        eps_root: float = 0.0,
        eps_mode: str = "hat",
        threshold: float = 5.0,
        **common: Unpack[Extra],
    ) -> None:
        options = dict(
            lr=lr,
            betas=betas,
            eps=eps,
            weight_decay=weight_decay,
            eps_root=eps_root,
            eps_mode=eps_mode,
            threshold=threshold,
        )
        super().__init__(
            params,
            options,
            decoupled_weight_decay=decoupled_weight_decay,
            **common,
        )

    @staticmethod
    def _kernel(options: Mapping[str, Any]) -> tuple[str, tuple[str, ...]]:
        return "radam", ("exp_avg", "exp_avg_sq")

    @staticmethod
    def _hyperparameters(options: Mapping[str, Any]) -> dict[str, float]:
        beta1, beta2 = options["betas"]
        return {"beta1": beta1, "beta2": beta2, "eps_hat": options["eps_mode"] == "hat"}
