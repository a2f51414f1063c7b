"""AdaGrad: the rules adagrad and adagrad_rowwise of csrc."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Unpack

from fastopt._checks import at_least_0, flag
from fastopt.optimizers.base.arguments import Common, Lr, Params
from fastopt.optimizers.base.optimizer import Optimizer


class Adagrad(Optimizer):
    """AdaGrad: the learning rate of each element decreases with the sum of its squared gradients.

    At step t, counted from 1::

        s <- s + g^2
        w <- w - lr/(1 + (t - 1)*lr_decay) * g / (sqrt(s + eps_root) + eps)

    With ``rowwise``, all elements of a row (an index of axis 0) share one s::

        s <- s + mean(g^2)

    Parameters
    ----------
    params
        Arrays to update in place: one, a list, a dict, or a list of group dicts.
    lr
        Learning rate >= 0, or a schedule.  Default 1e-2.
    lr_decay
        >= 0.  Default 0.
    weight_decay
        >= 0, added to the gradient as ``weight_decay * w``.  Default 0.
    initial_accumulator_value
        The initial value of s, >= 0.  Default 0.
    eps, eps_root
        >= 0, outside and inside the root.  Default 1e-10 and 0.  With both 0, an element whose
        gradients were all 0 becomes 0/0 = NaN, as in PyTorch; optax leaves it unchanged.
    rowwise
        Keep one accumulator for each row, as is usual for tables of embeddings: the state has as
        many elements as the parameter has rows.  Parameters need at least one axis; gradients may
        be dense or `RowSparse`; ``state_dtype="bfloat16"`` is not allowed.  Default False.
    **common
        ``decoupled_weight_decay``, ``maximize``, ``max_grad_norm``, ``ema_decay``, ``n_threads``
        and all other keywords of `fastopt.Optimizer`.

    Raises
    ------
    FastoptError, TypeError
        An option is outside its range or of the wrong type, or a parameter cannot be updated.

    Notes
    -----
    Adagrad is for sparse features: the learning rate of rare ones stays large.

    State: ``sum``, of the parameter's shape; with ``rowwise`` of shape ``(param.shape[0],)``.

    References
    ----------
    Duchi, Hazan & Singer 2011, Adaptive subgradient methods, Figure 1 with the diagonal G.
    Gupta et al. 2020, Training recommender systems at scale; FBGEMM's EXACT_ROWWISE_ADAGRAD.

    Examples
    --------
    >>> import numpy as np, fastopt
    >>> w = np.zeros(2)
    >>> fastopt.Adagrad(w, lr=0.5).step(np.array([2.0, -8.0]))
    >>> w.round(6)
    array([-0.5,  0.5])
    """

    _checks = {
        "lr_decay": at_least_0,
        "initial_accumulator_value": at_least_0,
        "eps": at_least_0,
        "eps_root": at_least_0,
        "rowwise": flag,
    }
    _only_at_start = frozenset({"initial_accumulator_value"})

    def __init__(
        self,
        params: Params,
        lr: Lr = 1e-2,
        lr_decay: float = 0.0,
        weight_decay: float = 0.0,
        initial_accumulator_value: float = 0.0,
        eps: float = 1e-10,
        *,
        eps_root: float = 0.0,
        rowwise: bool = False,
        **common: Unpack[Common],
    ) -> None:
        options = dict(
            lr=lr,
            lr_decay=lr_decay,
            weight_decay=weight_decay,
            initial_accumulator_value=initial_accumulator_value,
            eps=eps,
            eps_root=eps_root,
            rowwise=rowwise,
        )
        super().__init__(params, options, **common)

    _float8 = {"sum": "non-negative"}

    @staticmethod
    def _kernel(options: Mapping[str, Any]) -> tuple[str, tuple[str, ...]]:
        return "adagrad_rowwise" if options["rowwise"] else "adagrad", ("sum",)

    @staticmethod
    def _divides_by_0(options: Mapping[str, Any]) -> bool:
        has_start = options["initial_accumulator_value"] > 0.0
        return Optimizer._divides_by_0(options) and not has_start

    @staticmethod
    def _by_row(options: Mapping[str, Any]) -> str | None:
        return "sum" if options["rowwise"] else None

    @staticmethod
    def _initial_state(options: Mapping[str, Any]) -> dict[str, float | str]:
        return {"sum": options["initial_accumulator_value"]}
