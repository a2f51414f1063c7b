"""NAdam: the rule nadam of csrc."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Context, Decimal
from typing import Any, Unpack

from fastopt._checks import Choice, Pair, at_least_0, decay_rate
from fastopt.optimizers.base.arguments import Extra, Lr, Params
from fastopt.optimizers.base.optimizer import Optimizer

SCHEDULES = ("dozat", "none", "river", "uncorrected", "paper")  # in the order of rules/nadam.h
DECIMAL = Context(prec=28)


class NAdam(Optimizer):
    """NAdam: Adam with Nesterov's momentum, whose coefficient mu_t changes at each step.

    At step t, counted from 1, with mu_t = beta1*(1 - 0.96^(t*momentum_decay)/2), P_t the product
    of mu_1 .. mu_t, c1 = 1 - beta1^t and c2 = 1 - beta2^t::

        m <- beta1*m + (1 - beta1)*g
        v <- beta2*v + (1 - beta2)*g^2
        w <- w - lr*( mu_(t+1)/(1 - P_(t+1)) * m + (1 - mu_t)/(1 - P_t) * g )
                  / (sqrt(v/c2 + eps_root) + eps)

    Parameters
    ----------
    params
        Arrays to update in place: one, a list, a dict, or a list of group dicts.
    lr
        Learning rate >= 0, or a schedule.  Default 2e-3.
    betas
        beta1 and beta2, each 0 <= beta < 1.  Default (0.9, 0.999).
    eps, eps_root
        >= 0, outside and inside the root.  Default 1e-8 and 0.
    weight_decay
        >= 0, added to the gradient as ``weight_decay * w``.  Default 0.
    momentum_decay
        >= 0.  Default 4e-3; Keras's NAdam has 1.
    decoupled_weight_decay
        As in `fastopt.AdamW`.  Default False.
    nadam_schedule
        "dozat": the formula above (PyTorch, Keras).  "none" (optax): the factors of m and g are
        lr*beta1/(1 - beta1^(t+1)) and lr*(1 - beta1)/c1.  "river": they are lr*beta1/c1 and
        lr*(1 - beta1)/c1.  "uncorrected" (DL4J): as "river" with v in place of v/c2.  "paper": as
        "dozat" with mu_t in place of beta1 in m and v*beta2/c2 in place of v/c2.
    **common
        ``maximize``, ``max_grad_norm``, ``ema_decay``, ``n_threads`` and all other keywords of
        `fastopt.Optimizer`.

    Raises
    ------
    FastoptError, TypeError
        An option is outside its range or of the wrong type, or a parameter cannot be updated.

    Notes
    -----
    NAdam is for networks that are trained with Adam, where Nesterov's momentum may need fewer
    steps.

    State: ``exp_avg`` (m), ``exp_avg_sq`` (v) and the scalar ``mu_product`` (P), kept in double
    precision; PyTorch keeps it in single.

    References
    ----------
    Dozat 2016, Incorporating Nesterov momentum into Adam, Algorithm 2 (ICLR workshop).

    Examples
    --------
    >>> import numpy as np, fastopt
    >>> w = np.zeros(1)
    >>> fastopt.NAdam(w, lr=0.1, nadam_schedule="river").step(np.array([2.0]))
    >>> w.round(6)
    array([-0.19])
    """

    _checks = {
        "betas": Pair(decay_rate),
        "eps": at_least_0,
        "momentum_decay": at_least_0,
        "eps_root": at_least_0,
        "nadam_schedule": Choice(SCHEDULES),
    }
    _scalars = {"mu_product": 1.0}

    def __init__(
        self,
        params: Params,
        lr: Lr = 2e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        momentum_decay: float = 4e-3,
        decoupled_weight_decay: bool | str = False,
        *,
        eps_root: float = 0.0,
        nadam_schedule: str = "dozat",
        **common: Unpack[Extra],
    ) -> None:
        options = dict(
            lr=lr,
            betas=betas,
            eps=eps,
            weight_decay=weight_decay,
            momentum_decay=momentum_decay,
            eps_root=eps_root,
            nadam_schedule=nadam_schedule,
        )
        super().__init__(
            params,
            options,
            decoupled_weight_decay=decoupled_weight_decay,
            **common,
        )

    @staticmethod
    def _kernel(options: Mapping[str, Any]) -> tuple[str, tuple[str, ...]]:
        return "nadam", ("exp_avg", "exp_avg_sq")

    @staticmethod
    def _hyperparameters(options: Mapping[str, Any]) -> dict[str, float]:
        beta1, beta2 = options["betas"]
        return {
            "beta1": beta1,
            "beta2": beta2,
            "schedule": SCHEDULES.index(options["nadam_schedule"]),
            # Computed in decimal, because the C library's pow gives different bits on other CPUs.
            "decay_base": float(DECIMAL.power(Decimal("0.96"), Decimal(options["momentum_decay"]))),
        }
