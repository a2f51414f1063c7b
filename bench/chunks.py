"""Which share of the chunks stays with its thread from step to step: python -m bench.chunks.

A chunk that stays with its thread stays in the cache of its core, and on its socket. The script
also prints the time of a step of Adam for each number of threads, on however few CPUs, and checks
that its bits are equal for all of them.
"""

import ctypes
import hashlib
import os
import statistics
import subprocess
import sys
import time

import numpy as np

import fastopt
from bench.compiled import library

SIZES = (10**6, 10**7)
THREADS = (1, 2, 4, 8, 16, 32, 64, 128)
STEPS = 100
CHUNK = 16384


def share_that_stays(size: int, n_threads: int) -> float:
    """Return the mean share of the chunks that the thread of the previous step updates again."""
    n_chunks = size // CHUNK
    arrays = [np.ones(n_chunks * CHUNK, np.float32) for _ in range(4)]
    threads = np.zeros((STEPS + 10, n_chunks), np.int32)  # the first ten steps start threads
    for of_step in threads:
        pointers = [ctypes.c_void_p(array.ctypes.data) for array in (*arrays, of_step)]
        library(__file__).step(*pointers[:4], ctypes.c_int64(n_chunks), n_threads, pointers[4])
    return float((threads[10:] == threads[9:-1]).mean())


def worker() -> None:
    """Print the microseconds of a step with OMP_NUM_THREADS threads, and a hash of the bits."""
    for size in SIZES:
        w = np.ones(size, np.float32)
        opt = fastopt.Adam(w)
        opt.bind(np.random.default_rng(0).standard_normal(size, np.float32))
        times = []
        for _ in range(STEPS):
            start = time.perf_counter()
            opt.step()
            times.append(time.perf_counter() - start)
        bits = hashlib.sha256(w.tobytes()).hexdigest()
        print(statistics.median(times[STEPS // 5 :]) * 1e6, bits)


def main() -> None:
    """Print a row for each number of threads."""
    print("threads" + "".join(f"{f'{size:.0e} us':>12}{'% staying':>11}" for size in SIZES))
    found: set[tuple[str, ...]] = set()
    for threads in THREADS:
        limits = {"OMP_NUM_THREADS": str(threads), "FASTOPT_SERIAL_BELOW": "1"}
        done = subprocess.run(
            [sys.executable, "-c", "from bench.chunks import worker; worker()"],
            env={**os.environ, **limits}, capture_output=True, text=True, check=True,
        )  # fmt: skip
        times, bits = zip(*(line.split() for line in done.stdout.splitlines()), strict=True)
        found.add(bits)
        row = f"{threads:7}"
        for size, microseconds in zip(SIZES, times, strict=True):
            row += f"{float(microseconds):12.0f}{100 * share_that_stays(size, threads):11.1f}"
        print(row, flush=True)
    print("equal bits" if len(found) == 1 else "DIFFERENT BITS")


if __name__ == "__main__":
    main()
