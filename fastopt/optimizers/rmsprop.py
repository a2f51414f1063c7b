"""RMSProp: the rules rmsprop and rmsprop_centered of csrc, each also with momentum."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Unpack

from fastopt._checks import at_least_0, decay_rate, flag
from fastopt._errors import FastoptError
from fastopt.optimizers.base.arguments import Common, Lr, Params
from fastopt.optimizers.base.optimizer import Optimizer


class RMSprop(Optimizer):
    """RMSProp: the gradient divided by its running root mean square, or by its standard deviation.

    ::

        s <- alpha*s + (1 - alpha)*g^2
        m <- alpha*m + (1 - alpha)*g             only if centered
        x  = g / (sqrt(q + eps_root) + eps)      q: s, or max(s - m^2, 0) if centered
        b <- momentum*b + x                      b is x without momentum
        w <- w - lr*b

    ``nesterov`` and ``lr_in_buffer`` apply to b as in `fastopt.SGD`.

    Parameters
    ----------
    params
        Arrays to update in place: one, a list, a dict, or a list of group dicts.
    lr
        Learning rate >= 0, or a schedule.  Default 1e-2.
    alpha
        0 <= alpha < 1.  Default 0.99.
    eps, eps_root
        >= 0, outside and inside the root.  Default 1e-8 and 0.
    weight_decay
        >= 0, added to the gradient as ``weight_decay * w``.  Default 0.
    momentum
        >= 0.  Default 0: no buffer.
    centered
        Whether the squared mean of the gradient is subtracted from s.  Default False.
    nesterov
        Whether the step is lr*(momentum*b + x); needs momentum > 0.  Default False.
    lr_in_buffer
        Whether b accumulates lr*x (Keras, optax) rather than x (PyTorch).  Default False.
    initial_accumulator_value
        The initial value of s, >= 0.  Default 0.
    bias_correction
        Whether s and m are divided by 1 - alpha^t when they are used.  Default False.
    **common
        ``decoupled_weight_decay``, ``maximize``, ``max_grad_norm``, ``ema_decay``, ``n_threads``
        and all other keywords of `fastopt.Optimizer`.

    Raises
    ------
    FastoptError, TypeError
        An option is outside its range or of the wrong type, or a parameter cannot be updated.

    Notes
    -----
    RMSprop is for recurrent networks and reinforcement learning.

    State: ``square_avg`` (s), ``grad_avg`` (m) and ``momentum_buffer`` (b).

    Rounding can make s - m^2 negative, for which PyTorch gives NaN; here it is set to 0.  With
    ``centered`` and ``bias_correction`` the variance at the first step is 0 except for rounding
    errors: use a positive ``eps_root``.

    References
    ----------
    Tieleman & Hinton 2012, Coursera lecture 6e.  Graves 2013, Generating sequences with recurrent
    neural networks, eq. 38-45 (arXiv 1308.0850), for the centered form.

    Examples
    --------
    >>> import numpy as np, fastopt
    >>> w = np.zeros(2)
    >>> fastopt.RMSprop(w, lr=0.01, alpha=0.75).step(np.array([4.0, -0.5]))
    >>> w.round(6)
    array([-0.02,  0.02])
    """

    _checks = {
        "alpha": decay_rate,
        "eps": at_least_0,
        "momentum": at_least_0,
        "centered": flag,
        "eps_root": at_least_0,
        "nesterov": flag,
        "lr_in_buffer": flag,
        "initial_accumulator_value": at_least_0,
        "bias_correction": flag,
    }
    _only_at_start = frozenset({"initial_accumulator_value"})

    def __init__(
        self,
        params: Params,
        lr: Lr = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        momentum: float = 0.0,
        centered: bool = False,
        *,
        eps_root: float = 0.0,
        nesterov: bool = False,
        lr_in_buffer: bool = False,
        initial_accumulator_value: float = 0.0,
        bias_correction: bool = False,
        **common: Unpack[Common],
    ) -> None:
        options = dict(
            lr=lr,
            alpha=alpha,
            eps=eps,
            weight_decay=weight_decay,
            momentum=momentum,
            centered=centered,
            eps_root=eps_root,
            nesterov=nesterov,
            lr_in_buffer=lr_in_buffer,
            initial_accumulator_value=initial_accumulator_value,
            bias_correction=bias_correction,
        )
        super().__init__(params, options, **common)

    @staticmethod
    def _kernel(options: Mapping[str, Any]) -> tuple[str, tuple[str, ...]]:
        rule, states = "rmsprop", ["square_avg"]
        if options["centered"]:
            rule += "_centered"
            states += ["grad_avg"]
        if options["momentum"] > 0:
            rule += "_momentum"
            states += ["momentum_buffer"]
        return rule, tuple(states)

    @staticmethod
    def _require(options: Mapping[str, Any]) -> None:
        if options["nesterov"] and options["momentum"] == 0:
            raise FastoptError("nesterov=True needs momentum > 0, not momentum=0.0")

    @staticmethod
    def _initial_state(options: Mapping[str, Any]) -> dict[str, float | str]:
        return {"square_avg": options["initial_accumulator_value"]}
