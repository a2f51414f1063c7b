"""The point uphill of the parameters, at which sharpness-aware minimization takes gradients."""

from __future__ import annotations

import numpy as np

from fastopt.arrays.dtypes import Array, computed_in


def scaled(main: Array, grad: Array) -> Array:
    """Return |w| * g, in the precision of the computation."""
    real = computed_in(main)
    product: Array = np.abs(main.astype(real)) * grad.astype(real)
    return product


@np.errstate(all="ignore")
def point(main: Array, grad: Array, norm: float, rho: float, adaptive: bool) -> Array:
    """Return w + rho * g/norm, or w + rho * |w| * g/norm if g has been `scaled`.

    The ratio is computed in float64, where it neither overflows nor underflows, and the rest in the
    precision of the computation.

    main: the parameter or its master; rho: negative to go downhill.
    """
    real = computed_in(main)
    step = rho * (grad.astype(np.float64) / norm)
    if adaptive:
        step = np.abs(main.astype(np.float64)) * step
    there: Array = main.astype(real) + step.astype(real)
    return there
