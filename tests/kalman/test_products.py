"""Filters with few coefficients, whose matrix products do not use BLAS.

Run as a program, this file prints digests of coefficients and covariance for each size and dtype.
`test_equal_bits` runs it with each instruction set.
"""

import json
from hashlib import blake2b

import numpy as np
import pytest
from support import by_isa

from fastopt import KalmanSGD
from fastopt.kalman.covariance import plain

SIZES = [1, 2, 3, 5, 8, 9, 16, 17, 33, 63, 64, 70, 130, 199, 205, plain.OWN_BELOW - 1]
DTYPES = ["float64", "float32"]
CALLS = [1, 1, 2, 7, 8, 9, 40, 3, 1, 33, 70]  # rows of each call; some terms stay pending


def rows(p):
    rng = np.random.default_rng(p)
    n = sum(CALLS)
    return rng.standard_normal((n, p)), rng.standard_normal(n)


def filtered(p, dtype, **options):
    X, y = rows(p)
    k = KalmanSGD(p, m0=2.0, mode="plain", dtype=dtype, **options)
    for last, n in zip(np.cumsum(CALLS), CALLS, strict=True):
        k.partial_fit(X[last - n : last], y[last - n : last])
    return k


def digests():
    found = {}
    for dtype in DTYPES:
        for p in SIZES:
            for keep in (1.0, 0.99):
                k = filtered(p, dtype, forgetting=keep)
                bits = k.coef.tobytes() + k.covariance(scaled=False).tobytes()
                found[f"{dtype} {p} {keep}"] = blake2b(bits).hexdigest()
    return found


@pytest.mark.parametrize("keep", [1.0, 0.99])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("p", "by_blas"), [*((p, False) for p in SIZES), (1, True), (9, True), (70, True)]
)
def test_against_numpy(p, by_blas, dtype, keep, monkeypatch):
    if by_blas:
        monkeypatch.setattr(plain, "OWN_BELOW", 0)
    X, y = (a.astype(dtype).astype(float) for a in rows(p))
    k = filtered(p, dtype, forgetting=keep)
    age = keep ** -np.arange(1.0, len(y) + 1)  # (M^-1)_n = keep^n (M0^-1 + sum of x x' keep^-i)
    m = np.linalg.inv(np.eye(p) / 2 + X.T @ (X * age[:, None])) / keep ** len(y)
    w = m @ (X.T @ (y * age)) * keep ** len(y)
    tolerance = 1e-11 if dtype == "float64" else 3e-4
    scale = np.abs(m).max()
    np.testing.assert_allclose(k.covariance(scaled=False), m, rtol=0, atol=tolerance * scale)
    np.testing.assert_allclose(k.coef, w, rtol=0, atol=tolerance * np.sqrt(p))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", [63, 65, 130])
def test_many_outputs_in_a_block(n, dtype):
    X, y = (a[:n].astype(dtype).astype(float) for a in rows(5))
    k = KalmanSGD(5, m0=2.0, mode="plain", dtype=dtype, block=130).update(y, np.zeros(n), X)
    m = np.linalg.inv(np.eye(5) / 2 + X.T @ X)
    tolerance = 1e-12 if dtype == "float64" else 1e-4
    np.testing.assert_allclose(k.covariance(scaled=False), m, rtol=0, atol=tolerance)
    np.testing.assert_allclose(k.coef, m @ X.T @ y, rtol=0, atol=tolerance)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("p", [1, 5, 17, 70, 205])
def test_both_triangles(p, dtype):
    """M is symmetric to the last bit, of which products without BLAS read both triangles."""
    form = filtered(p, dtype)._state.form
    form.covariance()  # writes the pending terms
    assert (form._m == form._m.T).all()
    assert (form._padded[p:] == 0).all()


def test_equal_bits():
    found = by_isa(__file__)
    first = next(iter(found.values()))
    assert len(first) == 2 * len(DTYPES) * len(SIZES)
    for isa, bits in found.items():
        assert {name for name in bits if bits[name] != first[name]} == set(), isa


if __name__ == "__main__":
    print(json.dumps(digests()))
