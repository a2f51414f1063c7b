"""The update rules as methods of scipy.optimize.minimize."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from scipy.optimize import (  # type: ignore[import-untyped]
    OptimizeResult,
    OptimizeWarning,
    approx_fprime,
)

from fastopt._checks import Whole
from fastopt._errors import FastoptError
from fastopt.arrays.dtypes import Array
from fastopt.optimizers.conventions import create
from fastopt.training.arguments import rate_options
from fastopt.training.minimize import minimize

__all__ = ["scipy_method"]

GTOL = 1e-5  # as SciPy's BFGS
EPS = 2.0**-26  # the step of SciPy's forward differences
_OF_MINIMIZE = {*inspect.signature(minimize).parameters} - {"options"}


def scipy_method(name: str, **options: Any) -> Callable[..., OptimizeResult]:
    """Return an update rule as a `method` for ``scipy.optimize.minimize``.

    The steps, the criteria of convergence and the statuses are those of `fastopt.minimize`.

    Parameters
    ----------
    name : str
        The name of the rule: see `fastopt.create`.
    **options
        Arguments of `fastopt.minimize` (lr, schedule, convention, patience and so on) and options
        of the rule.

    Returns
    -------
    callable
        A function for the argument `method`. It supports these arguments of SciPy's function: jac;
        args; tol, with the meaning it has in `fastopt.minimize`; callback, in both of SciPy's
        forms, called after each step; and in ``options``

        - gtol, the largest max(abs(jac)) of a successful run, by default 1e-5 unless tol is given;
        - maxiter, a number of steps, by default 1000;
        - disp, which shows a line of progress;
        - eps, the step of finite differences, by default 1.5e-8.

        They take precedence over `options` here. Any other name gives a warning, as in SciPy's
        methods. Second derivatives are not used. Without a gradient, forward differences are used,
        also for jac="3-point" and "cs", which SciPy replaces by None for a custom method.

    Raises
    ------
    FastoptError, TypeError
        The name or an option of the rule is not allowed. Raised when SciPy calls the method: bounds
        or constraints are given, or an option has a value that is not allowed.

    Warns
    -----
    scipy.optimize.OptimizeWarning
        ``options`` of SciPy's function has a name that is not in the list above.

    Examples
    --------
    >>> import scipy.optimize
    >>> from fastopt import scipy_method
    >>> def bowl(x, centre):
    ...     return ((x - centre) ** 2).sum(), 2 * (x - centre)
    >>> result = scipy.optimize.minimize(
    ...     bowl, [0.0, 0.0], args=(3.0,), jac=True, method=scipy_method("momentum", lr=0.1)
    ... )
    >>> print(result.x.round(4), result.success, result.nit)
    [3. 3.] True 167
    """
    of_rule = {key: value for key, value in options.items() if key not in _OF_MINIMIZE}
    rate = {"lr": 1.0} if options.get("line_search") else {}
    rate = rate or rate_options(options.get("lr"), options.get("schedule"))
    create(name, np.zeros(1), options.get("convention", "torch"), **rate, **of_rule)
    return partial(_solve, name, options)


class _Objective:
    """SciPy's `fun` and `jac` as one function of loss and gradient, which counts their calls.

    The point evaluated last is remembered, because a callback gets its loss and the next step
    begins at it.
    """

    def __init__(self, fun: Callable[..., Any], jac: Any, args: tuple[Any, ...], eps: Any) -> None:
        self.fun, self.jac, self.args, self.eps = fun, jac, args, eps
        self.nfev = self.njev = 0
        self._seen: tuple[Array, float, Array] | None = None

    def __call__(self, x: Array) -> tuple[float, Array]:
        if self._seen is None or not np.array_equal(self._seen[0], x):
            loss, self.njev = self._loss(x), self.njev + 1
            if callable(self.jac):
                gradient = np.array(self.jac(x, *self.args), dtype=x.dtype)
            else:
                gradient = approx_fprime(x, self._loss, self.eps).astype(x.dtype)
            self._seen = x.copy(), loss, gradient
        return self._seen[1:]

    def _loss(self, x: Array) -> float:
        self.nfev += 1
        found = self.fun(x, *self.args)
        if isinstance(found, tuple):
            raise FastoptError(
                f"fun returned {found!r} with jac=None; give jac=True if that is (loss, gradient)"
            )
        if np.size(found) != 1:
            raise FastoptError(f"fun returned the loss {found!r}; a number is needed")
        loss: float = np.asarray(found).item()
        return loss


def _solve(
    name: str,
    own: dict[str, Any],
    fun: Callable[..., Any],
    x0: Array,
    args: tuple[Any, ...] = (),
    *,
    jac: Any = None,
    bounds: Any = None,
    constraints: Any = (),
    callback: Callable[..., object] | None = None,
    maxiter: int | None = None,
    tol: float | None = None,
    gtol: float | None = None,
    eps: Any = EPS,
    disp: bool = False,
    hess: object = None,
    hessp: object = None,
    **unknown: Any,
) -> OptimizeResult:
    del hess, hessp
    if bounds is not None or (constraints is not None and np.size(constraints)):
        raise FastoptError(
            "bounds or constraints are given; allowed: None, because the rules have one pair of "
            "bounds for all elements, as in scipy_method('adam', bounds=(0, None))"
        )
    if unknown:
        names = ", ".join(unknown)
        warnings.warn(f"Unknown solver options: {names}", OptimizeWarning, stacklevel=3)
    objective = _Objective(fun, jac, args, eps)
    given = {
        "epochs": None if maxiter is None else Whole(1)("maxiter", maxiter),
        "tol": tol,
        "gtol": gtol,
        "callback": None if callback is None else _with_result(callback, objective),
        "progress": True if disp else None,
    }
    options = {**own, **{key: value for key, value in given.items() if value is not None}}
    if options.get("tol") is None and options.get("gtol") is None:
        options["gtol"] = GTOL
    result = minimize(objective, x0, method=name, **options)
    result.nfev, result.njev = objective.nfev, objective.njev
    return result


def _with_result(
    callback: Callable[..., object], objective: _Objective
) -> Callable[[OptimizeResult], object]:
    """Return a callback in either of SciPy's forms as a function of an `OptimizeResult`."""
    if set(inspect.signature(callback).parameters) == {"intermediate_result"}:
        return lambda state: callback(
            intermediate_result=OptimizeResult(
                state, x=state.x.copy(), fun=objective(state.x)[0], jac=objective(state.x)[1]
            )
        )
    return lambda state: callback(np.copy(state.x))
