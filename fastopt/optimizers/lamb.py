"""LAMB: the rule lamb of csrc."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Unpack

from fastopt._checks import Pair, at_least_0, decay_rate, flag
from fastopt.optimizers.base.arguments import Common, Lr, Params
from fastopt.optimizers.base.optimizer import Optimizer
from fastopt.optimizers.base.rule import SUMS_OF_TENSOR


class LAMB(Optimizer):
    """LAMB: Adam whose step is scaled, for each parameter array, to the norm of the parameter.

    At step t, counted from 1, with c1 = 1 - beta1^t and c2 = 1 - beta2^t::

        m <- beta1*m + (1 - beta1)*g
        v <- beta2*v + (1 - beta2)*g^2
        u = m/c1 / (sqrt(v/c2) + eps) + weight_decay*w
        w <- w - lr * norm(w)/norm(u) * u

    The norms are over all elements of an array.  If one of them is 0, the ratio is 1.

    Parameters
    ----------
    params
        Arrays to update in place: one, a list, a dict, or a list of group dicts.
    lr
        Learning rate >= 0, or a schedule.  Default 1e-3.
    betas
        beta1 and beta2, each 0 <= beta < 1.  Default (0.9, 0.999).
    eps
        >= 0.  Default 1e-6.
    weight_decay
        >= 0, added to u as above; with ``decoupled_weight_decay`` w is decayed instead, as for
        other rules.  Default 0.
    bias_correction
        Whether m and v are corrected; without correction c1 = c2 = 1.  Default True.
    always_adapt
        Whether the step is scaled if ``weight_decay`` is 0.  Default True, as in the paper, optax
        and Keras; timm's default is False.
    trust_clip
        Limit the ratio norm(w)/norm(u) to 1 (an option of timm).  Default False.
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
    LAMB is for large batches, for which the learning rate of Adam would have to differ by layer.

    State: ``exp_avg`` (m) and ``exp_avg_sq`` (v).

    The norms are sums in the memory order of the parameter, so another memory layout may change the
    last digits.

    References
    ----------
    You et al. 2020, Large batch optimization for deep learning: training BERT in 76 minutes,
    Algorithm 2 with phi(x) = x (arXiv 1904.00962).  ``decoupled_weight_decay=True`` is the form of
    Keras; timm also divides the gradient by its norm, if that is above 1: ``max_grad_norm=1.0``.

    Examples
    --------
    >>> import numpy as np, fastopt
    >>> w = np.array([3.0, 4.0])
    >>> fastopt.LAMB(w, lr=0.1).step(np.array([2.0, -8.0]))
    >>> w.round(5)  # norm(w)/norm(u) is 5/sqrt(2)
    array([2.64645, 4.35355])
    """

    _checks = {
        "betas": Pair(decay_rate),
        "eps": at_least_0,
        "bias_correction": flag,
        "always_adapt": flag,
        "trust_clip": flag,
    }
    _own_decay = "wd"

    def __init__(
        self,
        params: Params,
        lr: Lr = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-6,
        weight_decay: float = 0.0,
        *,
        bias_correction: bool = True,
        always_adapt: bool = True,
        trust_clip: bool = False,
        **common: Unpack[Common],
    ) -> None:
        options = dict(
            lr=lr,
            betas=betas,
            eps=eps,
            weight_decay=weight_decay,
            bias_correction=bias_correction,
            always_adapt=always_adapt,
            trust_clip=trust_clip,
        )
        super().__init__(params, options, **common)

    @staticmethod
    def _kernel(options: Mapping[str, Any]) -> tuple[str, tuple[str, ...]]:
        return "lamb", ("exp_avg", "exp_avg_sq")

    @staticmethod
    def _hyperparameters(options: Mapping[str, Any]) -> dict[str, float]:
        beta1, beta2 = options["betas"]
        return {
            "beta1": beta1,
            "beta2": beta2,
            "adapts": options["always_adapt"] or options["weight_decay"] > 0,
        }

    @staticmethod
    def _no_rows(options: Mapping[str, Any]) -> str:
        return SUMS_OF_TENSOR
