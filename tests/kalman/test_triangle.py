"""The product of M and a single row, which reads only the lower triangle.

Run as a program, this file prints digests of the coefficients after `update`, for each dtype and
number of threads. `test_equal_bits` runs it with each instruction set.
"""

import json
from hashlib import blake2b

import numpy as np
import pytest
from support import by_isa

from fastopt import KalmanSGD
from fastopt.kalman._kalman import Filter, columns
from fastopt.kalman.covariance import plain

GAUSSIAN = (("gaussian", "identity"), 0.0, False, 0.0, np.inf)
LARGE = plain.PARTS_FROM + 5  # uses threads; not a multiple of four columns


def rows(p, n):
    rng = np.random.default_rng(p)
    return rng.standard_normal((n, p)), rng.standard_normal(n)


def digests():
    X, y = rows(LARGE, 3)
    found = {}
    for dtype in ("float64", "float32"):
        for n_threads in (1, 2, 3):
            k = KalmanSGD(LARGE, m0=2.0, dtype=dtype, n_threads=n_threads)
            for row, target in zip(X, y, strict=True):
                k.update(target, row @ k.coef, row)
            found[f"{dtype} {n_threads}"] = blake2b(k.coef.tobytes()).hexdigest()
    return found


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("p", [*range(1, 42), 63, 64, 65, 127, 1001])
def test_against_numpy(p, dtype):
    rng = np.random.default_rng(p)
    root = rng.standard_normal((p, p)) / np.sqrt(p)
    m = (root @ root.T + np.eye(p)).astype(dtype).astype(float)
    (x,), (y,) = rows(p, 1)
    x = x.astype(dtype).astype(float)
    lower = np.where(np.tri(p, dtype=bool), m, np.nan)  # the upper triangle must not be read
    padded, w = columns(p, p, np.dtype(dtype).char), np.zeros(p)
    given = padded[:p]
    given[...] = lower
    k = Filter(w, padded, 1, 1.0, np.inf, 2, True, True)
    assert k.rows(*GAUSSIAN, x[None].astype(dtype), np.array([y]), None, None, 1) == ""
    v = m @ x
    s = 1.0 + x @ v
    tolerance = 1e-13 if dtype == "float64" else 2e-5
    np.testing.assert_allclose(w, y / s * v, rtol=0, atol=tolerance * np.abs(y / s * v).max())
    after = np.tril(m - np.outer(v, v) / s)
    np.testing.assert_allclose(np.tril(given), after, rtol=0, atol=tolerance * np.abs(m).max())


def test_a_large_filter_against_numpy():
    X, y = rows(LARGE, 3)
    k, w, m = KalmanSGD(LARGE, m0=2.0, n_threads=2), np.zeros(LARGE), 2.0 * np.eye(LARGE)
    for row, target in zip(X, y, strict=True):
        k.update(target, row @ k.coef, row, 0.5)
        v = m @ row
        s = 0.5 + row @ v
        w += (target - row @ w) / s * v
        m -= np.outer(v, v) / s
    np.testing.assert_allclose(k.coef, w, rtol=0, atol=1e-12)
    np.testing.assert_allclose(k.covariance(scaled=False), m, rtol=0, atol=1e-12)


def test_equal_bits():
    """The bits are the same on every instruction set and for any number of threads."""
    found = by_isa(__file__)
    for dtype in ("float64", "float32"):
        bits = {f"{isa} {n}": found[isa][f"{dtype} {n}"] for isa in found for n in (1, 2, 3)}
        assert len(set(bits.values())) == 1, bits


if __name__ == "__main__":
    print(json.dumps(digests()))
