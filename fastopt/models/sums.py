"""Sums over the rows of a batch.

Losses and gradients use no other sum over rows.
"""

import numpy as np

from fastopt.arrays.dtypes import Array


def total(values: Array) -> float:
    return float(values.sum(dtype=np.float64))


def over_rows(slope: Array) -> Array:
    """Return the sum of the rows of `slope`: the gradient of a bias."""
    sums: Array = slope.sum(axis=0)
    return sums


def of_products(h: Array, slope: Array) -> Array:
    """Return h.T @ slope, a sum of outer products over rows: the gradient of a weight matrix."""
    return h.T @ slope
