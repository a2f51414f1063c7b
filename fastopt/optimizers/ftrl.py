"""Ftrl: the rule ftrl of csrc."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Unpack

from fastopt._checks import at_least_0, flag
from fastopt._errors import FastoptError
from fastopt.optimizers.base.arguments import Common, Lr, Params
from fastopt.optimizers.base.optimizer import Optimizer


class Ftrl(Optimizer):
    """FTRL-Proximal: AdaGrad for sparse linear models, with a penalty that makes weights 0.

    With l1, l2 and shrinkage for the three options ``..._regularization_strength``, and w on the
    right the value before the step::

        z <- z + g + shrinkage*w - (sqrt(n + g^2) - sqrt(n))/lr * w
        n <- n + g^2
        w <- 0                                                          if |z| <= l1
        w <- (l1*sign(z) - z) / ((beta + sqrt(n))/lr + l2)              otherwise

    Parameters
    ----------
    params
        Arrays to update in place: one, a list, a dict, or a list of group dicts.
    lr
        Learning rate >= 0, or a schedule.  Default 1e-3.  w is recomputed with the present
        learning rate, so a decreasing one also shrinks w.  A step with lr = 0 changes nothing.
    initial_accumulator_value
        The initial value of n, >= 0.  Default 0.1.
    l1_regularization_strength, l2_regularization_strength
        >= 0.  Default 0.  The penalties l1*|w| and l2/2*w^2, as in the paper.  Keras's penalty is
        l2*w^2: its l2 is half of this one.
    l2_shrinkage_regularization_strength
        >= 0, added to the gradient as ``shrinkage * w`` in z alone.  Default 0.  Keras's is half of
        this one, too.
    beta
        >= 0.  Default 0; the paper recommends 1.
    keep_start
        True (default): w continues from its initial value, and an element is unchanged until its
        first gradient that is not 0.  False (Keras and others): the first step computes w from
        z = 0 and so moves it close to 0, whatever its initial value.  An initial value of 0, for
        which FTRL is stated, gives the same steps with both.
    weight_decay
        >= 0, added to the gradient as ``weight_decay * w``, in n as well.  Default 0.
    **common
        ``maximize``, ``max_grad_norm``, ``ema_decay``, ``n_threads`` and all other keywords of
        `fastopt.Optimizer`, except ``decoupled_weight_decay``, ``l1`` and ``bounds``.

    Raises
    ------
    FastoptError, TypeError
        An option is outside its range or of the wrong type, or a parameter cannot be updated.
        ``decoupled_weight_decay``, ``l1`` and ``bounds`` are refused, because w is recomputed from
        n and z.

    Notes
    -----
    Ftrl is for linear models of many sparse features, such as click prediction.

    State: ``accumulator`` (n) and ``linear`` (z), as in Keras.

    A gradient of 0 changes nothing (with ``keep_start=False``, after the first step), so steps with
    `RowSparse` gradients equal steps with dense ones.  Only Keras's ``learning_rate_power`` of -0.5
    is available.

    References
    ----------
    McMahan et al. 2013, Ad click prediction: a view from the trenches, Algorithm 1.

    Examples
    --------
    >>> import numpy as np, fastopt
    >>> w = np.zeros(2)
    >>> opt = fastopt.Ftrl(w, lr=0.5, l1_regularization_strength=1.0, beta=1.0)
    >>> opt.step(np.array([3.0, -0.5]))
    >>> w.round(6)
    array([-0.248966,  0.      ])
    """

    _checks = {
        "initial_accumulator_value": at_least_0,
        "l1_regularization_strength": at_least_0,
        "l2_regularization_strength": at_least_0,
        "l2_shrinkage_regularization_strength": at_least_0,
        "beta": at_least_0,
        "keep_start": flag,
    }
    _only_at_start = frozenset({"initial_accumulator_value"})

    def __init__(
        self,
        params: Params,
        lr: Lr = 1e-3,
        initial_accumulator_value: float = 0.1,
        l1_regularization_strength: float = 0.0,
        l2_regularization_strength: float = 0.0,
        *,
        l2_shrinkage_regularization_strength: float = 0.0,
        beta: float = 0.0,
        keep_start: bool = True,
        weight_decay: float = 0.0,
        **common: Unpack[Common],
    ) -> None:
        options = dict(
            lr=lr,
            initial_accumulator_value=initial_accumulator_value,
            l1_regularization_strength=l1_regularization_strength,
            l2_regularization_strength=l2_regularization_strength,
            l2_shrinkage_regularization_strength=l2_shrinkage_regularization_strength,
            beta=beta,
            keep_start=keep_start,
            weight_decay=weight_decay,
        )
        super().__init__(params, options, **common)

    @staticmethod
    def _kernel(options: Mapping[str, Any]) -> tuple[str, tuple[str, ...]]:
        return "ftrl", ("accumulator", "linear")

    @staticmethod
    def _initial_state(options: Mapping[str, Any]) -> dict[str, float | str]:
        return {"accumulator": options["initial_accumulator_value"]}

    @staticmethod
    def _require(options: Mapping[str, Any]) -> None:
        after = options["decoupled_weight_decay"], options["l1"], options["bounds"]
        if after != (False, 0.0, None):
            raise FastoptError(
                "decoupled_weight_decay, l1 and bounds are {!r}, {!r} and {!r}; allowed: False, 0.0"
                " and None, because Ftrl recomputes w from its state; see "
                "l1_regularization_strength and l2_regularization_strength".format(*after)
            )
