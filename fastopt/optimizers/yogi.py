"""Yogi: the rule yogi of csrc."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Unpack

from fastopt._checks import Choice, Pair, at_least_0, decay_rate, flag
from fastopt.optimizers.base.arguments import Common, Lr, Params
from fastopt.optimizers.base.optimizer import Optimizer


class Yogi(Optimizer):
    """Yogi: Adam whose mean of squares changes by at most (1 - beta2)*g^2 at each step.

    At step t, counted from 1, with c1 = 1 - beta1^t and c2 = 1 - beta2^t; m is at first
    initial_exp_avg, v initial_accumulator_value::

        m <- beta1*m + (1 - beta1)*g
        v <- v - (1 - beta2)*sign(v - g^2)*g^2
        w <- w - lr/c1 * m / (sqrt(v/c2 + eps_root) + eps)            eps_mode="corrected"
        w <- w - lr*sqrt(c2)/c1 * m / (sqrt(v + eps_root) + eps)      eps_mode="hat"

    Parameters
    ----------
    params
        Arrays to update in place: one, a list, a dict, or a list of group dicts.
    lr
        Learning rate >= 0, or a schedule.  Default 1e-2.
    betas
        beta1 and beta2, each 0 <= beta < 1.  Default (0.9, 0.999).
    eps, eps_root
        >= 0, outside and inside the root.  Default 1e-3 and 0.
    weight_decay
        >= 0, added to the gradient as ``weight_decay * w``.  Default 0.
    initial_accumulator_value
        The initial value of v, >= 0.  Default 1e-6.
    initial_exp_avg
        The initial value of m, >= 0.  Default 0; optax and pytorch-optimizer start m at 1e-6 too,
        so that parameters whose gradients are 0 move.
    eps_mode
        "corrected" (default; optax) or "hat" (TensorFlow Addons).
    bias_correction
        Whether m and v are corrected; without correction c1 or c2 is 1.  Default (True, True);
        Algorithm 2 has none.
    **common
        ``decoupled_weight_decay``, ``maximize``, ``max_grad_norm``, ``ema_decay``, ``n_threads``
        and all other keywords of `fastopt.Optimizer`.

    Raises
    ------
    FastoptError, TypeError
        An option is outside its range or of the wrong type, or a parameter cannot be updated.

    Notes
    -----
    Yogi is for sparse or heavy-tailed gradients, where Adam's v falls so fast after a large
    gradient that its steps become too long.

    State: ``exp_avg`` (m) and ``exp_avg_sq`` (v).

    References
    ----------
    Zaheer, Reddi, Sachan, Kale & Kumar 2018, Adaptive methods for nonconvex optimization,
    Algorithm 2 (NeurIPS).

    Examples
    --------
    >>> import numpy as np, fastopt
    >>> w = np.zeros(2)
    >>> fastopt.Yogi(w, lr=0.1).step(np.array([3.0, -0.01]))
    >>> w.round(6)
    array([-0.099961,  0.029269])
    """

    _checks = {
        "betas": Pair(decay_rate),
        "eps": at_least_0,
        "initial_accumulator_value": at_least_0,
        "initial_exp_avg": at_least_0,
        "eps_root": at_least_0,
        "eps_mode": Choice(("corrected", "hat")),
        "bias_correction": Pair(flag),
    }
    _only_at_start = frozenset({"initial_accumulator_value", "initial_exp_avg"})

    def __init__(
        self,
        params: Params,
        lr: Lr = 1e-2,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-3,
        weight_decay: float = 0.0,
        initial_accumulator_value: float = 1e-6,
        *,
        initial_exp_avg: float = 0.0,
        eps_root: float = 0.0,
        eps_mode: str = "corrected",
        bias_correction: tuple[bool, bool] = (True, True),
        **common: Unpack[Common],
    ) -> None:
        options = dict(
            lr=lr,
            betas=betas,
            eps=eps,
            weight_decay=weight_decay,
            initial_accumulator_value=initial_accumulator_value,
            initial_exp_avg=initial_exp_avg,
            eps_root=eps_root,
            eps_mode=eps_mode,
            bias_correction=bias_correction,
        )
        super().__init__(params, options, **common)

    @staticmethod
    def _kernel(options: Mapping[str, Any]) -> tuple[str, tuple[str, ...]]:
        return "yogi", ("exp_avg", "exp_avg_sq")

    @staticmethod
    def _hyperparameters(options: Mapping[str, Any]) -> dict[str, float]:
        beta1, beta2 = options["betas"]
        correct_m, correct_v = options["bias_correction"]
        return {
            "beta1": beta1,
            "beta2": beta2,
            "eps_hat": options["eps_mode"] == "hat",
            "correct_m": correct_m,
            "correct_v": correct_v,
        }

    @staticmethod
    def _divides_by_0(options: Mapping[str, Any]) -> bool:
        has_start = options["initial_accumulator_value"] > 0.0
        return Optimizer._divides_by_0(options) and not has_start

    @staticmethod
    def _initial_state(options: Mapping[str, Any]) -> dict[str, float | str]:
        return {
            "exp_avg": options["initial_exp_avg"],
            "exp_avg_sq": options["initial_accumulator_value"],
        }
