"""Lion: the rules lion and lion_cautious of csrc."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Unpack

from fastopt._checks import Pair, flag, fraction
from fastopt.optimizers.base.arguments import Extra, Lr, Params
from fastopt.optimizers.base.optimizer import Optimizer
from fastopt.optimizers.base.rule import SUMS_OF_TENSOR


class Lion(Optimizer):
    """Lion: steps of equal size in the direction of the sign of an averaged gradient.

    At each step, with sign(0) = 0::

        w <- w * (1 - lr*weight_decay)              decoupled_weight_decay=True or "lr"
        w <- w - lr * sign(beta1*m + (1 - beta1)*g)
        m <- beta2*m + (1 - beta2)*g

    With ``cautious`` elements move only if this sign is that of g; their steps are divided by the
    share of such elements in the array, but not by less than 1e-3.

    Parameters
    ----------
    params
        Arrays to update in place: one, a list, a dict, or a list of group dicts.
    lr
        Learning rate >= 0, or a schedule.  Default 1e-4.  Each element moves by lr at each step;
        the authors advise a third to a tenth of the learning rate of AdamW, and 3 to 10 times its
        weight decay.
    betas
        beta1 and beta2, each 0 <= beta <= 1.  Default (0.9, 0.99).
    weight_decay
        >= 0.  Default 0.
    decoupled_weight_decay
        As in `fastopt.AdamW`; False adds ``weight_decay * w`` to the gradient.  Default True.
        ``decoupled_weight_decay=True`` of the package lion-pytorch is "schedule_only" here.
    cautious
        See above.  Gradients must be dense.  Default False.
    **common
        ``maximize``, ``max_grad_norm``, ``ema_decay``, ``n_threads`` and all other keywords of
        `fastopt.Optimizer`.

    Raises
    ------
    FastoptError, TypeError
        An option is outside its range or of the wrong type, or a parameter cannot be updated.

    Notes
    -----
    Lion is for large networks for which Adam's state needs too much memory: it has one state array
    in place of two.

    State: ``exp_avg`` (m).

    A NaN gradient makes the element NaN, as in optax and Keras.  In lion-pytorch, such an element
    keeps its value in all later steps.

    References
    ----------
    Chen et al. 2023, Symbolic discovery of optimization algorithms, Algorithm 2 (arXiv 2302.06675).
    Liang et al. 2024, Cautious optimizers (arXiv 2411.16085); timm's ``caution``.

    Examples
    --------
    >>> import numpy as np, fastopt
    >>> w = np.zeros(3)
    >>> fastopt.Lion(w, lr=0.1).step(np.array([3.0, -0.01, 0.0]))
    >>> w
    array([-0.1,  0.1,  0. ])
    """

    _checks = {"betas": Pair(fraction), "cautious": flag}
    _only_at_start = frozenset({"cautious"})

    def __init__(
        self,
        params: Params,
        lr: Lr = 1e-4,
        betas: tuple[float, float] = (0.9, 0.99),
        weight_decay: float = 0.0,
        *,
        decoupled_weight_decay: bool | str = True,
        cautious: bool = False,
        **common: Unpack[Extra],
    ) -> None:
        options = dict(lr=lr, betas=betas, weight_decay=weight_decay, cautious=cautious)
        super().__init__(params, options, decoupled_weight_decay=decoupled_weight_decay, **common)

    _float8 = {"exp_avg": "signed"}

    @staticmethod
    def _kernel(options: Mapping[str, Any]) -> tuple[str, tuple[str, ...]]:
        return "lion_cautious" if options["cautious"] else "lion", ("exp_avg",)

    @staticmethod
    def _hyperparameters(options: Mapping[str, Any]) -> dict[str, float]:
        beta1, beta2 = options["betas"]
        return {"beta1": beta1, "beta2": beta2}

    @staticmethod
    def _no_rows(options: Mapping[str, Any]) -> str:
        return SUMS_OF_TENSOR if options["cautious"] else ""
