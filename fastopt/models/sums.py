"""Sums over the rows of a batch, whose errors do not grow with the number of rows.

Losses and gradients use no other sum over rows. A float32 sum hardly grows once its terms are
smaller than the spacing of float32 numbers near it: the computed mean of 4 million ones may be
0.97.
"""

import numpy as np

from fastopt.arrays.dtypes import Array

BLOCK = 1024  # rows of one BLAS product, which is summed in the dtype of the parameters


def total(values: Array) -> float:
    return float(values.sum(dtype=np.float64))


def over_rows(slope: Array) -> Array:
    """Return the sum of the rows of `slope`, added in float64: the gradient of a bias."""
    sums: Array = slope.sum(axis=0, dtype=np.float64)
    return sums.astype(slope.dtype, copy=False)


def of_products(h: Array, slope: Array) -> Array:
    """Return h.T @ slope, a sum of outer products over rows: the gradient of a weight matrix.

    The products of fixed blocks of rows are added in float64.
    """
    if len(h) <= BLOCK:
        return h.T @ slope
    sums = np.zeros((h.shape[1], slope.shape[1]))
    for start in range(0, len(h), BLOCK):
        block = slice(start, start + BLOCK)
        sums += h[block].T @ slope[block]
    return sums.astype(slope.dtype, copy=False)
