"""SM3: the rules sm3 and sm3_momentum of csrc."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Unpack

from fastopt._checks import at_least_0, decay_rate
from fastopt.optimizers.base.arguments import Common, Lr, Params
from fastopt.optimizers.base.optimizer import Optimizer
from fastopt.optimizers.base.rule import SUMS_OF_TENSOR, axis_shapes


class SM3(Optimizer):
    """SM3-II: AdaGrad with one accumulator for each index of each axis.

    At each step, for each element, with a the accumulators of its indices::

        nu = min(a) + g^2
        w <- w - lr * g / sqrt(nu + eps)
        a <- max(nu)                        of all elements with the index

    With ``momentum`` > 0::

        m <- momentum*m + (1 - momentum) * g / sqrt(nu + eps)
        w <- w - lr*m

    Parameters
    ----------
    params
        Arrays to update in place: one, a list, a dict, or a list of group dicts.
    lr
        Learning rate >= 0, or a schedule.  Default 0.1.
    momentum
        0 <= momentum < 1.  Default 0; optax's sm3 has 0.9.
    eps
        >= 0, inside the root.  With 0, an element whose gradients were all 0 becomes 0/0 = NaN.
        Default 1e-30.
    weight_decay
        >= 0, added to the gradient as ``weight_decay * w``.  Default 0.
    **common
        ``decoupled_weight_decay``, ``maximize``, ``max_grad_norm``, ``ema_decay``, ``n_threads``
        and all other keywords of `fastopt.Optimizer`.  ``state_dtype`` is that of
        ``momentum_buffer``; accumulators have the dtype of the computation.

    Raises
    ------
    FastoptError, TypeError
        An option is outside its range or of the wrong type, or a parameter cannot be updated.  A
        gradient is row-sparse.

    Notes
    -----
    SM3 is for large embeddings and layers with sparse activations, where AdaGrad is used but its
    state would not fit into memory.  For a parameter of one axis it is AdaGrad.

    State: ``accumulator_0``, ``accumulator_1``, ..., one for each axis, of the parameter's length
    in this axis and of length 1 in the others; with ``momentum``, ``momentum_buffer`` (m).

    References
    ----------
    Anil, Gupta, Koren & Singer 2019, Memory-efficient adaptive optimization, Algorithm SM3-II
    (arXiv 1901.11150).  The sets of its cover are the indices of the axes.

    Examples
    --------
    >>> import numpy as np, fastopt
    >>> w = np.zeros((2, 2))
    >>> opt = fastopt.SM3(w)
    >>> opt.step(np.array([[1.0, 2.0], [0.0, 4.0]]))
    >>> w + 0.0
    array([[-0.1, -0.1],
           [ 0. , -0.1]])
    >>> opt.state[0]["accumulator_0"].tolist(), opt.state[0]["accumulator_1"].tolist()
    ([[4.0], [16.0]], [[1.0, 16.0]])
    """

    _checks = {
        "momentum": decay_rate,
        "eps": at_least_0,
    }

    def __init__(
        self,
        params: Params,
        lr: Lr = 1e-1,
        momentum: float = 0.0,
        eps: float = 1e-30,
        weight_decay: float = 0.0,
        **common: Unpack[Common],
    ) -> None:
        options = dict(lr=lr, momentum=momentum, eps=eps, weight_decay=weight_decay)
        super().__init__(params, options, **common)

    @staticmethod
    def _kernel(options: Mapping[str, Any]) -> tuple[str, tuple[str, ...]]:
        if options["momentum"] > 0.0:
            return "sm3_momentum", ("momentum_buffer",)
        return "sm3", ()

    @staticmethod
    def _factored(options: Mapping[str, Any], shape: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
        return axis_shapes("accumulator", shape)

    @staticmethod
    def _no_rows(options: Mapping[str, Any]) -> str:
        return SUMS_OF_TENSOR
