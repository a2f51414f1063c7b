"""Prodigy: the rule prodigy of csrc."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Unpack

from fastopt._checks import OrNone, Pair, Real, at_least_0, decay_rate, flag
from fastopt._errors import FastoptError
from fastopt.optimizers.base.arguments import Extra, Lr, Params
from fastopt.optimizers.base.optimizer import Optimizer
from fastopt.optimizers.base.rule import EXACTLY_AT_PARAM, SUMS_OF_TENSOR


class Prodigy(Optimizer):
    """Prodigy: Adam that estimates its learning rate from the distance that it has moved.

    At step t, counted from 1, with p0 the initial parameters, c1 = 1 - beta1^t, c2 = 1 - beta2^t,
    and sums over all parameters together::

        D = lr*d                              (use_bias_correction: times sqrt(c2)/c1)
        m <- beta1*m + (1 - beta1)*d*g
        v <- beta2*v + (1 - beta2)*(d*g)^2
        N <- beta3*N + d/d0 * D * sum(g*(p0 - w))
        s <- beta3*s + d/d0 * D * g           (safeguard_warmup: with d for D)
        d_hat = d_coef * N / sum(abs(s))
        d_max <- max(d_max, d_hat)            (at first d and d_max are d0)
        d <- min(d_max, d*growth_rate)        (while d is d0: d <- d_max)
        w <- w - D*weight_decay*w - D * m / (sqrt(v) + d*eps)

    Parameters
    ----------
    params
        Arrays to update in place: one, a list, a dict, or a list of group dicts.
    lr
        A factor of the estimated learning rate >= 0, or a schedule.  Default 1, which the authors
        advise, with a cosine schedule.
    betas
        beta1 and beta2, each 0 <= beta < 1.  Default (0.9, 0.999).
    beta3
        0 <= beta3 < 1, or None: the root of beta2.  Default None.
    eps
        >= 0.  Default 1e-8.
    weight_decay
        >= 0.  Default 0.
    use_bias_correction
        See above.  Default False, as in the authors' package; optax always corrects.
    safeguard_warmup
        Keep lr out of s, for schedules with a long warm-up.  Default False.
    d0
        The first d, > 0.  Default 1e-6.
    d_coef
        >= 0.  A larger value makes d larger; change it rather than lr.  Default 1.
    growth_rate
        The largest factor, >= 1, by which d grows in a step, or None: no limit.  Default None.
    decoupled_weight_decay
        True or "lr": as above; the factor of weight_decay*w is D, not lr.  "schedule_only" and
        False as in `fastopt.AdamW`, with D in place of lr.  Default True.
    **common
        ``maximize``, ``max_grad_norm``, ``ema_decay``, ``n_threads`` and all other keywords of
        `fastopt.Optimizer`.  D takes the place of lr in ``l1``, too.

    Raises
    ------
    FastoptError, TypeError
        An option is outside its range or of the wrong type, or a parameter cannot be updated.  A
        gradient is row-sparse.  ``state_dtype="bfloat16"`` would round the initial parameters.

    Notes
    -----
    Prodigy is for training in which Adam's learning rate should not be tuned, most often to
    fine-tune image models.  It has twice the state of Adam.

    State: ``exp_avg`` (m), ``exp_avg_sq`` (v), ``s``, ``p0`` and the scalars ``d``, ``d_max`` (the
    largest d_hat) and ``d_numerator`` (N), kept in double precision and 0 before the first step.

    The sums are over the parameters that have a gradient in a step, of all groups.  Each group has
    its own lr and weight decay; the other options should be the same in all groups.  A NaN in a
    gradient makes d NaN; in the authors' package d then keeps its value in all later steps.

    The sums are in the memory order of the parameters, so another memory layout may change the last
    digits.

    References
    ----------
    Mishchenko & Defazio 2024, Prodigy: an expeditiously adaptive parameter-free learner, Algorithm
    4 (arXiv 2306.06101); the package prodigyopt 1.1.2.

    Examples
    --------
    >>> import numpy as np, fastopt
    >>> w = np.array([3.0, -1.0])
    >>> opt = fastopt.Prodigy(w)
    >>> for _ in range(100):
    ...     opt.step(2 * w)
    >>> float(opt.state[0]["d"]) > 0.01
    True
    """

    _checks = {
        "betas": Pair(decay_rate),
        "beta3": OrNone(decay_rate),
        "eps": at_least_0,
        "use_bias_correction": flag,
        "safeguard_warmup": flag,
        "d0": at_least_0,
        "d_coef": at_least_0,
        "growth_rate": OrNone(Real(low=1.0)),
    }
    _scalars = {"d": 0.0, "d_max": 0.0, "d_numerator": 0.0}

    def __init__(
        self,
        params: Params,
        lr: Lr = 1.0,
        betas: tuple[float, float] = (0.9, 0.999),
        beta3: float | None = None,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        decoupled_weight_decay: bool | str = True,
        *,
        use_bias_correction: bool = False,
        safeguard_warmup: bool = False,
        d0: float = 1e-6,
        d_coef: float = 1.0,
        growth_rate: float | None = None,
        **common: Unpack[Extra],
    ) -> None:
        options = dict(
            lr=lr,
            betas=betas,
            beta3=beta3,
            eps=eps,
            weight_decay=weight_decay,
            use_bias_correction=use_bias_correction,
            safeguard_warmup=safeguard_warmup,
            d0=d0,
            d_coef=d_coef,
            growth_rate=growth_rate,
        )
        super().__init__(params, options, decoupled_weight_decay=decoupled_weight_decay, **common)

    @staticmethod
    def _kernel(options: Mapping[str, Any]) -> tuple[str, tuple[str, ...]]:
        return "prodigy", ("exp_avg", "exp_avg_sq", "s", "p0")

    @staticmethod
    def _hyperparameters(options: Mapping[str, Any]) -> dict[str, float]:
        beta1, beta2 = options["betas"]
        beta3 = math.sqrt(beta2) if options["beta3"] is None else options["beta3"]
        growth_rate = math.inf if options["growth_rate"] is None else options["growth_rate"]
        return {
            "beta1": beta1,
            "beta2": beta2,
            "beta3": beta3,
            "growth_rate": growth_rate,
            "bias_correction": options["use_bias_correction"],
        }

    @staticmethod
    def _initial_state(options: Mapping[str, Any]) -> dict[str, float | str]:
        return {"p0": EXACTLY_AT_PARAM}

    @staticmethod
    def _no_rows(options: Mapping[str, Any]) -> str:
        return SUMS_OF_TENSOR

    @staticmethod
    def _require(options: Mapping[str, Any]) -> None:
        if options["d0"] == 0.0:
            raise FastoptError("d0 is 0.0; allowed: > 0")
