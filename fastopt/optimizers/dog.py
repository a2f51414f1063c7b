"""DoG and L-DoG: the rules dog and dog_layerwise of csrc."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Unpack

from fastopt._checks import at_least_0, flag
from fastopt._errors import FastoptError
from fastopt.optimizers.base.arguments import Common, Lr, Params
from fastopt.optimizers.base.optimizer import Optimizer
from fastopt.optimizers.base.rule import EXACTLY_AT_PARAM, SUMS_OF_TENSOR


class DoG(Optimizer):
    """DoG: gradient descent that needs no learning rate, by distance over gradients.

    At each step, with w0 the initial parameters and norms over all parameters together::

        rbar <- max(rbar, norm(w - w0))       (the first time: reps_rel * (1 + norm(w0)))
        G <- G + norm(g)^2                    (the first time: eps + norm(g)^2)
        w <- w - lr*rbar/sqrt(G) * g

    With ``layerwise`` (L-DoG) each parameter array has its own norms, rbar and G.

    Parameters
    ----------
    params
        Arrays to update in place: one, a list, a dict, or a list of group dicts.
    reps_rel
        > 0; the first step is about reps_rel times the norm of the parameters.  Default 1e-6; the
        authors advise 1e-4 for networks with batch normalization.
    lr
        A factor of the step >= 0, or a schedule.  Default 1, which the authors advise.
    weight_decay
        >= 0, added to the gradient as ``weight_decay * w``.  Default 0.
    eps
        >= 0.  Default 1e-8.
    layerwise
        See above.  Default False.
    decoupled_weight_decay
        As in `fastopt.AdamW`, with lr*rbar/sqrt(G) in place of lr.  Default False.
    **common
        ``maximize``, ``max_grad_norm``, ``ema_decay``, ``n_threads`` and all other keywords of
        `fastopt.Optimizer`.

    Raises
    ------
    FastoptError, TypeError
        An option is outside its range or of the wrong type, or a parameter cannot be updated.  A
        gradient is row-sparse.  ``state_dtype="bfloat16"`` would round the initial parameters.

    Notes
    -----
    DoG is for training in which no learning rate should be tuned.  The authors say that averaging
    is crucial: set ``ema_decay`` and evaluate inside ``with opt.averaged():``.

    State: ``init_buffer`` (w0) and the scalars ``rbar`` and ``G``, kept in double precision.

    The norms are over the parameters that have a gradient in a step, of all groups; the authors'
    package has norms for each group.  They are sums in the memory order of the parameters, so
    another memory layout may change the last digits.

    References
    ----------
    Ivgi, Hinder & Carmon 2023, DoG is SGD's best friend: a parameter-free dynamic step size
    schedule (arXiv 2302.12022); the package dog-optimizer.

    Examples
    --------
    >>> import numpy as np, fastopt
    >>> w = np.array([3.0, 4.0])
    >>> fastopt.DoG(w, reps_rel=0.1).step(np.array([0.0, 2.0]))
    >>> w.round(6)  # the distance is 0.1*(1 + 5)
    array([3. , 3.4])
    """

    _checks = {"reps_rel": at_least_0, "eps": at_least_0, "layerwise": flag}
    _only_at_start = frozenset({"layerwise"})
    _scalars = {"rbar": 0.0, "G": 0.0}

    def __init__(
        self,
        params: Params,
        reps_rel: float = 1e-6,
        lr: Lr = 1.0,
        weight_decay: float = 0.0,
        eps: float = 1e-8,
        *,
        layerwise: bool = False,
        **common: Unpack[Common],
    ) -> None:
        options = dict(
            lr=lr, reps_rel=reps_rel, weight_decay=weight_decay, eps=eps, layerwise=layerwise
        )
        super().__init__(params, options, **common)

    @staticmethod
    def _kernel(options: Mapping[str, Any]) -> tuple[str, tuple[str, ...]]:
        return "dog_layerwise" if options["layerwise"] else "dog", ("init_buffer",)

    @staticmethod
    def _initial_state(options: Mapping[str, Any]) -> dict[str, float | str]:
        return {"init_buffer": EXACTLY_AT_PARAM}

    @staticmethod
    def _no_rows(options: Mapping[str, Any]) -> str:
        return SUMS_OF_TENSOR

    @staticmethod
    def _divides_by_0(options: Mapping[str, Any]) -> bool:
        return False

    @staticmethod
    def _require(options: Mapping[str, Any]) -> None:
        if options["reps_rel"] == 0.0:
            raise FastoptError("reps_rel is 0.0; allowed: > 0")
