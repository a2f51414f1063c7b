"""Adam, AMSGrad and AdamW: the rules adam, adam_amsgrad, adam_cautious and adam_rowwise."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Unpack

from fastopt._checks import Choice, Pair, at_least_0, decay_rate, flag
from fastopt._errors import FastoptError
from fastopt.optimizers.base.arguments import Common, Lr, Params
from fastopt.optimizers.base.optimizer import Optimizer
from fastopt.optimizers.base.rule import SUMS_OF_TENSOR


class Adam(Optimizer):
    """Adam: running means of the gradient and its square, corrected for their bias towards 0.

    At step t, counted from 1, with c1 = 1 - beta1^t and c2 = 1 - beta2^t::

        m <- beta1*m + (1 - beta1)*g
        v <- beta2*v + (1 - beta2)*g^2
        w <- w - lr/c1 * m / (sqrt(v/c2 + eps_root) + eps)            eps_mode="corrected"
        w <- w - lr*sqrt(c2)/c1 * m / (sqrt(v + eps_root) + eps)      eps_mode="hat"

    With ``amsgrad`` the largest v so far is used in place of v.  With ``cautious`` elements move
    only if m and g have the same sign; their steps are divided by the share of such elements in the
    array, but not by less than 1e-3.  With ``rowwise`` all elements of a row (an index of axis 0)
    share one v, which averages mean(g^2).

    Parameters
    ----------
    params
        Arrays to update in place: one, a list, a dict, or a list of group dicts.
    lr
        Learning rate >= 0, or a schedule.  Default 1e-3.
    betas
        beta1 and beta2, each 0 <= beta < 1.  Default (0.9, 0.999).
    eps, eps_root
        >= 0, outside and inside the root.  Default 1e-8 and 0.
    weight_decay
        >= 0, added to the gradient as ``weight_decay * w``.  Default 0.
    amsgrad
        True or "raw": the largest v is used (the paper, PyTorch, Keras); "corrected": the largest
        v/c2 (optax), which is not divided by c2 again.  Default False.
    eps_mode
        "corrected" (default; Algorithm 1, PyTorch) or "hat" (end of section 2; Keras,
        scikit-learn).
    bias_correction
        Whether m and v are corrected; without correction c1 or c2 is 1.  Default (True, True).
    cautious
        See above.  Not with ``amsgrad``; gradients must be dense.  Default False.
    rowwise
        Keep one v for each row, as is usual for tables of embeddings: v has as many elements as
        the parameter has rows.  Parameters need at least one axis; gradients may be dense or
        `RowSparse`; ``state_dtype="bfloat16"`` is not allowed.  Not with ``amsgrad`` or
        ``cautious``.  Default False.
    **common
        ``decoupled_weight_decay``, ``maximize``, ``max_grad_norm``, ``ema_decay``, ``n_threads``
        and all other keywords of `fastopt.Optimizer`.

    Raises
    ------
    FastoptError, TypeError
        An option is outside its range or of the wrong type, or a parameter cannot be updated.

    Notes
    -----
    Adam is for neural networks of most kinds, with little tuning; for weight decay see
    `fastopt.AdamW`.

    State: ``exp_avg`` (m), ``exp_avg_sq`` (v; with ``rowwise`` of shape ``(param.shape[0],)``),
    with amsgrad ``max_exp_avg_sq``.

    References
    ----------
    Kingma & Ba 2015, Adam: a method for stochastic optimization, Algorithm 1 (arXiv 1412.6980).
    Reddi, Kale & Kumar 2018, On the convergence of Adam and beyond, Algorithm 2.
    FBGEMM's PARTIAL_ROWWISE_ADAM.
    Liang et al. 2024, Cautious optimizers, Algorithm 2 (arXiv 2411.16085); timm's ``caution``.

    Examples
    --------
    >>> import numpy as np, fastopt
    >>> w = np.zeros(2)
    >>> opt = fastopt.Adam(w, lr=0.1)
    >>> opt.step(np.array([3.0, -0.01]))
    >>> w.round(6)
    array([-0.1,  0.1])
    """

    _checks = {
        "betas": Pair(decay_rate),
        "eps": at_least_0,
        "amsgrad": Choice((False, True, "raw", "corrected")),
        "eps_root": at_least_0,
        "eps_mode": Choice(("corrected", "hat")),
        "bias_correction": Pair(flag),
        "cautious": flag,
        "rowwise": flag,
    }
    _only_at_start = frozenset({"cautious"})

    def __init__(
        self,
        params: Params,
        lr: Lr = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        amsgrad: bool | str = False,
        *,
        eps_root: float = 0.0,
        eps_mode: str = "corrected",
        bias_correction: tuple[bool, bool] = (True, True),
        cautious: bool = False,
        rowwise: bool = False,
        **common: Unpack[Common],
    ) -> None:
        options = dict(
            lr=lr,
            betas=betas,
            eps=eps,
            weight_decay=weight_decay,
            amsgrad=amsgrad,
            eps_root=eps_root,
            eps_mode=eps_mode,
            bias_correction=bias_correction,
            cautious=cautious,
            rowwise=rowwise,
        )
        super().__init__(params, options, **common)

    _float8 = {"exp_avg": "signed", "exp_avg_sq": "non-negative"}

    @staticmethod
    def _kernel(options: Mapping[str, Any]) -> tuple[str, tuple[str, ...]]:
        if options["amsgrad"]:
            return "adam_amsgrad", ("exp_avg", "exp_avg_sq", "max_exp_avg_sq")
        variant = "_cautious" if options["cautious"] else "_rowwise" if options["rowwise"] else ""
        return f"adam{variant}", ("exp_avg", "exp_avg_sq")

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
            "max_corrected": options["amsgrad"] == "corrected",
        }

    @staticmethod
    def _by_row(options: Mapping[str, Any]) -> str | None:
        return "exp_avg_sq" if options["rowwise"] else None

    @staticmethod
    def _no_rows(options: Mapping[str, Any]) -> str:
        return SUMS_OF_TENSOR if options["cautious"] else ""

    @staticmethod
    def _require(options: Mapping[str, Any]) -> None:
        if bool(options["amsgrad"]) + options["cautious"] + options["rowwise"] > 1:
            raise FastoptError(
                f"amsgrad={options['amsgrad']!r}, cautious={options['cautious']} and "
                f"rowwise={options['rowwise']}; only one of them is allowed"
            )
        if options["amsgrad"] == "corrected" and options["eps_mode"] == "hat":
            raise FastoptError(
                "amsgrad='corrected' keeps v/c2, eps_mode='hat' does not divide by c2; "
                "use amsgrad='raw' or eps_mode='corrected'"
            )


class AdamW(Adam):
    """AdamW: Adam with decoupled weight decay, applied to the parameter instead of the gradient.

    Before Adam's update in the same step::

        w <- w * (1 - lr*weight_decay)                decoupled_weight_decay=True or "lr"
        w <- w * (1 - lr/lr_base*weight_decay)        decoupled_weight_decay="schedule_only"

    where lr_base is the learning rate given at construction or the schedule's ``lr``.

    Parameters
    ----------
    params, lr, betas, eps, amsgrad, **options
        As in `fastopt.Adam`.
    weight_decay
        >= 0.  Default 1e-2.
    decoupled_weight_decay
        True, "lr" or "schedule_only": see above.  "proximal" and False: see `fastopt.Optimizer`.
        Default True.

    Raises
    ------
    FastoptError, TypeError
        As in `fastopt.Adam`.

    Notes
    -----
    AdamW is for transformers, and for all networks whose weights should be regularized.

    References
    ----------
    Loshchilov & Hutter 2019, Decoupled weight decay regularization, Algorithm 2
    (arXiv 1711.05101), which is "schedule_only"; PyTorch's is "lr".

    Examples
    --------
    >>> import numpy as np, fastopt
    >>> w = np.ones(1)
    >>> fastopt.AdamW(w, lr=0.1, weight_decay=0.5).step(np.zeros(1))
    >>> w
    array([0.95])
    """

    def __init__(
        self,
        params: Params,
        lr: Lr = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        amsgrad: bool | str = False,
        *,
        decoupled_weight_decay: bool | str = True,
        **options: Any,
    ) -> None:
        super().__init__(
            params,
            lr,
            betas,
            eps,
            weight_decay,
            amsgrad,
            decoupled_weight_decay=decoupled_weight_decay,
            **options,
        )
