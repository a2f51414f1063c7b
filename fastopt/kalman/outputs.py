"""How observations of any model are checked and absorbed (`KalmanSGD.update`)."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from fastopt._checks import Choice
from fastopt._errors import FastoptError
from fastopt.kalman import input as given
from fastopt.kalman._kalman import nonfinite_row
from fastopt.kalman.covariance import Floats
from fastopt.kalman.options import NO_BOUNDS
from fastopt.kalman.state import State


def absorb_outputs(
    state: State,
    y: npt.ArrayLike,
    mean: npt.ArrayLike,
    jac: npt.ArrayLike,
    variance: npt.ArrayLike,
) -> None:
    """Absorb the outputs of one observation or of a mini-batch jointly; or raise an error.

    The outputs are whitened first, so that the forms of covariance get residuals of variance 1.
    """
    options = state.options
    jac = _jacobian(jac, options.n_params)
    shape = jac.shape[:-1]
    target, fitted = _outputs("y", y, shape), _outputs("mean", mean, shape)
    residual, gradients = target - fitted, jac.reshape(-1, options.n_params)
    if not np.isfinite(residual).all() or nonfinite_row(gradients) >= 0:
        raise FastoptError("y, mean or jac has a NaN or an infinity; nothing was done")
    state.require_covariance()
    clipped = redundant = 0
    if isinstance(variance, str):
        Choice(("multinomial",))("variance", variance)
        if options.is_bounded:
            raise FastoptError(
                f"gamma is {options.given_gamma}; variance='multinomial' allows no bounds"
            )
        residual, rows = whitened_classes(target, fitted, jac)
        redundant = residual.size // shape[-1]  # one output of each observation
    else:
        residual, rows, clipped = whitened(residual, jac, variance, options.gamma)
    with np.errstate(over="ignore"):
        rows = rows.astype(state.form.reads, copy=False)
    if nonfinite_row(rows) >= 0:
        raise FastoptError(f"variance is {variance!r}, too small for {options.dtype}")

    state.require_done(state.form.outputs(rows, residual))
    n_obs, n_clipped, innovations = state.form.counts
    state.form.counts = (n_obs - redundant, n_clipped + clipped, innovations)
    state.history = state.history._replace(
        n_passes=max(1, state.history.n_passes),
        estimates_dispersion=state.history.estimates_dispersion or not redundant,
        is_linear=False,
    )
    state.check_stop(gradients, target.ravel(), has_identity_link=False)


def _jacobian(value: object, p: int) -> Floats:
    """Return gradients of shape (1, p) for one output, (C, p), or (n, C, p)."""
    jac = given.numbers("jac", value)
    if not 1 <= jac.ndim <= 3 or jac.shape[-1] != p or not jac.size:
        raise FastoptError(f"jac has shape {jac.shape}; ({p},), (C, {p}) or (n, C, {p}) is needed")
    return np.require(np.atleast_2d(jac), np.float64, ["C", "A"])


def _outputs(name: str, value: object, shape: tuple[int, ...]) -> Floats:
    found = given.numbers(name, value)
    if found.shape != shape and not (shape == (1,) and found.shape == ()):
        raise FastoptError(f"{name} has shape {found.shape}; {shape} is needed, to match jac")
    return np.array(found.reshape(shape), dtype=np.float64)


def root_variance(
    variance: npt.ArrayLike, shape: tuple[int, ...], gamma: tuple[float, float]
) -> tuple[Floats, int]:
    """Return standard deviations or a Cholesky factor, and how many variances were clipped."""
    value = given.numbers("variance", variance).astype(np.float64)
    n = math.prod(shape)
    if value.shape not in ((), shape, (n, n)):
        raise FastoptError(f"variance has shape {value.shape}; allowed: (), {shape}, {(n, n)}")
    if value.shape not in ((), shape):
        if gamma != NO_BOUNDS:
            raise FastoptError(f"gamma is {gamma!r}; a matrix of variances allows no bounds")
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
    """Return residuals of variance 1, their gradients, and how many variances were clipped."""
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
    """Return whitened residuals and gradients for class probabilities; jac is that of the logits.

    With u = sqrt(m) the variance diag(m) - m m' is B B', B = diag(u) (I - u u'). The gradients
    are B' J and the residuals (y - m) / u, which are in the range of B'.
    """
    for name, value in (("y", y), ("mean", mean)):
        if value.shape[-1] < 2 or (value < 0).any() or (abs(value.sum(-1) - 1) > 1e-5).any():
            raise FastoptError(
                f"{name} has no probabilities of two or more classes that sum to 1 within 1e-5"
            )
    share: Floats = mean / mean.sum(-1, keepdims=True)
    # For a class of probability 0 the gradient is 0 and the residual infinite; only their product
    # matters, so u is bounded from below.
    root = np.sqrt(np.maximum(share, 1e-200))
    rows = jac - share[..., None, :] @ jac
    rows *= root[..., None]
    return ((y - share) / root).ravel(), rows.reshape(y.size, -1)
