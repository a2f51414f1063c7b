"""Schedule-Free SGD, AdamW and RAdam: the rules schedule_free_* of csrc."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Unpack

from fastopt._checks import Pair, Real, Whole, at_least_0, decay_rate, flag
from fastopt._errors import FastoptError
from fastopt.optimizers.base.arguments import Common, Lr, Params
from fastopt.optimizers.base.optimizer import Optimizer
from fastopt.optimizers.base.rule import AT_PARAM

# The sum of t^30 overflows after about 2**33 steps, t^1000 at step 3.
power = Real(low=0.0, high=30.0)


class ScheduleFree(Optimizer):
    """The facts that the Schedule-Free rules share."""

    _checks = {"r": power, "weight_lr_power": power}
    _scalars = {"weight_sum": 0.0, "lr_max": 0.0}

    @staticmethod
    def _initial_state(options: Mapping[str, Any]) -> dict[str, float | str]:
        return {"z": AT_PARAM}

    @staticmethod
    def _hyperparameters(options: Mapping[str, Any]) -> dict[str, float]:
        beta1, beta2 = _betas(options)
        return {
            "beta": beta1,
            "beta1": beta1,
            "beta2": beta2,
            "warmup": options.get("warmup_steps", 0),
            "t_power": options["r"],
            "lr_power": options["weight_lr_power"],
        }

    @staticmethod
    def _average(options: Mapping[str, Any]) -> tuple[str, float]:
        return "z", 1.0 - 1.0 / _betas(options)[0]

    @staticmethod
    def _no_rows(options: Mapping[str, Any]) -> str:
        return "a Schedule-Free step moves all rows towards their average"

    @staticmethod
    def _require(options: Mapping[str, Any]) -> None:
        name = "momentum" if "momentum" in options else "betas[0]"
        beta1, _ = _betas(options)
        if beta1 == 0.0:
            raise FastoptError(f"{name} is {beta1}; allowed: 0 < {name} < 1")
        decay, l1, bounds = (options["decoupled_weight_decay"], options["l1"], options["bounds"])
        if decay or l1 or bounds:
            raise FastoptError(
                f"decoupled_weight_decay is {decay!r}, l1 is {l1!r} and bounds are {bounds!r}; "
                "allowed: False, 0 and None, because they would apply to y alone, not to z and x"
            )


def _betas(options: Mapping[str, Any]) -> tuple[float, float]:
    beta1, beta2 = options.get("betas") or (options["momentum"], 0.0)
    return float(beta1), float(beta2)


class ScheduleFreeSGD(ScheduleFree):
    """Schedule-Free SGD: averaging that replaces a schedule of the learning rate.

    The parameter is y, where gradients are taken.  ``with opt.averaged():`` moves it to x, which is
    the point to evaluate.  At step t, counted from 1, with momentum = b::

        lr_t = lr * min(1, t/warmup_steps)         lr if warmup_steps is 0
        lr_max <- max(lr_max, lr_t)
        weight = t^r * lr_max^weight_lr_power
        weight_sum <- weight_sum + weight
        k = weight / weight_sum                    0 if weight_sum is 0
        y <- y + k*(z - y) - lr_t*(1 - b*(1 - k))*g
        z <- z - lr_t*g
        x = y + (1 - 1/b)*(z - y)

    which is z <- z - lr_t*g, x <- (1 - k)*x + k*z, y <- (1 - b)*z + b*x.

    Parameters
    ----------
    params
        Arrays to update in place: one, a list, a dict, or a list of group dicts.
    lr
        Learning rate >= 0, or a schedule, which is not needed.  Default 1.
    momentum
        0 < b < 1.  Default 0.9.
    weight_decay
        >= 0, added to the gradient as ``weight_decay * y``.  Default 0.
    warmup_steps
        The number of steps in which the learning rate grows linearly.  Default 0.
    r
        The power of t in the weights, 0 to 30.  Default 0.
    weight_lr_power
        The power of the largest learning rate in the weights, 0 to 30.  Default 2.
    **common
        ``maximize``, ``max_grad_norm``, ``n_threads`` and all other keywords of
        `fastopt.Optimizer`, except ``decoupled_weight_decay``, ``l1``, ``bounds``, ``ema_decay``
        and ``lookahead_steps``.

    Raises
    ------
    FastoptError, TypeError
        An option is outside its range or of the wrong type, or a parameter cannot be updated.  A
        gradient is row-sparse.

    Notes
    -----
    ScheduleFreeSGD is for runs whose length is not known in advance.

    State: ``z``, which starts at the parameter, and the scalars ``weight_sum`` and ``lr_max``, kept
    in double precision.

    Evaluate, and save parameters for use elsewhere, inside ``with opt.averaged():``.  `save` and
    `state_dict` store what training resumes from: y and z.  Layers with batch statistics need these
    to be computed at x.  The authors' ``optimizer.eval()`` and ``train()`` do the same, but do not
    restore y bit for bit.

    References
    ----------
    Defazio et al. 2024, The road less scheduled, Algorithm 1 (arXiv 2405.15682); warm-up and
    weights as in the authors' package schedulefree.

    Examples
    --------
    >>> import numpy as np, fastopt
    >>> w = np.ones(1)
    >>> opt = fastopt.ScheduleFreeSGD(w, lr=0.5, momentum=0.5)
    >>> for _ in range(2):
    ...     opt.step(1.0 * w)  # the gradient of w^2/2
    >>> w.round(4)
    array([0.3125])
    >>> with opt.averaged():
    ...     print(w.round(4))
    [0.375]
    """

    _checks = {**ScheduleFree._checks, "momentum": decay_rate, "warmup_steps": Whole(0)}

    def __init__(
        self,
        params: Params,
        lr: Lr = 1.0,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
        warmup_steps: int = 0,
        r: float = 0.0,
        weight_lr_power: float = 2.0,
        **common: Unpack[Common],
    ) -> None:
        options = dict(
            lr=lr,
            momentum=momentum,
            weight_decay=weight_decay,
            warmup_steps=warmup_steps,
            r=r,
            weight_lr_power=weight_lr_power,
        )
        super().__init__(params, options, **common)

    @staticmethod
    def _kernel(options: Mapping[str, Any]) -> tuple[str, tuple[str, ...]]:
        return "schedule_free_sgd", ("z",)


class ScheduleFreeAdamW(ScheduleFree):
    """Schedule-Free AdamW: averaging that replaces a schedule of the learning rate.

    As `fastopt.ScheduleFreeSGD`, with another direction in place of g, and b = beta1::

        v <- beta2*v + (1 - beta2)*g^2
        u = g / (sqrt(v/(1 - beta2^t)) + eps) + weight_decay*y

    Parameters
    ----------
    params
        Arrays to update in place: one, a list, a dict, or a list of group dicts.
    lr
        Learning rate >= 0, or a schedule, which is not needed.  Default 0.0025.
    betas
        beta1 and beta2, 0 < beta1 < 1, 0 <= beta2 < 1.  Default (0.9, 0.999).
    eps
        >= 0.  Default 1e-8.
    weight_decay
        >= 0, added to u as above, so that it decays z and x as well.  Default 0.
    warmup_steps, r, weight_lr_power, **common
        As in `fastopt.ScheduleFreeSGD`.

    Raises
    ------
    FastoptError, TypeError
        As in `fastopt.ScheduleFreeSGD`.

    Notes
    -----
    ScheduleFreeAdamW is for runs whose length is not known in advance; see
    `fastopt.ScheduleFreeSGD` for how to evaluate and save.

    State: ``z``, which starts at the parameter, ``exp_avg_sq`` (v), and the scalars ``weight_sum``
    and ``lr_max``, kept in double precision.

    References
    ----------
    Defazio et al. 2024, The road less scheduled (arXiv 2405.15682); the class AdamWScheduleFree of
    the authors' package schedulefree.

    Examples
    --------
    >>> import numpy as np, fastopt
    >>> w = np.ones(1)
    >>> opt = fastopt.ScheduleFreeAdamW(w, lr=0.1)
    >>> for _ in range(2):
    ...     opt.step(1.0 * w)  # the gradient of w^2/2
    >>> with opt.averaged():
    ...     print(w.round(4))
    [0.8527]
    """

    _checks = {
        **ScheduleFree._checks,
        "betas": Pair(decay_rate),
        "eps": at_least_0,
        "warmup_steps": Whole(0),
    }
    _own_decay = "wd"

    def __init__(
        self,
        params: Params,
        lr: Lr = 0.0025,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        warmup_steps: int = 0,
        r: float = 0.0,
        weight_lr_power: float = 2.0,
        **common: Unpack[Common],
    ) -> None:
        options = dict(
            lr=lr,
            betas=betas,
            eps=eps,
            weight_decay=weight_decay,
            warmup_steps=warmup_steps,
            r=r,
            weight_lr_power=weight_lr_power,
        )
        super().__init__(params, options, **common)

    @staticmethod
    def _kernel(options: Mapping[str, Any]) -> tuple[str, tuple[str, ...]]:
        return "schedule_free_adamw", ("z", "exp_avg_sq")


class ScheduleFreeRAdam(ScheduleFree):
    """Schedule-Free RAdam: averaging that replaces a schedule, and no warm-up to be tuned.

    As `fastopt.ScheduleFreeAdamW`, with the learning rate lr_t = lr * R in place of a warm-up,
    where R and rho are those of `fastopt.RAdam`.  As long as rho <= 4, u is g + weight_decay*y,
    and lr_t is 0 or lr: see ``silent_sgd_phase``.

    Parameters
    ----------
    params
        Arrays to update in place: one, a list, a dict, or a list of group dicts.
    lr
        Learning rate >= 0, or a schedule, which is not needed.  Default 0.0025.
    betas
        beta1 and beta2, 0 < beta1 < 1, 0 <= beta2 < 1.  Default (0.9, 0.999).
    eps
        >= 0.  Default 1e-8.
    weight_decay
        >= 0, as in `fastopt.ScheduleFreeAdamW`.  Default 0.
    r, weight_lr_power, **common
        As in `fastopt.ScheduleFreeSGD`.
    silent_sgd_phase
        Whether only v changes as long as rho <= 4, which is 4 steps for beta2 = 0.999.  False:
        these are steps of Schedule-Free SGD with this lr.  Default True.

    Raises
    ------
    FastoptError, TypeError
        As in `fastopt.ScheduleFreeSGD`.

    Notes
    -----
    ScheduleFreeRAdam is for runs whose length is not known in advance and whose warm-up should not
    be tuned; see `fastopt.ScheduleFreeSGD` for how to evaluate and save.

    State: as in `fastopt.ScheduleFreeAdamW`.

    With beta2 <= 0.6, rho never exceeds 4.

    References
    ----------
    Defazio et al. 2024, The road less scheduled (arXiv 2405.15682); Liu et al. 2020 (arXiv
    1908.03265); the class RAdamScheduleFree of the authors' package schedulefree.

    Examples
    --------
    >>> import numpy as np, fastopt
    >>> w = np.ones(1)
    >>> opt = fastopt.ScheduleFreeRAdam(w, lr=0.1)
    >>> for step in range(1, 9):
    ...     opt.step(1.0 * w)
    ...     if step == 4:
    ...         print(w)
    [1.]
    >>> with opt.averaged():
    ...     print(w.round(4))
    [0.9919]
    """

    _checks = {
        **ScheduleFree._checks,
        "betas": Pair(decay_rate),
        "eps": at_least_0,
        "silent_sgd_phase": flag,
    }
    _own_decay = "wd"

    def __init__(
        self,
        params: Params,
        lr: Lr = 0.0025,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        r: float = 0.0,
        weight_lr_power: float = 2.0,
        silent_sgd_phase: bool = True,
        **common: Unpack[Common],
    ) -> None:
        options = dict(
            lr=lr,
            betas=betas,
            eps=eps,
            weight_decay=weight_decay,
            r=r,
            weight_lr_power=weight_lr_power,
            silent_sgd_phase=silent_sgd_phase,
        )
        super().__init__(params, options, **common)

    @staticmethod
    def _kernel(options: Mapping[str, Any]) -> tuple[str, tuple[str, ...]]:
        return "schedule_free_radam", ("z", "exp_avg_sq")

    @staticmethod
    def _hyperparameters(options: Mapping[str, Any]) -> dict[str, float]:
        shared = ScheduleFree._hyperparameters(options)
        return {**shared, "silent": options["silent_sgd_phase"]}
