"""check_grad: is a gradient that of its function?"""

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
STEP = EPS ** (1 / 3)  # balances the cut of the series, step^2, against rounding, EPS/step


@dataclass(frozen=True)
class GradCheck:
    """What `check_grad` has found.

    Attributes
    ----------
    error : float
        The largest of `errors`.
    errors : dict
        For each parameter, by name or index (0 for one array), the largest error.
    param, index
        Where the largest is: a parameter, and the index of the element in it.
    gradient, difference : float
        What `fun` says there, and what its losses say.
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

    An element's error is abs(gradient - difference), less what rounding of the losses can
    explain, over the largest absolute gradient or difference of the parameter's elements that
    were looked at.

    Parameters
    ----------
    fun : callable, or a model
        ``fun(params, *batch) -> (loss, grads)``, as for `fastopt.minimize`: smooth around
        `params`, and computing in the precision of what it is given.
    params : numpy.ndarray, or list or dict of them
        Where. They are copied, as float64.
    *batch
        Handed on to `fun`.
    samples : int, at least 1
        Elements of each parameter that are looked at, at two calls of `fun` each: all of a small
        one, else some drawn at random. Default 50.
    seed : int, at least 0
        Of the drawing. Default 0.

    Returns
    -------
    GradCheck
        With ``error``, about 1e-9 for a right gradient and 1 for one that is all wrong, and where
        it is largest. A parameter whose gradient is None is left out.

    Raises
    ------
    FastoptError, TypeError
        Gradients of another structure or shapes than `params`, none at all, or an option.

    References
    ----------
    As ``scipy.optimize.check_grad``, which sums the errors of one vector.

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
    errors = {}
    for key, gradient in named.items():
        w = arrays[key]
        places = rng.permutation(w.size)[:samples]
        found = gradient.reshape(-1)[places]
        differences = np.empty(len(places))
        noise = np.empty(len(places))
        for i, place in enumerate(places):
            differences[i], noise[i] = _difference(call, x, batch, w, place)
        scale = max(np.abs(found).max(initial=0.0), np.abs(differences).max(initial=0.0))
        off = np.maximum(np.abs(found - differences) - noise, 0.0)
        with np.errstate(invalid="ignore", divide="ignore"):
            relative = np.where(off == 0, 0.0, off / scale)
        relative[~np.isfinite(relative)] = np.inf
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


def _difference(
    fun: Fun, x: Any, batch: tuple[Any, ...], w: Array, place: int
) -> tuple[float, float]:
    """Return the slope along an element of ``w``, which is part of ``x``, and its rounding."""
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
    """Return a copy of the parameters, and the same arrays by name."""
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
    """Return copies of the gradients by the names of their parameters, without those left out."""
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
