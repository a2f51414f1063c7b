"""Rprop: the rule rprop of csrc."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Unpack

from fastopt._checks import Pair, at_least_0, flag
from fastopt._errors import FastoptError
from fastopt.optimizers.base.arguments import Common, Lr, Params
from fastopt.optimizers.base.optimizer import Optimizer


class Rprop(Optimizer):
    """Rprop: each element has a step size, which grows while the sign of its gradient is the same.

    With the previous gradient p, at first 0, and the step size d, at first lr; sign(0) = 0::

        s <- sign(g) * sign(p)
        d <- d*etaplus                      if s > 0
        d <- d*etaminus                     if s < 0
        d <- clip(d, low, high)             (low, high) are step_sizes
        p <- g                              0 if s < 0
        w <- w - d*sign(p)

    Parameters
    ----------
    params
        Arrays to update in place: one, a list, a dict, or a list of group dicts.
    lr
        The first step size of each element, >= 0; of a schedule, its value at the first step.
        Later learning rates have no effect, as in PyTorch, not even 0.  Default 1e-2.
    etas
        etaminus and etaplus, 0 < etaminus < 1 < etaplus.  Default (0.5, 1.2).
    step_sizes
        The smallest and the largest step size, 0 < smallest <= largest.  Default (1e-6, 50).
    weight_decay
        >= 0, added to the gradient as ``weight_decay * w``.  Default 0.
    limit_unchanged
        Whether step sizes that do not change are limited to ``step_sizes`` too.  This differs only
        for an lr outside these limits.  Default True (PyTorch); False is optax.
    **common
        ``decoupled_weight_decay``, ``maximize``, ``max_grad_norm``, ``ema_decay``, ``n_threads``
        and all other keywords of `fastopt.Optimizer`.

    Raises
    ------
    FastoptError, TypeError
        An option is outside its range or of the wrong type, or a parameter cannot be updated.

    Notes
    -----
    Rprop is for gradients over the whole data set, for which it needs no tuning.  The noise of
    mini-batches changes signs, so that step sizes shrink.

    State: ``prev`` (p) and ``step_size`` (d; 0 until the first step).

    PyTorch and optax take the sign of g*p, which underflows for small gradients.  A NaN gradient
    makes the element NaN; in PyTorch the element keeps its value.  optax 0.2.8 applies the update
    of the step before (its pull request 1725 mends this).

    References
    ----------
    Riedmiller & Braun 1993, A direct adaptive method for faster backpropagation learning: the RPROP
    algorithm.  Igel & Hüsken 2003, Empirical evaluation of the improved Rprop learning algorithms:
    iRprop-, which has p = 0 after a change of sign.

    Examples
    --------
    >>> import numpy as np, fastopt
    >>> w = np.zeros(2)
    >>> opt = fastopt.Rprop(w, lr=0.1)
    >>> opt.step(np.array([3.0, -0.01]))
    >>> opt.step(np.array([5.0, 0.01]))
    >>> w.round(6)
    array([-0.22,  0.1 ])
    """

    _checks = {
        "etas": Pair(at_least_0),
        "step_sizes": Pair(at_least_0),
        "limit_unchanged": flag,
    }

    def __init__(
        self,
        params: Params,
        lr: Lr = 1e-2,
        etas: tuple[float, float] = (0.5, 1.2),
        step_sizes: tuple[float, float] = (1e-6, 50.0),
        *,
        weight_decay: float = 0.0,
        limit_unchanged: bool = True,
        **common: Unpack[Common],
    ) -> None:
        options = dict(
            lr=lr,
            etas=etas,
            step_sizes=step_sizes,
            weight_decay=weight_decay,
            limit_unchanged=limit_unchanged,
        )
        super().__init__(params, options, **common)

    @staticmethod
    def _kernel(options: Mapping[str, Any]) -> tuple[str, tuple[str, ...]]:
        return "rprop", ("prev", "step_size")

    @staticmethod
    def _hyperparameters(options: Mapping[str, Any]) -> dict[str, float]:
        minus, plus = options["etas"]
        least, most = options["step_sizes"]
        return {"eta_minus": minus, "eta_plus": plus, "least_step": least, "most_step": most}

    @staticmethod
    def _require(options: Mapping[str, Any]) -> None:
        minus, plus = options["etas"]
        if not 0.0 < minus < 1.0 < plus:
            raise FastoptError(
                f"etas is {options['etas']!r}; allowed: (etaminus, etaplus) with "
                "0 < etaminus < 1 < etaplus"
            )
        least, most = options["step_sizes"]
        if not 0.0 < least <= most:
            raise FastoptError(
                f"step_sizes is {options['step_sizes']!r}; allowed: (smallest, largest) with "
                "0 < smallest <= largest"
            )
