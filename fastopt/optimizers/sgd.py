"""Gradient descent, momentum and Nesterov: the rules sgd, momentum, sgd_normalized of csrc."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Unpack

from fastopt._checks import Choice, Real, at_least_0, flag
from fastopt._errors import FastoptError
from fastopt.optimizers.base.arguments import Common, Lr, Params
from fastopt.optimizers.base.optimizer import Optimizer
from fastopt.optimizers.base.rule import SUMS_OF_TENSOR


class SGD(Optimizer):
    """Gradient descent, with momentum or Nesterov's momentum.

    The same class is used for gradient descent (gradients of all samples), stochastic gradient
    descent (one sample) and mini-batch gradient descent (a few samples).  With ``momentum`` = mu
    and a buffer b::

        b <- mu*b + (1 - dampening)*g       (first_step="copy": b <- g the first time)
        w <- w - lr*b                       nesterov=False
        w <- w - lr*(g + mu*b)              nesterov=True

    With ``lr_in_buffer`` the buffer contains the factor lr (Polyak, Keras).  The result differs if
    the learning rate changes between steps::

        b <- mu*b + lr*(1 - dampening)*g
        w <- w - b                          nesterov=False
        w <- w - (mu*b + lr*g)              nesterov=True

    Parameters
    ----------
    params
        Arrays to update in place: one, a list, a dict, or a list of group dicts.
    lr
        Learning rate >= 0, or a schedule.  Default 1e-3.
    momentum
        mu >= 0.  Default 0: no buffer.
    dampening
        Any number.  Default 0.
    weight_decay
        >= 0, added to the gradient as ``weight_decay * w``.  Default 0.
    nesterov
        True needs momentum > 0 and dampening 0.  "lookahead" is Nesterov's original form: gradients
        are taken at w - mu*b, inside ``with opt.extrapolated():``; it also needs ``lr_in_buffer``.
        Default False.
    lr_in_buffer
        Whether b accumulates lr*g rather than g.  Default False (PyTorch).
    normalized
        "tensor" or "all": w <- w - lr*g/norm(g), with the norm of each array or of all gradients
        together; where it is 0, nothing moves.  Momentum must then be 0, and gradients dense.
        Default False.
    first_step
        "copy" (PyTorch: the first gradient is not damped) or "accumulate".  Default "copy".
    **common
        ``decoupled_weight_decay``, ``maximize``, ``max_grad_norm``, ``ema_decay``, ``n_threads``
        and all other keywords of `fastopt.Optimizer`.

    Raises
    ------
    FastoptError, TypeError
        An option is outside its range or of the wrong type, or a parameter cannot be updated.

    Notes
    -----
    SGD with momentum is for training whose learning rate is tuned, such as that of convolutional
    networks.

    State: ``momentum_buffer``, with momentum > 0.  Keras's velocity has the opposite sign.

    References
    ----------
    Polyak 1964, Some methods of speeding up the convergence of iteration methods, eq. 9.
    Nesterov 1983; Sutskever et al. 2013, eq. 3-4.
    Hazan, Levy & Shalev-Shwartz 2015, Beyond convexity: stochastic quasi-convex optimization,
    Algorithm 1 (``normalized="all"``).

    Examples
    --------
    >>> import numpy as np, fastopt
    >>> w = np.array([1.0, 2.0])
    >>> opt = fastopt.SGD(w, lr=0.5)
    >>> opt.step(np.array([1.0, -1.0]))
    >>> w
    array([0.5, 2.5])
    """

    _checks = {
        "momentum": at_least_0,
        "dampening": Real(),
        "nesterov": Choice((False, True, "lookahead")),
        "lr_in_buffer": flag,
        "first_step": Choice(("copy", "accumulate")),
        "normalized": Choice((False, "tensor", "all")),
    }
    _only_at_start = frozenset({"normalized"})

    def __init__(
        self,
        params: Params,
        lr: Lr = 1e-3,
        momentum: float = 0.0,
        dampening: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool | str = False,
        *,
        lr_in_buffer: bool = False,
        first_step: str = "copy",
        normalized: bool | str = False,
        **common: Unpack[Common],
    ) -> None:
        options = dict(
            lr=lr,
            momentum=momentum,
            dampening=dampening,
            weight_decay=weight_decay,
            nesterov=nesterov,
            lr_in_buffer=lr_in_buffer,
            first_step=first_step,
            normalized=normalized,
        )
        super().__init__(params, options, **common)

    _float8 = {"momentum_buffer": "signed"}

    @staticmethod
    def _kernel(options: Mapping[str, Any]) -> tuple[str, tuple[str, ...]]:
        if options["normalized"]:
            of_all = options["normalized"] == "all"
            return "sgd_normalized_all" if of_all else "sgd_normalized", ()
        return ("momentum", ("momentum_buffer",)) if options["momentum"] > 0 else ("sgd", ())

    @staticmethod
    def _hyperparameters(options: Mapping[str, Any]) -> dict[str, float]:
        return {
            "nesterov": options["nesterov"] is True,
            "copy_first": options["first_step"] == "copy",
        }

    @staticmethod
    def _no_rows(options: Mapping[str, Any]) -> str:
        return SUMS_OF_TENSOR if options["normalized"] else ""

    @staticmethod
    def _require(options: Mapping[str, Any]) -> None:
        if options["normalized"] and options["momentum"] > 0:
            raise FastoptError(
                f"normalized={options['normalized']!r} needs momentum 0, not "
                f"{options['momentum']}: the norm could be that of the gradient or of the buffer"
            )
        if options["nesterov"] and not (options["momentum"] > 0 and options["dampening"] == 0):
            raise FastoptError(
                f"nesterov={options['nesterov']!r} needs momentum > 0 and dampening 0, not "
                f"momentum={options['momentum']} and dampening={options['dampening']}"
            )
        if options["nesterov"] == "lookahead" and not options["lr_in_buffer"]:
            raise FastoptError("nesterov='lookahead' needs lr_in_buffer=True")

        coupled = options["weight_decay"] > 0 and not options["decoupled_weight_decay"]
        if options["nesterov"] == "lookahead" and coupled:
            raise FastoptError(
                f"weight_decay is {options['weight_decay']} and coupled, which is not allowed with "
                "nesterov='lookahead', because it must be computed at the look-ahead point; add it "
                "to your gradient, or use decoupled_weight_decay=True"
            )

    @staticmethod
    def _lookahead(options: Mapping[str, Any]) -> tuple[str, float] | None:
        if options["nesterov"] == "lookahead":
            return "momentum_buffer", options["momentum"]
        return None
