"""Adafactor: the rule adafactor of csrc."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Unpack

from fastopt._checks import Choice, OrNone, Pair, at_least_0, at_least_1, at_most_0, flag
from fastopt.optimizers.base.arguments import Extra, Lr, Params
from fastopt.optimizers.base.optimizer import Optimizer
from fastopt.optimizers.base.rule import SUMS_OF_TENSOR


class Adafactor(Optimizer):
    """Adafactor: the mean squares of a matrix are estimated from those of its rows and columns.

    At step t, counted from 1, with k = t^beta2_decay, and rms(x) the root of the mean of x^2 over
    all elements of a parameter::

        r <- r + k*(mean(g^2) - r)          mean over each row
        c <- c + k*(mean(g^2) - c)          mean over each column
        V = r * c / max(mean(r), eps1)
        u = g / max(sqrt(V), eps1)
        w <- w - min(lr, 1/sqrt(t)) * max(rms(w), eps2) * u / max(1, rms(u)/d)

    Rows and columns are those of the last two axes; each index of the other axes has a separate
    matrix.  A parameter with fewer than two axes has V <- V + k*(g^2 - V) instead.  rms(w) is of w
    before decoupled weight decay.

    Parameters
    ----------
    params
        Arrays to update in place: one, a list, a dict, or a list of group dicts.
    lr
        Learning rate >= 0, or a schedule: the size of a step relative to rms(w).  Default 1e-2.
    beta2_decay
        <= 0.  Default -0.8.
    eps
        The pair (eps1, eps2), each >= 0.  If eps1 is None, it is the machine epsilon of the dtype
        of the parameter: 2^-23 for float32, 2^-7 for bfloat16.  With eps1 = 0, an element whose
        gradients were all 0 becomes 0/0 = NaN.  Default (None, 1e-3).
    d
        >= 1; rms(u) is reduced to d if it is larger.  Default 1.
    weight_decay
        >= 0; w is multiplied by 1 - lr*weight_decay before the step.  Default 0.
    decoupled_weight_decay
        As in `fastopt.AdamW`.  Default True.
    eps_mode
        "clamp": as above.  "mean" (Keras, optax): eps1 is added to the means of g^2, or to g^2 if
        there are fewer than two axes, and is not used otherwise.
    relative_step
        Whether the learning rate is limited to 1/sqrt(t).  Default True; optax has False.
    scale_parameter
        Whether the step is multiplied by max(rms(w), eps2).  Default True.
    **common
        ``maximize``, ``max_grad_norm``, ``ema_decay``, ``n_threads`` and all other keywords of
        `fastopt.Optimizer`.  ``state_dtype`` does not change the state, which is small.

    Raises
    ------
    FastoptError, TypeError
        An option is outside its range or of the wrong type, or a parameter cannot be updated.  A
        gradient is row-sparse.

    Notes
    -----
    Adafactor is for models whose Adam state would not fit into memory.

    State: ``row_var`` (r) and ``col_var`` (c), of the parameter's shape with length 1 in the last
    axis and in the last but one; ``variance`` (V) for fewer than two axes.  So the state of a
    matrix has 1/columns + 1/rows of its elements.  A step uses additional memory of about 2 % of
    the parameters, or more if the last two axes are short.  For the weights of a convolution with
    small kernels, whose last two axes are those of the kernel, Adafactor saves little and is slower
    than Adam.

    eps1 is that of each parameter; torch.optim.Adafactor uses the one of the first parameter of a
    group for all of them.  optax factors the two largest axes, and only if both have 128 elements
    or more; here the last two axes are factored whatever their length, as in PyTorch and Keras.

    References
    ----------
    Shazeer & Stern 2018, Adafactor: adaptive learning rates with sublinear memory cost, Algorithms
    4 to 6 without momentum (arXiv 1804.04235).

    Examples
    --------
    >>> import numpy as np, fastopt
    >>> w = np.ones((2, 2))
    >>> opt = fastopt.Adafactor(w, lr=0.1)
    >>> opt.step(np.array([[1.0, 2.0], [2.0, 4.0]]))
    >>> w
    array([[0.9, 0.9],
           [0.9, 0.9]])
    >>> opt.state[0]["row_var"].tolist(), opt.state[0]["col_var"].tolist()
    ([[2.5], [10.0]], [[2.5, 10.0]])
    """

    _checks = {
        "beta2_decay": at_most_0,
        "eps": Pair(OrNone(at_least_0), at_least_0),
        "d": at_least_1,
        "eps_mode": Choice(("clamp", "mean")),
        "relative_step": flag,
        "scale_parameter": flag,
    }

    def __init__(
        self,
        params: Params,
        lr: Lr = 1e-2,
        beta2_decay: float = -0.8,
        eps: tuple[float | None, float] = (None, 1e-3),
        d: float = 1.0,
        weight_decay: float = 0.0,
        *,
        decoupled_weight_decay: bool | str = True,
        eps_mode: str = "clamp",
        relative_step: bool = True,
        scale_parameter: bool = True,
        **common: Unpack[Extra],
    ) -> None:
        options = dict(
            lr=lr,
            beta2_decay=beta2_decay,
            eps=eps,
            d=d,
            weight_decay=weight_decay,
            eps_mode=eps_mode,
            relative_step=relative_step,
            scale_parameter=scale_parameter,
        )
        super().__init__(params, options, decoupled_weight_decay=decoupled_weight_decay, **common)

    @staticmethod
    def _kernel(options: Mapping[str, Any]) -> tuple[str, tuple[str, ...]]:
        return "adafactor", ()

    @staticmethod
    def _factored(options: Mapping[str, Any], shape: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
        if len(shape) < 2:
            return {"variance": shape}
        return {"row_var": (*shape[:-1], 1), "col_var": (*shape[:-2], 1, shape[-1])}

    @staticmethod
    def _hyperparameters(options: Mapping[str, Any]) -> dict[str, float]:
        eps1, eps2 = options["eps"]
        return {
            "eps1": math.nan if eps1 is None else eps1,  # NaN: C has that of each parameter
            "eps2": eps2,
            "threshold": options["d"],
            "adds_eps1": options["eps_mode"] == "mean",
            "limits_lr": options["relative_step"],
            "scales": options["scale_parameter"],
        }

    @staticmethod
    def _divides_by_0(options: Mapping[str, Any]) -> bool:
        return bool(options["eps"][0] == 0.0)

    @staticmethod
    def _no_rows(options: Mapping[str, Any]) -> str:
        return SUMS_OF_TENSOR
