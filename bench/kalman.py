"""Time and memory of KalmanSGD, NumPy, BLAS and other packages: python -m bench.kalman.

Options: --sizes 100,1000 --threads 1,2 --rounds 7. A row of the table is measured in one process;
each round times every method in turn, after a call that is not timed. With --threads 0, the numbers
of threads are the defaults. Rows are Gaussian and float64 except where a family is named, times are
microseconds per row. The rate counts 3 p^2 floating-point operations per row. padasip, river and
statsmodels are omitted if they are not installed.

--families measures `partial_fit` only, in nanoseconds per row, for several families; and the ratio
of the time for Gaussian rows while another process keeps a core busy to the time without it.
"""

import argparse
import contextlib
import ctypes
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from scipy.linalg.blas import dgemm, dsymv, dsyr

import fastopt
from bench.compiled import library

Call = tuple[Callable[[], object], int]  # a call, and the number of rows that it absorbs
FAMILIES = ("gaussian", "binomial", "poisson")
WARMED = 5000  # rows; shorter calls of more coefficients are long enough
PRODUCT = 2000  # the order of the matrix product that measures the rate of the machine
TARGETS = """Targets by column: over numpy 8x at p = 100, 40x from 1000; over dsymv+dsyr 5x from
2000; share of dgemm 65 % at 1000, 80 % from 2000; 2.5 us at 100; over read 1.3x from 2000"""


