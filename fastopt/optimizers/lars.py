"""LARS: the rule lars of csrc."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Unpack

from fastopt._checks import Choice, Real, at_least_0, flag
from fastopt._errors import FastoptError
from fastopt.optimizers.base.arguments import Common, Lr, Params
from fastopt.optimizers.base.optimizer import Optimizer
from fastopt.optimizers.base.rule import SUMS_OF_TENSOR


class LARS(Optimizer):
    """LARS: momentum whose steps are scaled, for each parameter array, to its norm.

    At each step, with ``weight_decay`` = wd and ``momentum`` = mu::

        ratio = trust_coefficient*norm(w) / (norm(g) + wd*norm(w) + eps)
        h = ratio * (g + wd*w)
        b <- mu*b + (1 - dampening)*h       (first_step="copy": b <- h the first time)
        w <- w - lr*b                       nesterov=False
        w <- w - lr*(h + mu*b)              nesterov=True

    The norms are over all elements of an array.  If one of them is 0, the ratio is 1.

    Parameters
    ----------
    params
        Arrays to update in place: one, a list, a dict, or a list of group dicts.
    lr
        Learning rate >= 0, or a schedule.  Default 1.
    momentum
        mu >= 0.  Default 0.9; timm's is 0.
    dampening
        Any number.  Default 0.
    weight_decay
        >= 0, as above; with ``decoupled_weight_decay`` w is decayed instead, as for other rules.
        Default 0.
    nesterov
        True needs momentum > 0 and dampening 0.  Default False.
    trust_coefficient, eps
        >= 0.  Default 1e-3 and 1e-8.
    lr_in_buffer
        Whether b accumulates lr*h rather than h (the paper, optax; see `fastopt.SGD`).  Default
        False (timm).
    first_step
        "copy" or "accumulate", as in `fastopt.SGD`.  Default "copy".
    decay_in_norm
        False (the paper, timm): the ratio as above.  True (optax): its divisor is
        norm(g + wd*w) + eps.  Default False.
    always_adapt
        False: the ratio is 1 where ``weight_decay`` is 0.  Default True, as in the paper and optax;
        timm's default is False.
    trust_clip
        Divide the ratio by lr, and limit it to 1: the rate lr*ratio is at most lr (LARC, timm).
        Default False.
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
    LARS is for convolutional networks that are trained with large batches.

    State: ``momentum_buffer`` (b).

    The norms are sums in the memory order of the parameter, so another memory layout may change the
    last digits.

    References
    ----------
    You, Gitman & Ginsburg 2017, Large batch training of convolutional networks, Algorithm 1
    (arXiv 1708.03888), which has lr in the buffer.

    Examples
    --------
    >>> import numpy as np, fastopt
    >>> w = np.array([3.0, 4.0])
    >>> fastopt.LARS(w, lr=10.0).step(np.array([0.0, 2.0]))
    >>> w.round(5)  # the ratio is 0.001*5/2
    array([3.  , 3.95])
    """

    _checks = {
        "momentum": at_least_0,
        "dampening": Real(),
        "nesterov": flag,
        "trust_coefficient": at_least_0,
        "eps": at_least_0,
        "lr_in_buffer": flag,
        "first_step": Choice(("copy", "accumulate")),
        "decay_in_norm": flag,
        "always_adapt": flag,
        "trust_clip": flag,
    }
    _own_decay = "wd"

    def __init__(
        self,
        params: Params,
        lr: Lr = 1.0,
        momentum: float = 0.9,
        dampening: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
        trust_coefficient: float = 1e-3,
        eps: float = 1e-8,
        *,
        lr_in_buffer: bool = False,
        first_step: str = "copy",
        decay_in_norm: bool = False,
        always_adapt: bool = True,
        trust_clip: bool = False,
        **common: Unpack[Common],
    ) -> None:
        options = dict(
            lr=lr,
            momentum=momentum,
            dampening=dampening,
            weight_decay=weight_decay,
            nesterov=nesterov,
            trust_coefficient=trust_coefficient,
            eps=eps,
            lr_in_buffer=lr_in_buffer,
            first_step=first_step,
            decay_in_norm=decay_in_norm,
            always_adapt=always_adapt,
            trust_clip=trust_clip,
        )
        super().__init__(params, options, **common)

    @staticmethod
    def _kernel(options: Mapping[str, Any]) -> tuple[str, tuple[str, ...]]:
        return "lars", ("momentum_buffer",)

    @staticmethod
    def _hyperparameters(options: Mapping[str, Any]) -> dict[str, float]:
        return {
            "copy_first": options["first_step"] == "copy",
            "adapts": options["always_adapt"] or options["weight_decay"] > 0,
        }

    @staticmethod
    def _no_rows(options: Mapping[str, Any]) -> str:
        return SUMS_OF_TENSOR

    @staticmethod
    def _divides_by_0(options: Mapping[str, Any]) -> bool:
        return False

    @staticmethod
    def _require(options: Mapping[str, Any]) -> None:
        if options["nesterov"] and not (options["momentum"] > 0 and options["dampening"] == 0):
            raise FastoptError(
                f"nesterov=True needs momentum > 0 and dampening 0, not "
                f"momentum={options['momentum']} and dampening={options['dampening']}"
            )
