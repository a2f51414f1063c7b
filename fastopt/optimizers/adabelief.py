"""AdaBelief: the rule adabelief of csrc."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Unpack

from fastopt._checks import Choice, Pair, at_least_0, decay_rate, flag
from fastopt.optimizers.base.arguments import Extra, Lr, Params
from fastopt.optimizers.base.optimizer import Optimizer


class AdaBelief(Optimizer):
    """AdaBelief: Adam, with the squared difference of the gradient and its mean in place of g^2.

    At step t, counted from 1, with c1 = 1 - beta1^t and c2 = 1 - beta2^t::

        m <- beta1*m + (1 - beta1)*g
        s <- beta2*s + (1 - beta2)*(g - m)^2 + eps_root
        w <- w - lr/c1 * m / (sqrt(s/c2) + eps)                 eps_mode="corrected"
        w <- w - lr*sqrt(c2)/c1 * m / (sqrt(s) + eps)           eps_mode="hat"

    Parameters
    ----------
    params
        Arrays to update in place: one, a list, a dict, or a list of group dicts.
    lr
        Learning rate >= 0, or a schedule.  Default 1e-3.
    betas
        beta1 and beta2, each 0 <= beta < 1.  Default (0.9, 0.999).
    eps, eps_root
        >= 0, outside the root and inside it.  Default 1e-16 each, as in the authors' package and
        optax.  PyTorch's classes use one ``eps`` for both.
    weight_decay
        >= 0.  Default 0.
    decoupled_weight_decay
        As in `fastopt.AdamW`; False adds ``weight_decay * w`` to the gradient.  Default True.
    eps_in_state
        Whether eps_root is added to the s that is stored, and so accumulates (Algorithm 2 and all
        libraries), or only to s in the root.  Default True.
    eps_mode
        "corrected" (default; Algorithm 2, optax) or "hat" (DL4J; timm with ``rectify``).
    nesterov
        Use beta1*m/(1 - beta1^(t+1)) + (1 - beta1)*g/c1 in place of m/c1 (optax).  Default False.
    rectify
        Multiply the step by R of `fastopt.RAdam`.  While rho is less than 5, the step is lr/c1 * m.
        With eps_mode="hat", this is the default of the authors' package and of timm.  Default
        False.
    **common
        ``maximize``, ``max_grad_norm``, ``ema_decay``, ``n_threads`` and all other keywords of
        `fastopt.Optimizer`.

    Raises
    ------
    FastoptError, TypeError
        An option is outside its range or of the wrong type, or a parameter cannot be updated.

    Notes
    -----
    AdaBelief is for networks that are trained with Adam: its steps are longer where gradients have
    little noise.  Where they are constant, only eps and eps_root limit the steps.

    State: ``exp_avg`` (m) and ``exp_avg_var`` (s).

    The authors say that the accumulation of eps_root was not intended, and keep it for
    reproducible results.

    References
    ----------
    Zhuang et al. 2020, AdaBelief optimizer: adapting stepsizes by the belief in observed gradients,
    Algorithm 2 (arXiv 2010.07468).  Liu et al. 2020, On the variance of the adaptive learning rate
    and beyond, Algorithm 2, for ``rectify`` (arXiv 1908.03265).

    Examples
    --------
    >>> import numpy as np, fastopt
    >>> w = np.zeros(2)
    >>> fastopt.AdaBelief(w, lr=0.09).step(np.array([3.0, -0.01]))
    >>> w.round(6)
    array([-0.1,  0.1])
    """

    _checks = {
        "betas": Pair(decay_rate),
        "eps": at_least_0,
        "eps_root": at_least_0,
        "eps_in_state": flag,
        "eps_mode": Choice(("corrected", "hat")),
        "nesterov": flag,
        "rectify": flag,
    }

    def __init__(
        self,
        params: Params,
        lr: Lr = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-16,
        weight_decay: float = 0.0,
        *,
        decoupled_weight_decay: bool | str = True,
        eps_root: float = 1e-16,
        eps_in_state: bool = True,
        eps_mode: str = "corrected",
        nesterov: bool = False,
        rectify: bool = False,
        **common: Unpack[Extra],
    ) -> None:
        options = dict(
            lr=lr,
            betas=betas,
            eps=eps,
            weight_decay=weight_decay,
            eps_root=eps_root,
            eps_in_state=eps_in_state,
            eps_mode=eps_mode,
            nesterov=nesterov,
            rectify=rectify,
        )
        super().__init__(params, options, decoupled_weight_decay=decoupled_weight_decay, **common)

    @staticmethod
    def _kernel(options: Mapping[str, Any]) -> tuple[str, tuple[str, ...]]:
        return "adabelief", ("exp_avg", "exp_avg_var")

    @staticmethod
    def _hyperparameters(options: Mapping[str, Any]) -> dict[str, float]:
        beta1, beta2 = options["betas"]
        return {"beta1": beta1, "beta2": beta2, "eps_hat": options["eps_mode"] == "hat"}
