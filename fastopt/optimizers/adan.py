"""Adan: the rule adan of csrc."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Unpack

from fastopt._checks import Triple, at_least_0, decay_rate
from fastopt.optimizers.base.arguments import Extra, Lr, Params
from fastopt.optimizers.base.optimizer import Optimizer


class Adan(Optimizer):
    """Adan: Adam with Nesterov's momentum, computed from the differences of gradients.

    At step t, counted from 1, with c1 = 1 - beta1^t, c2 and c3 likewise, and d the difference
    between g and the gradient of the step before, 0 at the first step::

        m <- beta1*m + (1 - beta1)*g
        u <- beta2*u + (1 - beta2)*d
        n <- beta3*n + (1 - beta3)*(g + beta2*d)^2
        w <- w - lr * (m/c1 + beta2*u/c2) / (sqrt(n/c3 + eps_root) + eps)

    Parameters
    ----------
    params
        Arrays to update in place: one, a list, a dict, or a list of group dicts.
    lr
        Learning rate >= 0, or a schedule.  Default 1e-3.
    betas
        beta1, beta2 and beta3, each 0 <= beta < 1.  Default (0.98, 0.92, 0.99).  The betas of the
        paper are 1 - beta.
    eps, eps_root
        >= 0, outside (the authors' code) and inside the root (the paper).  Default 1e-8 and 0.
    weight_decay
        >= 0.  Default 0.
    decoupled_weight_decay
        "proximal" (default): w <- w / (1 + lr*weight_decay) after the step, as in the paper.  True
        or "lr": w <- w * (1 - lr*weight_decay) before the step, which is ``no_prox=True`` of the
        authors.  Other values are as in `fastopt.AdamW`.
    **common
        ``maximize``, ``max_grad_norm``, ``ema_decay``, ``n_threads`` and all other keywords of
        `fastopt.Optimizer`.

    Raises
    ------
    FastoptError, TypeError
        An option is outside its range or of the wrong type, or a parameter cannot be updated.

    Notes
    -----
    Adan is for vision and language models whose gradients change slowly from step to step, as with
    large batches.

    State: ``exp_avg`` (m), ``exp_avg_sq`` (n), ``exp_avg_diff`` (u) and ``neg_pre_grad``, the
    negative gradient of the step before, as in the authors' code and timm.

    optax 0.2.8 has 1 - beta2 in place of beta2 in n and w, which differs from the paper.

    References
    ----------
    Xie et al. 2022, Adan: adaptive Nesterov momentum algorithm for faster optimizing deep models,
    Algorithm 1 (arXiv 2208.06677).

    Examples
    --------
    >>> import numpy as np, fastopt
    >>> w = np.zeros(1)
    >>> opt = fastopt.Adan(w, lr=0.1)
    >>> for g in 1.0, 3.0, -2.0:
    ...     opt.step(np.array([g]))
    >>> w.round(4)
    array([-0.1763])
    """

    _checks = {"betas": Triple(decay_rate), "eps": at_least_0, "eps_root": at_least_0}

    def __init__(
        self,
        params: Params,
        lr: Lr = 1e-3,
        betas: tuple[float, float, float] = (0.98, 0.92, 0.99),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        *,
        decoupled_weight_decay: bool | str = "proximal",
        eps_root: float = 0.0,
        **common: Unpack[Extra],
    ) -> None:
        options = dict(lr=lr, betas=betas, eps=eps, weight_decay=weight_decay, eps_root=eps_root)
        super().__init__(
            params,
            options,
            decoupled_weight_decay=decoupled_weight_decay,
            **common,
        )

    @staticmethod
    def _kernel(options: Mapping[str, Any]) -> tuple[str, tuple[str, ...]]:
        return "adan", ("exp_avg", "exp_avg_sq", "exp_avg_diff", "neg_pre_grad")

    @staticmethod
    def _hyperparameters(options: Mapping[str, Any]) -> dict[str, float]:
        beta1, beta2, beta3 = options["betas"]
        return {"beta1": beta1, "beta2": beta2, "beta3": beta3}
