"""AdEMAMix: the rule ademamix of csrc."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Unpack

from fastopt._checks import Triple, at_least_0, decay_rate
from fastopt.optimizers.base.arguments import Extra, Lr, Params
from fastopt.optimizers.base.optimizer import Optimizer


class AdEMAMix(Optimizer):
    """AdEMAMix: AdamW with a second running mean of the gradient, of thousands of steps.

    At step t, counted from 1, with c1 = 1 - beta1^t and c2 = 1 - beta2^t::

        m1 <- beta1*m1 + (1 - beta1)*g
        m2 <- beta3*m2 + (1 - beta3)*g
        v  <- beta2*v + (1 - beta2)*g^2
        w  <- w - lr * (m1/c1 + alpha*m2) / (sqrt(v/c2 + eps_root) + eps)

    While t < alpha_warmup, alpha is multiplied by t/alpha_warmup.  While t < beta3_warmup, beta3 is
    smaller: its half-life, log(0.5)/log(beta3), grows linearly from that of beta1.

    Parameters
    ----------
    params
        Arrays to update in place: one, a list, a dict, or a list of group dicts.
    lr
        Learning rate >= 0, or a schedule.  Default 1e-3.
    betas
        beta1, beta2 and beta3, each 0 <= beta < 1.  Default (0.9, 0.999, 0.9999).
    eps, eps_root
        >= 0, outside and inside the root.  Default 1e-8 and 0.
    weight_decay
        >= 0.  Default 0.
    decoupled_weight_decay
        As in `fastopt.AdamW`.  Default True.
    alpha
        The weight of m2, >= 0.  Default 5; the authors' code has 2, optax's `scale_by_ademamix` 6.
    alpha_warmup, beta3_warmup
        Numbers of steps, >= 0.  Default 0.  The authors set both to the length of the training.
    **common
        ``maximize``, ``max_grad_norm``, ``ema_decay``, ``n_threads`` and all other keywords of
        `fastopt.Optimizer`.

    Raises
    ------
    FastoptError, TypeError
        An option is outside its range or of the wrong type, or a parameter cannot be updated.

    Notes
    -----
    AdEMAMix is for training of many times 1/(1 - beta3) steps.  For shorter training the authors
    recommend beta3 = 0.999.

    State: ``exp_avg_fast`` (m1), ``exp_avg_slow`` (m2) and ``exp_avg_sq`` (v), as in the authors'
    code.  m2 is not corrected for its bias towards 0.

    References
    ----------
    Pagliardini, Ablin & Grangier 2024, The AdEMAMix optimizer: better, faster, older
    (arXiv 2409.03137).

    Examples
    --------
    >>> import numpy as np, fastopt
    >>> w = np.zeros(1)
    >>> fastopt.AdEMAMix(w, lr=0.1, betas=(0.9, 0.999, 0.96)).step(np.array([2.0]))
    >>> w.round(6)
    array([-0.12])
    """

    _checks = {
        "betas": Triple(decay_rate),
        "eps": at_least_0,
        "eps_root": at_least_0,
        "alpha": at_least_0,
        "alpha_warmup": at_least_0,
        "beta3_warmup": at_least_0,
    }

    def __init__(
        self,
        params: Params,
        lr: Lr = 1e-3,
        betas: tuple[float, float, float] = (0.9, 0.999, 0.9999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        *,
        decoupled_weight_decay: bool | str = True,
        eps_root: float = 0.0,
        alpha: float = 5.0,
        alpha_warmup: float = 0.0,
        beta3_warmup: float = 0.0,
        **common: Unpack[Extra],
    ) -> None:
        options = dict(
            lr=lr,
            betas=betas,
            eps=eps,
            weight_decay=weight_decay,
            eps_root=eps_root,
            alpha=alpha,
            alpha_warmup=alpha_warmup,
            beta3_warmup=beta3_warmup,
        )
        super().__init__(
            params,
            options,
            decoupled_weight_decay=decoupled_weight_decay,
            **common,
        )

    @staticmethod
    def _kernel(options: Mapping[str, Any]) -> tuple[str, tuple[str, ...]]:
        return "ademamix", ("exp_avg_fast", "exp_avg_slow", "exp_avg_sq")

    @staticmethod
    def _hyperparameters(options: Mapping[str, Any]) -> dict[str, float]:
        beta1, beta2, beta3 = options["betas"]
        return {"beta1": beta1, "beta2": beta2, "beta3": beta3}
