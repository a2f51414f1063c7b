"""The share of the machine's rate of float32 products that a step of Muon reaches.

python -m bench.muon

A product of symmetric matrices, or one whose result is symmetric, counts half: only one triangle
needs to be computed.  The threads are those of NumPy's BLAS (OPENBLAS_NUM_THREADS).
"""

import time
from collections.abc import Callable

import numpy as np

import fastopt

SHAPES = ((512, 512), (1024, 1024), (1024, 4096), (4096, 1024), (2048, 2048))
STEPS = 5
ROUNDS = 7


def best(call: Callable[[], object]) -> float:
    """Return the shortest of several times of a call, in seconds."""
    times = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return min(times)


def rate_of_products(n: int) -> float:
    """Return the operations per second of a product of two n x n float32 matrices."""
    a, b = np.random.default_rng(0).standard_normal((2, n, n)).astype(np.float32)
    out = np.empty_like(a)
    return 2 * n**3 / best(lambda: np.matmul(a, b, out=out))


def operations(rows: int, columns: int) -> float:
    """Return the operations of the products of one step."""
    short, long = min(rows, columns), max(rows, columns)
    return STEPS * (short**2 * long + short**3 + 2 * short**2 * long)


def main() -> None:
    """Print the time of a step, and its share of the rate of a product, for each shape."""
    rng = np.random.default_rng(0)
    print(f"{'shape':>12}{'ms':>9}{'GFLOP/s':>9}{'sgemm':>9}{'share':>7}")
    for shape in SHAPES:
        w, grad = rng.standard_normal((2, *shape)).astype(np.float32)
        opt = fastopt.Muon(w, ns_steps=STEPS)
        rate = rate_of_products(min(shape))
        seconds = best(lambda opt=opt, grad=grad: opt.step(grad))  # type: ignore[misc]
        own = operations(*shape) / seconds
        name = f"{shape[0]}x{shape[1]}"
        print(f"{name:>12}{seconds * 1e3:9.1f}{own / 1e9:9.0f}{rate / 1e9:9.0f}{own / rate:7.2f}")


if __name__ == "__main__":
    main()