def data(p: int, n: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.standard_normal((n, p)), rng.standard_normal(n)


def samples(fitting: float, least: int) -> int:
    """Return `fitting`, a number of rows for which a call is short, limited to [least, 3000]."""
    return max(least, min(3000, int(fitting)))


def partial_fit(p: int, family: str = "gaussian") -> Call:
    X, y = data(p, min(19200, max(384, 384 * int(5e6 / p**2))))
    z = X @ np.full(p, 1.0 / np.sqrt(p))
    if family == "binomial":
        y = (y < z).astype(np.float64)
    elif family == "poisson":
        y = np.random.default_rng(1).poisson(np.exp(z)).astype(np.float64)
    k = fastopt.KalmanSGD(p)
    return lambda: k.partial_fit(X, y, family), len(y)


def numpy_loop(p: int) -> Call:
    n = samples(3e7 / p**2, 2)
    X, y = data(p, n)
    M, w = 100.0 * np.eye(p), np.zeros(p)

    def loop() -> None:
        nonlocal M, w
        for x, target in zip(X, y, strict=True):
            v = M @ x
            s = 1.0 + x @ v
            w += (target - x @ w) / s * v
            M -= np.outer(v, v) / s

    return loop, n


def triangle_loop(p: int) -> Call:
    """Return a loop that updates one triangle in place with scipy.linalg.blas."""
    n = samples(3e7 / p**2, 2)
    X, y = data(p, n)
    M, w = np.asfortranarray(100.0 * np.eye(p)), np.zeros(p)

    def loop() -> None:
        nonlocal M, w
        for x, target in zip(X, y, strict=True):
            v = dsymv(1.0, M, x, lower=1)
            s = 1.0 + x @ v
            w += (target - x @ w) / s * v
            M = dsyr(-1.0 / s, v, lower=1, a=M, overwrite_a=1)

    return loop, n


def update(p: int) -> Call:
    n = samples(2e7 / p**2, 200)  # more than a block, so that writing M is included
    X, _ = data(p, n)
    k = fastopt.KalmanSGD(p)

    def loop() -> None:
        for x in X:
            k.update(0.5, 0.25, x)

    return loop, n


def read(p: int, threads: int) -> Call:
    """Return a call that reads one triangle of M, which bounds the time of `update`."""
    n = max(10, int(2e7 / p**2))
    loop = library(__file__).read_triangle
    loop.restype = ctypes.c_double
    M = np.ones((p, p))
    return lambda: [loop(ctypes.c_void_p(M.ctypes.data), ctypes.c_int64(p), threads)
                    for _ in range(n)], n  # fmt: skip


def product(_: int) -> Call:
    a = np.asfortranarray(np.random.default_rng(0).standard_normal((PRODUCT, PRODUCT)))
    c = np.empty_like(a)
    return lambda: dgemm(1.0, a, a, c=c, overwrite_c=1), 1


def padasip_rls(p: int) -> Call:
    from padasip.filters import FilterRLS

    n = samples(4e7 / p**3, 1)
    X, y = data(p, n)
    rls = FilterRLS(p, mu=1.0, eps=0.01, w="zeros")
    return lambda: [rls.adapt(target, x) for x, target in zip(X, y, strict=True)], n


def river_bayesian(p: int) -> Call:
    from river.linear_model import BayesianLinearRegression

    n = samples(3e7 / p**2, 2)
    X, y = data(p, n)
    rows = [dict(enumerate(x)) for x in X.tolist()]
    model = BayesianLinearRegression(alpha=0.01)
    return lambda: [model.learn_one(x, target) for x, target in zip(rows, y, strict=True)], n


def statsmodels_recursive(p: int) -> Call:
    from statsmodels.regression.recursive_ls import RecursiveLS

    X, y = data(p, 2 * p)  # few, because the results store a covariance for every row
    return lambda: RecursiveLS(y, X).filter(), 2 * p


# Optional packages, with the largest size at which each is measured; one round only.
PACKAGES: dict[str, tuple[Callable[[int], Call], int]] = {
    "padasip": (padasip_rls, 1000),
    "river": (river_bayesian, 4000),
    "statsmodels": (statsmodels_recursive, 100),
}


def memory(p: int) -> float:
    """Return the peak memory of a filter and `partial_fit`, in units of a p x p array."""
    X, y = data(p, 384)
    before = int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
    fastopt.KalmanSGD(p).partial_fit(X, y)
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return (most - before) / (8 * p * p)


def seconds(call: Call) -> float:
    """Return the mean time of a row."""
    time.sleep(0.05)  # the threads of OpenBLAS spin for a while after the previous call
    if call[1] >= WARMED:
        call[0]()  # after the pause, a call of a millisecond takes up to 1.4 times as long
    start = time.perf_counter()
    call[0]()
    return (time.perf_counter() - start) / call[1]


@contextlib.contextmanager
def busy_core() -> Iterator[None]:
    """Keep one core busy by another process."""
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as other:
        try:
            yield
        finally:
            other.kill()


def measure_families(p: int, rounds: int) -> dict[str, float]:
    """Return the median time per row for each family, and with a busy core."""
    calls = {name: partial_fit(p, name) for name in FAMILIES}
    times: dict[str, list[float]] = {name: [] for name in (*FAMILIES, "quiet", "busy")}
    for call in calls.values():
        call[0]()
    for _ in range(rounds):
        for name, call in calls.items():
            times[name].append(seconds(call))
        times["quiet"].append(long_seconds(calls["gaussian"]))
        with busy_core():
            times["busy"].append(long_seconds(calls["gaussian"]))
    return {name: statistics.median(each) for name, each in times.items()}


def long_seconds(call: Call) -> float:
    """Return the mean time of a row in .2 seconds, so that the scheduler settles."""
    time.sleep(0.05)
    calls, start = 0, time.perf_counter()
    while (spent := time.perf_counter() - start) < 0.2:
        call[0]()
        calls += 1
    return spent / (calls * call[1])


def measure(p: int, threads: int, rounds: int) -> dict[str, float]:
    """Return the median time per row of each method, and the memory of partial_fit."""
    found = {"memory": memory(p)}
    calls = {
        "partial_fit": partial_fit(p),
        "numpy": numpy_loop(p),
        "dsymv+dsyr": triangle_loop(p),
        "dgemm": product(p),
        "update": update(p),
        "read": read(p, threads),
    }
    for call in calls.values():
        call[0]()
    times = [{name: seconds(call) for name, call in calls.items()} for _ in range(rounds)]
    found |= {name: statistics.median(t[name] for t in times) for name in calls}
    for name, (make, most) in PACKAGES.items():
        with contextlib.suppress(ImportError):
            if p <= most:
                found[name] = seconds(make(p))
    return found


HEADS = (
    f"{'p':>5} {'threads':>7} {'us':>8} {'GFLOP/s':>8} {'dgemm':>6} {'share':>6}"
    f" {'over numpy':>11} {'dsymv+dsyr':>11} {'memory':>7} {'update us':>10} {'over read':>10}"
    + "".join(f" {name:>12}" for name in PACKAGES)
)


def line(p: int, threads: int, found: dict[str, float]) -> str:
    t, one = found["partial_fit"], found["update"]
    rate, limit = 3e-9 * p * p / t, 2e-9 * PRODUCT**3 / found["dgemm"]
    packages = (f"{found[name] / t:11.0f}x" if name in found else f"{'-':>12}" for name in PACKAGES)
    return (
        f"{p:5} {threads:7} {t * 1e6:8.2f} {rate:8.1f} {limit:6.1f} {rate / limit:6.0%}"
        f" {found['numpy'] / t:10.1f}x {found['dsymv+dsyr'] / t:10.1f}x"
        f" {found['memory']:7.2f} {one * 1e6:10.1f} {one / found['read']:9.2f}x"
        + "".join(f" {cell}" for cell in packages)
    )


def main() -> None:
    """Print a row for each size and number of BLAS threads, each measured in a new process."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", default="100,500,1000,2000,4000")
    parser.add_argument("--threads", default="1,2")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--families", action="store_true", help="families and a busy core")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    sizes = [int(size) for size in options.sizes.split(",")]
    threads = [int(count) for count in options.threads.split(",")]
    if options.child:
        p, rounds = sizes[0], options.rounds
        found = measure_families(p, rounds) if options.families else measure(p, threads[0], rounds)
        print(json.dumps(found))
        return
    if options.families:
        print(f"{'p':>5} {'threads':>7}" + "".join(f" {name:>9}" for name in FAMILIES) + "  busy")
    else:
        print("partial_fit: time and rate per row; over: time of the others / partial_fit's;")
        print("memory: its peak in p x p arrays; update: time per row, and divided by a read of M")
        print(TARGETS)
        print(HEADS)
    for p in sizes:
        for count in threads:
            out = subprocess.run(
                [
                    *(sys.executable, "-m", "bench.kalman", "--child"),
                    *("--sizes", str(p), "--threads", str(count)),
                    *("--rounds", str(options.rounds)),
                    *["--families"] * options.families,
                ],
                env=os.environ | ({"OPENBLAS_NUM_THREADS": str(count)} if count else {}),
                check=True,
                capture_output=True,
                text=True,
            ).stdout
            found = json.loads(out)
            if options.families:
                ratio = found["busy"] / found["quiet"]
                times = "".join(f" {found[name] * 1e9:9.1f}" for name in FAMILIES)
                print(f"{p:5} {count or 'all':>7}{times} {ratio:4.2f}x", flush=True)
            else:
                print(line(p, count, found), flush=True)


if __name__ == "__main__":
    main()
