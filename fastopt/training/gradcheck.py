"""check_grad: whether a gradient agrees with finite differences of its function."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from fastopt._checks import Whole
from fastopt._errors import FastoptError
from fastopt.arrays.accepted import as_gradient, refuse_masked
from fastopt.arrays.dtypes import Array
from fastopt.arrays.sparse import as_dense, is_of_rows
from fastopt.training.fun import Fun, as_fun, loss_and_grads

__all__ = ["check_grad"]

EPS = float(np.finfo(np.float64).eps)
STEP = EPS ** (1 / 3)  # balances the truncation error, step^2, against rounding, EPS/step


@dataclass(frozen=True)
class GradCheck:
    """The result of `check_grad`.

    Attributes
    ----------
    error : float
        The largest of `errors`.
    errors : dict
        The largest error of each parameter, by name or index (0 for one array).
    param, index
        The parameter, and the index of the element in it, with the largest error.
    gradient, difference : float
        The element of the gradient there, and the difference quotient of the losses.
    """

    error: float
    errors: dict[Any, float]
    param: Any
    index: tuple[int, ...]
    gradient: float
    difference: float


def check_grad(
    fun: Fun | object,
    params: Any,
    *batch: Any,
    samples: int = 50,
    seed: int = 0,
) -> GradCheck:
    """Compare the gradients that a function returns with central differences of its losses.

    The error of an element is abs(gradient - difference), minus a bound on the rounding error of
    the difference, divided by the largest absolute gradient or difference among the elements of
    the parameter that are checked.

    Parameters
    ----------
    fun : callable, or a model
        ``fun(params, *batch) -> (loss, grads)``, as for `fastopt.minimize`. It should be smooth
        around `params` and compute in the precision of its arguments.
    params : numpy.ndarray, or list or dict of them
        The point at which gradients are checked. The arrays are copied, as float64.
    *batch
        Further arguments of `fun`.
    samples : int, at least 1
        The number of elements of each parameter that are checked. If a parameter has more, they
        are drawn at random. Each element takes two calls of `fun`. Default 50.
    seed : int, at least 0
        The seed of the random draw. Default 0.

    Returns
    -------
    GradCheck
        The largest ``error``, about 1e-9 for a correct gradient and 1 for an entirely wrong one,
        and its location. A parameter whose gradient is None is left out.

    Raises
    ------
    FastoptError, TypeError
        The gradients do not have the structure and shapes of `params`, or are all None; or an
        option is not allowed.

    References
    ----------
    ``scipy.optimize.check_grad`` does the same for one vector, and sums the errors.

    Examples
    --------
    >>> import numpy as np
    >>> from fastopt import check_grad
    >>> def loss_and_gradients(p, X, y):
    ...     r = X @ p["w"] + p["b"] - y
    ...     return r @ r / 2, {"w": X.T @ r, "b": r.mean()}  # b's should be the sum
    >>> X = np.random.default_rng(0).normal(size=(20, 3))
    >>> found = check_grad(loss_and_gradients, {"w": np.ones(3), "b": np.ones(())}, X, X[:, 0])
    >>> found.param, round(found.error, 6), found.errors["w"] < 1e-8
    ('b', 0.95, True)
    """
    samples = Whole(1)("samples", samples)
    rng = np.random.default_rng(Whole(0)("seed", seed))
    x, arrays = _as_float64(params)
    call = as_fun(fun)
    named = _gradients(arrays, loss_and_grads(call(x, *batch))[1])
    worst = None
    errors: dict[Any, float] = {}
    for key, gradient in named.items():
        w = arrays[key]
        places = rng.permutation(w.size)[:samples]
        found = gradient.reshape(-1)[places]
        slopes = [_difference(call, x, batch, w, place) for place in places]
        differences, noise = np.array(slopes).reshape(-1, 2).T
        relative = _relative_errors(found, differences, noise)
        errors[key] = float(relative.max(initial=0.0))
        if len(places) and (worst is None or errors[key] > worst.error):
            i = int(relative.argmax())
            index = tuple(int(k) for k in np.unravel_index(places[i], w.shape))
            worst = GradCheck(
                errors[key], errors, key, index, float(found[i]), float(differences[i])
            )
    if worst is None:
        raise FastoptError("params have no element with a gradient to be checked")
    return worst


def _relative_errors(gradient: Array, differences: Array, noise: Array) -> Array:
    """Return the errors minus ``noise``, at least 0, divided by the largest absolute value."""
    scale = max(np.abs(gradient).max(initial=0.0), np.abs(differences).max(initial=0.0))
    off = np.maximum(np.abs(gradient - differences) - noise, 0.0)
    with np.errstate(invalid="ignore", divide="ignore"):
        relative = np.where(off == 0, 0.0, off / scale)
    relative[~np.isfinite(relative)] = np.inf
    return relative


def _difference(
    fun: Fun, x: Any, batch: tuple[Any, ...], w: Array, place: int
) -> tuple[float, float]:
    """Return the difference quotient along an element of ``w``, and a bound on its rounding error.

    ``w`` is one of the arrays of ``x``; it is restored.
    """
    flat = w.reshape(-1)
    before = float(flat[place])
    step = STEP * max(1.0, abs(before))
    up, down = before + step, before - step
    try:
        flat[place] = up
        above = loss_and_grads(fun(x, *batch))[0]
        flat[place] = down
        below = loss_and_grads(fun(x, *batch))[0]
    finally:
        flat[place] = before
    noise = 10 * EPS * max(abs(above), abs(below)) / (up - down)
    return (above - below) / (up - down), noise


def _as_float64(params: Any) -> tuple[Any, dict[Any, Array]]:
    """Return a copy of the parameters in their structure, and the same arrays by name or index."""
    if isinstance(params, dict):
        copies = {key: _copy(f"params[{key!r}]", w) for key, w in params.items()}
        return copies, copies
    if isinstance(params, (list, tuple)):
        listed = [_copy(f"params[{i}]", w) for i, w in enumerate(params)]
        return listed, dict(enumerate(listed))
    one = _copy("params", params)
    return one, {0: one}


def _copy(name: str, w: object) -> Array:
    refuse_masked(name, w)
    is_real = isinstance(w, np.ndarray) and (w.dtype.kind in "fiu" or w.dtype.name == "bfloat16")
    if not is_real:
        found = w.dtype if isinstance(w, np.ndarray) else type(w).__name__
        raise TypeError(f"{name} is a {found}; a numpy.ndarray of real numbers is needed")
    return np.array(w, dtype=np.float64, order="C")


def _gradients(arrays: dict[Any, Array], grads: Any) -> dict[Any, Array]:
    """Return copies of the gradients that are not None, by the names of their parameters."""
    if isinstance(grads, (list, tuple)):
        grads = dict(enumerate(grads))
    elif not isinstance(grads, dict):
        grads = {0: grads}
    if grads.keys() != arrays.keys():
        raise FastoptError(f"gradients have keys {list(grads)}; {list(arrays)} are needed")
    return {
        key: _gradient(f"parameter {key!r}", w, grads[key])
        for key, w in arrays.items()
        if grads[key] is not None
    }


def _gradient(name: str, w: Array, grad: object) -> Array:
    if is_of_rows(grad):
        return as_dense(name, w, grad)
    return np.array(as_gradient(name, w, grad), dtype=np.float64)
