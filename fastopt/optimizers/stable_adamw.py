"""StableAdamW: the rule stable_adamw of csrc."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Unpack

from fastopt._checks import Pair, at_least_0, decay_rate
from fastopt.optimizers.base.arguments import Extra, Lr, Params
from fastopt.optimizers.base.optimizer import Optimizer
from fastopt.optimizers.base.rule import SUMS_OF_TENSOR


class StableAdamW(Optimizer):
    """StableAdamW: AdamW whose learning rate falls where gradients suddenly grow.

    At step t, counted from 1, with b1 = beta1*(1 - beta1^(t-1))/(1 - beta1^t) and b2 likewise::

        m <- b1*m + (1 - b1)*g
        v <- b2*v + (1 - b2)*g^2
        RMS = sqrt(mean(g^2 / max(v, eps^2)))
        rate = lr / max(1, RMS)
        w <- w - rate*weight_decay*w - rate * m / (sqrt(v) + eps)

    The mean is over all elements of an array.

    Parameters
    ----------
    params
        Arrays to update in place: one, a list, a dict, or a list of group dicts.
    lr
        Learning rate >= 0, or a schedule.  Default 1e-3.
    betas
        beta1 and beta2, each 0 <= beta < 1.  Default (0.9, 0.99).
    eps
        >= 0.  Default 1e-6.
    weight_decay
        >= 0.  Default 1e-2.
    decoupled_weight_decay
        True or "lr": as above.  "schedule_only": the factor of weight_decay*w is rate/lr_base, as
        in `fastopt.AdamW`.  False: it is added to the gradient.  Default True.
    **common
        ``maximize``, ``max_grad_norm``, ``ema_decay``, ``n_threads`` and all other keywords of
        `fastopt.Optimizer`.

    Raises
    ------
    FastoptError, TypeError
        An option is outside its range or of the wrong type, or a parameter cannot be updated.  A
        gradient is row-sparse.

    Notes
    -----
    StableAdamW is for large models whose loss has spikes; the authors use it in place of clipping
    gradients by their norm.

    State: ``exp_avg`` (m) and ``exp_avg_sq`` (v).  Both are already corrected for their bias, as in
    the packages optimi and pytorch_optimizer; those of `fastopt.AdamW` are not.

    The mean is a sum in the memory order of the parameter, so another memory layout may change the
    last digits.

    References
    ----------
    Wortsman et al. 2023, Stable and low-precision training for large-scale vision-language models,
    Algorithm 2 (arXiv 2304.13013).

    Examples
    --------
    >>> import numpy as np, fastopt
    >>> w = np.zeros(1)
    >>> opt = fastopt.StableAdamW(w, lr=0.1)
    >>> opt.step(np.array([1.0]))
    >>> w.round(6)
    array([-0.1])
    >>> opt.step(np.array([10.0]))  # v is now 50.7, and the RMS 1.4
    >>> w.round(6)
    array([-0.157297])
    """

    _checks = {"betas": Pair(decay_rate), "eps": at_least_0}

    def __init__(
        self,
        params: Params,
        lr: Lr = 1e-3,
        betas: tuple[float, float] = (0.9, 0.99),
        eps: float = 1e-6,
        weight_decay: float = 1e-2,
        *,
        decoupled_weight_decay: bool | str = True,
        **common: Unpack[Extra],
    ) -> None:
        options = dict(lr=lr, betas=betas, eps=eps, weight_decay=weight_decay)
        super().__init__(params, options, decoupled_weight_decay=decoupled_weight_decay, **common)

    @staticmethod
    def _kernel(options: Mapping[str, Any]) -> tuple[str, tuple[str, ...]]:
        return "stable_adamw", ("exp_avg", "exp_avg_sq")

    @staticmethod
    def _hyperparameters(options: Mapping[str, Any]) -> dict[str, float]:
        beta1, beta2 = options["betas"]
        return {"beta1": beta1, "beta2": beta2}

    @staticmethod
    def _no_rows(options: Mapping[str, Any]) -> str:
        return SUMS_OF_TENSOR
