"""What a caller may pass to KalmanSGD, as the numbers that it works with."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from fastopt._checks import Choice, Real, Whole, at_least_0, flag
from fastopt._errors import FastoptError
from fastopt.arrays.accepted import refuse_masked
from fastopt.families import Family
from fastopt.kalman._kalman import nonfinite_row
from fastopt.kalman.covariance import Floats, Wholes

TINY = float(np.finfo(np.float64).tiny)
positive = Real(low=TINY)
MOST_PARAMS = 2**31 - 1  # BLAS's int
MOST_DENSE = 46340  # whose square fits in it
MOST_ROWS = 2**63 - 1  # counted
COPIED_ROWS = 4096  # at a time, where X is not of the layout that BLAS reads


def start(n_params_or_w0: object) -> Floats:
    """Return the coefficients to start from, an array of their own."""
    if isinstance(n_params_or_w0, (int, np.integer)):
        return np.zeros(Whole(1, MOST_PARAMS)("n_params", n_params_or_w0))
    w0 = numbers("w0", n_params_or_w0, "fiu").astype(np.float64)
    if w0.ndim != 1 or not 1 <= w0.size <= MOST_PARAMS or not np.isfinite(w0).all():
        raise FastoptError(
            f"w0 has shape {w0.shape}; a vector of 1 to {MOST_PARAMS} finite numbers is needed"
        )
    return w0


def blocks(covariance: object, p: int) -> list[Wholes] | None:
    """Return the coefficients of each block, or None where a name says all."""
    if isinstance(covariance, str):
        Choice(("full", "diag"))("covariance", covariance)
        return None
    if not isinstance(covariance, (list, tuple)):
        raise TypeError(
            f"covariance is {covariance!r}; 'full', 'diag' or a list of index arrays is needed"
        )
    found = []
    for b, block in enumerate(covariance):
        own = numbers(f"covariance[{b}]", block)
        if own.ndim != 1 or own.dtype.kind not in "iu" or not 1 <= own.size <= MOST_DENSE:
            raise FastoptError(
                f"covariance[{b}] has shape {own.shape} and dtype {own.dtype}; "
                f"a vector of 1 to {MOST_DENSE} whole numbers is needed"
            )
        if own.min() < 0 or own.max() >= p:
            bad = own[(own < 0) | (own >= p)][0]
            raise FastoptError(f"covariance[{b}] has {bad}; allowed: 0 to {p - 1}")
        found.append(own.astype(np.int64))
    times = np.bincount(np.concatenate([*found, np.empty(0, np.int64)]), minlength=p)
    if (times != 1).any():
        bad = int(np.argmax(times != 1))
        raise FastoptError(
            f"covariance has coefficient {bad} in {times[bad]} blocks; each is needed in one"
        )
    return found


def covariance(m0: object, p: int, kept: str) -> Floats | None:
    """Return a diagonal or a matrix to start from, or None where it waits for the data's scale.

    kept: of the covariance; "full", or "diag" or "blocks", which have no place for a matrix.
    """
    if isinstance(m0, str):
        if m0 != "scale":
            raise FastoptError(f"m0 is {m0!r}; allowed: a number, a vector, a matrix or 'scale'")
        return None
    value = numbers("m0", 100.0 if m0 is None else m0, "fiu").astype(np.float64)
    if value.shape not in ((), (p,), (p, p)):
        raise FastoptError(f"m0 has shape {value.shape}; allowed: (), ({p},) or ({p}, {p})")
    if value.ndim < 2:
        if not (np.isfinite(value) & (value > 0)).all():
            raise FastoptError(f"m0 is {m0!r}; finite numbers above 0 are needed")
        return np.full(p, value)
    if not np.isfinite(value).all() or not (value == value.T).all():
        raise FastoptError("m0 is not a symmetric matrix of finite numbers")
    try:
        np.linalg.cholesky(value)
    except np.linalg.LinAlgError:
        raise FastoptError("m0 is not positive definite") from None
    if kept != "full":
        raise FastoptError(
            f"m0 is a matrix; covariance {kept!r} needs a number or a vector, as "
            "covariances between blocks would be lost"
        )
    return value


def variance_bounds(gamma: object) -> tuple[float, float]:
    if not isinstance(gamma, (tuple, list)) or len(gamma) != 2:
        raise TypeError(f"gamma is {gamma!r}; a pair of numbers or None is needed")
    low = 0.0 if gamma[0] is None else positive("gamma[0]", gamma[0])
    high = math.inf if gamma[1] is None else positive("gamma[1]", gamma[1])
    if low > high:
        raise FastoptError(f"gamma is {gamma!r}; the lower bound comes first")
    return low, high


def stop_condition(stop: object) -> tuple[str, float] | None:
    if stop is None:
        return None
    if not isinstance(stop, (tuple, list)) or len(stop) != 2:
        raise TypeError(f"stop is {stop!r}; a pair is needed")
    return str(Choice(("se", "trace"))("stop[0]", stop[0])), positive("stop[1]", stop[1])


def family_shape(family: Family, alpha: float | None) -> float:
    if family.name == "negative_binomial":
        return 1.0 if alpha is None else at_least_0("alpha", alpha)
    if alpha is not None:
        raise FastoptError(f"alpha is {alpha!r}; the {family.name} family has none")
    return 0.0


def block_rows(p: int) -> int:
    """Return the rows a block that were fastest on two cores."""
    return 32 if p < 200 else 64 if p < 700 else 128 if p < 1500 else 192


def numbers(name: str, value: object, kinds: str = "fiub") -> npt.NDArray[Any]:
    """Return an array of real numbers; of data, True is 1."""
    refuse_masked(name, value)
    array = np.asarray(value)
    if array.dtype.kind not in kinds:
        raise TypeError(f"{name} has dtype {array.dtype}; real numbers are needed")
    return array


def matrix(X: object, p: int) -> npt.NDArray[Any]:
    rows = numbers("X", X)
    if rows.ndim != 2 or rows.shape[1] != p:
        raise FastoptError(f"X has shape {rows.shape}; (n, {p}) is needed")
    return rows


def vector(name: str, value: object, n: int) -> Floats:
    vector = numbers(name, value)
    if vector.shape != (n,):
        raise FastoptError(f"{name} has shape {vector.shape}; ({n},) is needed")
    return np.require(vector, np.float64, ["C", "A"])


def scale(rows: npt.NDArray[Any]) -> Floats:
    """Return m0="scale", the diagonal that the first rows give."""
    n, p = rows.shape
    least = max(256, 2 * p)
    if n < least:
        raise FastoptError(f"X has {n} rows; m0='scale' needs {least} in the first call")
    total = np.zeros(p)
    for _, part in parts(rows):
        total += np.einsum("ij,ij->j", part, part)
    variance: Floats = 100.0 * n / np.where(total > 0, total, np.nan)
    if not np.isfinite(variance).all():
        bad = int(np.argmin(np.isfinite(variance)))
        raise FastoptError(
            f"the mean square of column {bad} of X is {total[bad] / n}, which gives "
            "m0='scale' no finite start"
        )
    return variance


def weights(weight: object, n: int) -> Floats | None:
    """Return what divides the variance of each row."""
    if weight is None:
        return None
    value = vector("weight", weight, n)
    allowed = np.isfinite(value) & (value >= 0)
    if not allowed.all():
        bad = int(np.argmin(allowed))
        raise FastoptError(f"weight[{bad}] is {value[bad]}; allowed: finite, >= 0")
    return value


def floats(name: str, value: object, shape: tuple[int, ...]) -> Floats:
    """Return a copy of an array of this shape."""
    array = np.array(numbers(name, value), dtype=np.float64)
    if array.shape != shape:
        raise FastoptError(f"{name} has shape {array.shape}; {shape} is needed")
    return array


def jacobian(value: object, p: int) -> Floats:
    """Return gradients of outputs: (1, p) of one, (C, p), or (n, C, p) of n observations."""
    jac = numbers("jac", value)
    if not 1 <= jac.ndim <= 3 or jac.shape[-1] != p or not jac.size:
        raise FastoptError(f"jac has shape {jac.shape}; ({p},), (C, {p}) or (n, C, {p}) is needed")
    return np.require(np.atleast_2d(jac), np.float64, ["C", "A"])


def outputs(name: str, value: object, shape: tuple[int, ...]) -> Floats:
    found = numbers(name, value)
    if found.shape != shape and not (shape == (1,) and found.shape == ()):
        raise FastoptError(f"{name} has shape {found.shape}; {shape} is needed, as jac has rows")
    return np.array(found.reshape(shape), dtype=np.float64)


def parts(
    rows: npt.NDArray[Any], most: int | None = None, dtype: str = "float64"
) -> Iterator[tuple[int, Floats]]:
    """Yield (first row, rows) as BLAS reads them, at most so many; copied unless they lie so."""
    step, inner = rows.strides
    size = np.dtype(dtype).itemsize
    width = size * rows.shape[1]
    is_plain = rows.dtype == dtype and rows.dtype.isnative and rows.flags.aligned
    apart = len(rows) < 2 or (step % size == 0 and width <= step < 2**31 * size)
    if is_plain and apart and (inner == size or rows.shape[1] == 1):
        most = most or max(1, len(rows))
        for first in range(0, len(rows), most):
            yield first, rows[first : first + most]
        return
    for first in range(0, len(rows), COPIED_ROWS):
        with np.errstate(over="ignore"):  # seen where rows are looked at for infinities
            copied = np.array(rows[first : first + COPIED_ROWS], dtype=dtype, order="C")
        for within in range(0, len(copied), most or COPIED_ROWS):
            yield first + within, copied[within : within + (most or COPIED_ROWS)]


def root_variance(
    variance: npt.ArrayLike, shape: tuple[int, ...], gamma: tuple[float, float]
) -> tuple[Floats, int]:
    """Return standard deviations, or a Cholesky factor, and how many met a bound."""
    value = numbers("variance", variance).astype(np.float64)
    n = math.prod(shape)
    if value.shape not in ((), shape, (n, n)):
        raise FastoptError(f"variance has shape {value.shape}; allowed: (), {shape}, {(n, n)}")
    if value.shape not in ((), shape):
        if gamma != (0.0, math.inf):
            raise FastoptError("gamma bounds variances of outputs, not a matrix of them")
        if not np.isfinite(value).all() or not (value == value.T).all():
            raise FastoptError("variance is not a symmetric matrix of finite numbers")
        try:
            return np.linalg.cholesky(value).astype(np.float64), 0
        except np.linalg.LinAlgError:
            raise FastoptError("variance is not positive definite") from None
    bounded = np.broadcast_to(np.clip(value, *gamma), shape)
    if not (np.isfinite(value) & (value >= 0)).all() or not (bounded > 0).all():
        raise FastoptError(f"variance is {variance!r}; finite numbers above 0 are needed")
    return np.sqrt(bounded).ravel(), int(np.sum(bounded != value))


def whitened(
    residual: Floats, jac: Floats, variance: npt.ArrayLike, gamma: tuple[float, float]
) -> tuple[Floats, Floats, int]:
    """Return residuals of unit variance, their gradients, and how many variances met a bound."""
    root, clipped = root_variance(variance, residual.shape, gamma)
    residual, rows = residual.ravel(), jac.reshape(residual.size, -1)
    if root.ndim == 2:
        both = np.linalg.solve(root, np.column_stack([residual, rows])).astype(np.float64)
        residual, rows = both[:, 0].copy(), both[:, 1:].copy()
    elif (root != 1.0).any():
        residual, rows = residual / root, rows / root[:, None]
    if not np.isfinite(residual).all() or nonfinite_row(rows) >= 0:
        raise FastoptError(f"variance is {variance!r}, too small for these numbers")
    return residual, rows, clipped


def whitened_classes(y: Floats, mean: Floats, jac: Floats) -> tuple[Floats, Floats]:
    """Return the same for probabilities of classes, where jac is that of the logits.

    With u = sqrt(m) the variance diag(m) - m m' is B B', B = diag(u) (I - u u'): rows B' J and
    residuals (y - m) / u, which lie in the range of B'.
    """
    for name, value in (("y", y), ("mean", mean)):
        if value.shape[-1] < 2 or (value < 0).any() or (abs(value.sum(-1) - 1) > 1e-5).any():
            raise FastoptError(
                f"{name} is not of probabilities of two or more classes that sum to 1 in float32"
            )
    share: Floats = mean / mean.sum(-1, keepdims=True)
    # A class of probability 0 has a row of 0 and an infinite residual: only their product counts.
    root = np.sqrt(np.maximum(share, 1e-200))
    rows = jac - share[..., None, :] @ jac
    rows *= root[..., None]
    return ((y - share) / root).ravel(), rows.reshape(y.size, -1)


def state(saved: object, own: Mapping[str, Any]) -> dict[str, Any]:
    """Return a state dict, checked; the filter's own has the names and shapes that are needed."""
    if not isinstance(saved, Mapping) or set(saved) != set(own):
        found = list(saved) if isinstance(saved, Mapping) else saved
        raise FastoptError(f"the state dict has {found!r}; {list(own)} are needed")
    shapes = {name: value.shape for name, value in own.items() if isinstance(value, np.ndarray)}
    if np.ndim(saved["origin_covariance"]) == 2:  # a diagonal or a matrix
        shapes["origin_covariance"] = shapes["origin_coef"] * 2
    checked: dict[str, Any] = {
        name: _saved_array(name, saved[name], shape) for name, shape in shapes.items()
    }
    for name in ("n_obs", "n_clipped", "n_passes"):
        checked[name] = Whole(0, MOST_ROWS)(name, saved[name])
    checked["innovations"] = at_least_0("innovations", saved["innovations"])
    for name in ("estimates_dispersion", "waits", "is_linear", "separable"):
        checked[name] = flag(name, saved[name])
    checked["stop_reached_at"] = saved.get("stop_reached_at")
    if checked["stop_reached_at"] is not None:
        Whole(0)("stop_reached_at", checked["stop_reached_at"])
    return checked


def _saved_array(name: str, value: object, shape: tuple[int, ...]) -> Floats:
    array = np.array(numbers(name, value), dtype=np.float64, order="F")
    if array.shape != shape or not np.isfinite(array).all():
        raise FastoptError(f"{name} of the state dict is not {shape} of finite numbers")
    return array
