"""SMORMS3: the rule smorms3 of csrc."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Unpack

from fastopt._checks import at_least_0
from fastopt.optimizers.base.arguments import Common, Lr, Params
from fastopt.optimizers.base.optimizer import Optimizer


class SMORMS3(Optimizer):
    """SMORMS3: RMSProp whose step and memory adapt to the noise of each element's gradient.

    At each step::

        r   <- 1/(mem + 1)
        m   <- (1 - r)*m + r*g
        v   <- (1 - r)*v + r*g^2
        x    = m^2 / (v + eps)
        w   <- w - min(lr, x) * g / (sqrt(v) + eps)
        mem <- 1 + mem*(1 - x)

    x is the share of the mean in the mean square of the gradients: 1 if they are equal, near 0 if
    they are noise.

    Parameters
    ----------
    params
        Arrays to update in place: one, a list, a dict, or a list of group dicts.
    lr
        The largest learning rate, >= 0, or a schedule.  Default 1e-3.
    eps
        >= 0.  Default 1e-16.
    weight_decay
        >= 0, added to the gradient as ``weight_decay * w``.  Default 0.
    **common
        ``decoupled_weight_decay``, ``maximize``, ``max_grad_norm``, ``ema_decay``, ``n_threads``
        and all other keywords of `fastopt.Optimizer`.

    Raises
    ------
    FastoptError, TypeError
        An option is outside its range or of the wrong type, or a parameter cannot be updated.

    Notes
    -----
    SMORMS3 is for noisy gradients, where no option but ``lr`` should be tuned.

    State: ``mem``, which starts at 1, ``g`` (m) and ``g2`` (v), as Funk and Chainer name them.

    ensmallen computes ``mem`` with min(lr, x) in place of x, which differs from Funk.

    References
    ----------
    Funk 2015, RMSprop loses to SMORMS3 - beware the epsilon!
    (https://sifter.org/~simon/journal/20150420.html).

    Examples
    --------
    >>> import numpy as np, fastopt
    >>> w = np.zeros(2)
    >>> fastopt.SMORMS3(w, lr=0.1).step(np.array([2.0, -8.0]))
    >>> w.round(6)
    array([-0.141421,  0.141421])
    """

    _checks = {"eps": at_least_0}

    def __init__(
        self,
        params: Params,
        lr: Lr = 1e-3,
        eps: float = 1e-16,
        weight_decay: float = 0.0,
        **common: Unpack[Common],
    ) -> None:
        options = dict(lr=lr, eps=eps, weight_decay=weight_decay)
        super().__init__(params, options, **common)

    @staticmethod
    def _kernel(options: Mapping[str, Any]) -> tuple[str, tuple[str, ...]]:
        return "smorms3", ("mem", "g", "g2")

    @staticmethod
    def _initial_state(options: Mapping[str, Any]) -> dict[str, float | str]:
        return {"mem": 1.0}
