"""NovoGrad: the rule novograd of csrc."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Unpack

from fastopt._checks import Pair, at_least_0, decay_rate, flag
from fastopt.optimizers.base.arguments import Common, Lr, Params
from fastopt.optimizers.base.optimizer import Optimizer
from fastopt.optimizers.base.rule import SUMS_OF_TENSOR


class NovoGrad(Optimizer):
    """NovoGrad: momentum of gradients that are divided by their mean norm, for each array.

    At each step, with ``weight_decay`` = wd::

        v <- beta2*v + (1 - beta2)*norm(g)^2        (the first time: v <- norm(g)^2)
        m <- beta1*m + g/(sqrt(v + eps_root) + eps) + wd*w
        w <- w - lr*m

    v is one number for each array; the norm is over all its elements.

    Parameters
    ----------
    params
        Arrays to update in place: one, a list, a dict, or a list of group dicts.
    lr
        Learning rate >= 0, or a schedule.  Default 1e-3.
    betas
        beta1 and beta2, each 0 <= beta < 1.  Default (0.95, 0.98); those of optax are (0.9, 0.25).
    eps, eps_root
        >= 0, outside and inside the root.  Default 1e-8 and 0.
    weight_decay
        >= 0, added to m as above; with ``decoupled_weight_decay`` w is decayed instead, as for
        other rules.  Default 0.
    grad_averaging
        Whether what is added to m is multiplied by 1 - beta1, at the first step, too.  Default
        False.
    **common
        ``decoupled_weight_decay``, ``maximize``, ``max_grad_norm``, ``ema_decay``, ``n_threads``
        and all other keywords of `fastopt.Optimizer`.

    Raises
    ------
    FastoptError, TypeError
        An option is outside its range or of the wrong type, or a parameter cannot be updated.  A
        gradient is row-sparse.

    Notes
    -----
    NovoGrad is for speech and image models with large batches; it has half the state of Adam.

    State: ``exp_avg`` (m) and the scalar ``exp_avg_sq`` (v), kept in double precision.

    If the first gradients are 0, v starts at 0, as in optax; timm starts it at the first gradient
    that is not 0.

    The norm is a sum in the memory order of the parameter, so another memory layout may change the
    last digits.

    References
    ----------
    Ginsburg et al. 2019, Stochastic gradient methods with layer-wise adaptive moments for training
    of deep networks, Algorithm 1 (arXiv 1905.11286).

    Examples
    --------
    >>> import numpy as np, fastopt
    >>> w = np.zeros(2)
    >>> fastopt.NovoGrad(w, lr=0.1).step(np.array([3.0, -4.0]))
    >>> w.round(6)
    array([-0.06,  0.08])
    """

    _checks = {
        "betas": Pair(decay_rate),
        "eps": at_least_0,
        "eps_root": at_least_0,
        "grad_averaging": flag,
    }
    _own_decay = "wd"
    _scalars = {"exp_avg_sq": 0.0}

    def __init__(
        self,
        params: Params,
        lr: Lr = 1e-3,
        betas: tuple[float, float] = (0.95, 0.98),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        grad_averaging: bool = False,
        *,
        eps_root: float = 0.0,
        **common: Unpack[Common],
    ) -> None:
        options = dict(
            lr=lr,
            betas=betas,
            eps=eps,
            weight_decay=weight_decay,
            grad_averaging=grad_averaging,
            eps_root=eps_root,
        )
        super().__init__(params, options, **common)

    @staticmethod
    def _kernel(options: Mapping[str, Any]) -> tuple[str, tuple[str, ...]]:
        return "novograd", ("exp_avg",)

    @staticmethod
    def _hyperparameters(options: Mapping[str, Any]) -> dict[str, float]:
        beta1, beta2 = options["betas"]
        return {"beta1": beta1, "beta2": beta2}

    @staticmethod
    def _no_rows(options: Mapping[str, Any]) -> str:
        return SUMS_OF_TENSOR
