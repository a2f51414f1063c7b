"""ASGD: the rule asgd of csrc."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Unpack

from fastopt._checks import at_least_0
from fastopt._errors import FastoptError
from fastopt.optimizers.base.arguments import Common, Lr, Params
from fastopt.optimizers.base.optimizer import Optimizer
from fastopt.optimizers.base.rule import AT_PARAM


class ASGD(Optimizer):
    """Averaged SGD: gradient descent with a decreasing learning rate, and the mean of its path.

    At step t, counted from 1, with eta = lr and mu = 1 at the start::

        w   <- w * (1 - lambd*eta) - eta*g
        ax  <- ax + mu*(w - ax)
        eta <- lr / (1 + lambd*lr*t)^alpha
        mu  <- 1 / max(1, t - t0)

    ``ax`` equals w up to step t0 + 2; then it is the mean of w since step t0 + 2.

    Parameters
    ----------
    params
        Arrays to update in place: one, a list, a dict, or a list of group dicts.
    lr
        Learning rate >= 0, or a schedule.  Default 1e-2.  As in PyTorch, the first step uses it and
        every other step the eta that the step before computed, so a new value acts one step late.
    lambd
        The L2 penalty lambd/2*w^2, >= 0.  Default 1e-4.
    alpha
        The power with which eta falls, >= 0.  Default 0.75.
    t0
        The number of steps before averaging, >= 0.  Default 1e6.
    weight_decay
        >= 0, added to the gradient as ``weight_decay * w``.  Default 0.
    **common
        ``decoupled_weight_decay``, ``maximize``, ``max_grad_norm``, ``n_threads`` and all other
        keywords of `fastopt.Optimizer`, except ``ema_decay`` and ``lookahead_steps``.  ``l1``,
        ``bounds`` and ``decoupled_weight_decay="proximal"`` are refused: ax would average w before
        them.

    Raises
    ------
    FastoptError, TypeError
        An option is outside its range or of the wrong type, or a parameter cannot be updated.

    Notes
    -----
    ASGD is for convex problems with noisy gradients, such as linear models: the mean of the path is
    closer to the minimum than its end.

    State: ``ax`` and the scalars ``eta`` and ``mu``, kept in double precision.  ``with
    opt.averaged():`` sets the parameters to ``ax``.

    References
    ----------
    Polyak & Juditsky 1992, Acceleration of stochastic approximation by averaging.
    Bottou 2012, Stochastic gradient descent tricks, section 5, for the learning rate.

    Examples
    --------
    >>> import numpy as np, fastopt
    >>> w = np.zeros(1)
    >>> opt = fastopt.ASGD(w, lr=0.5, lambd=0.0, t0=0)
    >>> for _ in range(3):
    ...     opt.step(np.array([2.0]))
    >>> w, opt.state[0]["ax"]
    (array([-3.]), array([-2.5]))
    """

    _checks = {"lambd": at_least_0, "alpha": at_least_0, "t0": at_least_0}
    _scalars = {"eta": 0.0, "mu": 1.0}

    def __init__(
        self,
        params: Params,
        lr: Lr = 1e-2,
        lambd: float = 1e-4,
        alpha: float = 0.75,
        t0: float = 1e6,
        weight_decay: float = 0.0,
        **common: Unpack[Common],
    ) -> None:
        options = dict(lr=lr, lambd=lambd, alpha=alpha, t0=t0, weight_decay=weight_decay)
        super().__init__(params, options, **common)

    @staticmethod
    def _kernel(options: Mapping[str, Any]) -> tuple[str, tuple[str, ...]]:
        return "asgd", ("ax",)

    @staticmethod
    def _initial_state(options: Mapping[str, Any]) -> dict[str, float | str]:
        return {"ax": AT_PARAM}

    @staticmethod
    def _average(options: Mapping[str, Any]) -> tuple[str, float] | None:
        return "ax", 1.0

    @staticmethod
    def _require(options: Mapping[str, Any]) -> None:
        decay = options["decoupled_weight_decay"]
        if decay == "proximal" or options["l1"] != 0.0 or options["bounds"] is not None:
            raise FastoptError(
                f"decoupled_weight_decay, l1 and bounds are {decay!r}, {options['l1']!r} and "
                f"{options['bounds']!r}; allowed with ASGD: no 'proximal', 0.0 and None, because "
                "its average would be that of w before them"
            )
