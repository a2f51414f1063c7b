"""The update rules as methods of scipy.optimize.minimize."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from scipy.optimize import OptimizeResult  # type: ignore[import-untyped]

from fastopt._checks import Whole
from fastopt._errors import FastoptError
from fastopt.arrays.dtypes import Array
from fastopt.training.minimize import minimize

__all__ = ["scipy_method"]


def scipy_method(name: str, **options: Any) -> Callable[..., OptimizeResult]:
    """Return an update rule as a `method` for ``scipy.optimize.minimize``.

    The steps are those of `fastopt.minimize`.

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
        A function for the argument `method`. It supports these arguments of SciPy's function: jac,
        which must be True or a function; args; tol, with the meaning it has in `fastopt.minimize`;
        callback, in both of SciPy's forms, called after each step; and in ``options`` maxiter, a
        number of steps, by default 1000, and disp, which shows a line of progress. They take
        precedence over the options given here. Second derivatives are not used.

    Raises
    ------
    FastoptError, TypeError
        Raised when SciPy calls the method: without a gradient, with bounds or constraints, or with
        an option that is not allowed.

    Examples
    --------
    >>> import scipy.optimize
    >>> from fastopt import scipy_method
    >>> def bowl(x, centre):
    ...     return ((x - centre) ** 2).sum(), 2 * (x - centre)
    >>> result = scipy.optimize.minimize(
    ...     bowl, [0.0, 0.0], args=(3.0,), jac=True,
    ...     method=scipy_method("adam", lr=0.1), options={"maxiter": 500},
    ... )
    >>> print(result.x.round(6), result.nit)
    [3. 3.] 500
    """
    return partial(_solve, name, options)


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
    disp: bool = False,
    hess: object = None,
    hessp: object = None,
) -> OptimizeResult:
    del hess, hessp
    if not callable(jac):
        raise FastoptError(
            f"jac is {jac!r}; True or a function is needed: the rules need gradients"
        )
    if bounds is not None or (constraints is not None and np.size(constraints)):
        raise FastoptError("bounds or constraints are given; the update rules support neither")
    given = {
        "epochs": None if maxiter is None else Whole(1)("maxiter", maxiter),
        "tol": tol,
        "callback": None if callback is None else _with_result(callback),
        "progress": True if disp else None,
    }

    def loss_and_gradient(x: Array) -> tuple[Any, Array]:
        return fun(x, *args), np.asarray(jac(x, *args), dtype=x.dtype)

    options = {**own, **{key: value for key, value in given.items() if value is not None}}
    result = minimize(loss_and_gradient, x0, method=name, **options)
    result.njev = result.nfev
    return result


def _with_result(callback: Callable[..., object]) -> Callable[[OptimizeResult], object]:
    """Return a callback in either of SciPy's forms as a function of an `OptimizeResult`."""
    if set(inspect.signature(callback).parameters) == {"intermediate_result"}:
        return lambda state: callback(intermediate_result=state)
    return lambda state: callback(np.copy(state.x))
