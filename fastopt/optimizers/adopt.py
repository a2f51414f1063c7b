"""ADOPT: the rule adopt of csrc."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Unpack

from fastopt._checks import OrNone, Pair, at_least_0, decay_rate
from fastopt.optimizers.base.arguments import Extra, Lr, Params
from fastopt.optimizers.base.optimizer import Optimizer


class ADOPT(Optimizer):
    """ADOPT: Adam that divides a gradient by the v of the step before, so that any beta2 converges.

    The first step sets v to g^2 and moves nothing.  At step t > 1::

        x  = clip(g / max(sqrt(v), eps), -c, c)   with c = (t - 1)^clip_exp
        m <- beta1*m + (1 - beta1)*x
        w <- w - lr*m
        v <- beta2*v + (1 - beta2)*g^2

    Parameters
    ----------
    params
        Arrays to update in place: one, a list, a dict, or a list of group dicts.
    lr
        Learning rate >= 0, or a schedule.  Default 1e-3.
    betas
        beta1 and beta2, each 0 <= beta < 1.  Default (0.9, 0.9999).
    eps
        >= 0.  Default 1e-6.
    weight_decay
        >= 0, added to the gradient as ``weight_decay * w``.  Default 0.
    decoupled_weight_decay
        As in `fastopt.AdamW`.  Default False.  The first step decays w too, as in optax; the
        authors' code and timm leave it out.
    clip_exp
        >= 0, or None to clip nothing.  Default 0.25 (the paper, optax); timm's default is 0.333.
    **common
        ``maximize``, ``max_grad_norm``, ``ema_decay``, ``n_threads`` and all other keywords of
        `fastopt.Optimizer`.

    Raises
    ------
    FastoptError, TypeError
        An option is outside its range or of the wrong type, or a parameter cannot be updated.

    Notes
    -----
    ADOPT is for training in which Adam's beta2 would have to be tuned.

    State: ``exp_avg`` (m) and ``exp_avg_sq`` (v).  m is not corrected for its bias towards 0.

    References
    ----------
    Taniguchi et al. 2024, ADOPT: modified Adam can converge with any beta2 with the optimal rate,
    Algorithm 2 (arXiv 2411.02853).

    Examples
    --------
    >>> import numpy as np, fastopt
    >>> w = np.zeros(2)
    >>> opt = fastopt.ADOPT(w, lr=0.1)
    >>> opt.step(np.array([2.0, -8.0]))
    >>> opt.step(np.array([1.0, -9.0]))
    >>> w.round(6)
    array([-0.005,  0.01 ])
    """

    _checks = {"betas": Pair(decay_rate), "eps": at_least_0, "clip_exp": OrNone(at_least_0)}

    def __init__(
        self,
        params: Params,
        lr: Lr = 1e-3,
        betas: tuple[float, float] = (0.9, 0.9999),
        eps: float = 1e-6,
        weight_decay: float = 0.0,
        decoupled_weight_decay: bool | str = False,
        *,
        clip_exp: float | None = 0.25,
        **common: Unpack[Extra],
    ) -> None:
        options = dict(lr=lr, betas=betas, eps=eps, weight_decay=weight_decay, clip_exp=clip_exp)
        super().__init__(
            params,
            options,
            decoupled_weight_decay=decoupled_weight_decay,
            **common,
        )

    @staticmethod
    def _kernel(options: Mapping[str, Any]) -> tuple[str, tuple[str, ...]]:
        return "adopt", ("exp_avg", "exp_avg_sq")

    @staticmethod
    def _hyperparameters(options: Mapping[str, Any]) -> dict[str, float]:
        beta1, beta2 = options["betas"]
        clip_exp = options["clip_exp"]
        return {
            "beta1": beta1,
            "beta2": beta2,
            "clip": clip_exp is not None,
            "clip_exp": clip_exp or 0.0,
        }
