"""QHAdam: the rule qhadam of csrc."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Unpack

from fastopt._checks import Pair, at_least_0, decay_rate, fraction
from fastopt.optimizers.base.arguments import Common, Lr, Params
from fastopt.optimizers.base.optimizer import Optimizer


class QHAdam(Optimizer):
    """QHAdam: Adam with weighted means of g and m, and of g^2 and v, in its step.

    At step t, counted from 1, with c1 = 1 - beta1^t and c2 = 1 - beta2^t::

        m <- beta1*m + (1 - beta1)*g
        v <- beta2*v + (1 - beta2)*g^2
        w <- w - lr * (nu1*m/c1 + (1 - nu1)*g) / (sqrt(nu2*v/c2 + (1 - nu2)*g^2) + eps)

    With the default nus this is Adam.

    Parameters
    ----------
    params
        Arrays to update in place: one, a list, a dict, or a list of group dicts.
    lr
        Learning rate >= 0, or a schedule.  Default 1e-3.
    betas
        beta1 and beta2, each 0 <= beta < 1.  Default (0.9, 0.999).
    nus
        nu1 and nu2, each 0 <= nu <= 1.  Default (1, 1).  The authors recommend nus=(0.7, 1.0) with
        betas=(0.995, 0.999); nu1 = beta1 is nearly NAdam.
    weight_decay
        >= 0, added to the gradient as ``weight_decay * w``.  Default 0.
    eps
        >= 0.  Default 1e-8.
    **common
        ``decoupled_weight_decay``, ``maximize``, ``max_grad_norm``, ``ema_decay``, ``n_threads``
        and all other keywords of `fastopt.Optimizer`.

    Raises
    ------
    FastoptError, TypeError
        An option is outside its range or of the wrong type, or a parameter cannot be updated.

    Notes
    -----
    QHAdam is for training with noisy gradients: it averages over more steps than Adam (a larger
    beta1), but still gives the present gradient a large weight.

    State: ``exp_avg`` (m) and ``exp_avg_sq`` (v), as in Adam.  The authors' package qhoptim stores
    m/c1 and v/c2 under these names.

    References
    ----------
    Ma & Yarats 2019, Quasi-hyperbolic momentum and Adam for deep learning, section 4
    (arXiv 1810.06801).

    Examples
    --------
    >>> import numpy as np, fastopt
    >>> w = np.zeros(2)
    >>> opt = fastopt.QHAdam(w, lr=0.1, nus=(0.7, 1.0), betas=(0.995, 0.999))
    >>> opt.step(np.array([3.0, -0.01]))
    >>> w.round(6)
    array([-0.1,  0.1])
    """

    _checks = {
        "betas": Pair(decay_rate),
        "nus": Pair(fraction),
        "eps": at_least_0,
    }

    def __init__(
        self,
        params: Params,
        lr: Lr = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        nus: tuple[float, float] = (1.0, 1.0),
        weight_decay: float = 0.0,
        *,
        eps: float = 1e-8,
        **common: Unpack[Common],
    ) -> None:
        options = dict(lr=lr, betas=betas, nus=nus, weight_decay=weight_decay, eps=eps)
        super().__init__(params, options, **common)

    @staticmethod
    def _kernel(options: Mapping[str, Any]) -> tuple[str, tuple[str, ...]]:
        return "qhadam", ("exp_avg", "exp_avg_sq")

    @staticmethod
    def _hyperparameters(options: Mapping[str, Any]) -> dict[str, float]:
        beta1, beta2 = options["betas"]
        nu1, nu2 = options["nus"]
        return {"beta1": beta1, "beta2": beta2, "nu1": nu1, "nu2": nu2}
