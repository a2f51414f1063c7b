"""A matrix product alone, a step alone, and the two alternately: python -m bench.blas.

The alternation should take the sum of the two times. It takes longer if threads of fastopt spin
after a step and slow down the threads of the product, or vice versa.
"""

import statistics
import time
from collections.abc import Callable

import numpy as np

from fastopt.cli.bench.steps import bound

ROUNDS = 5
SIZES = (10**4, 10**5, 10**6, 10**7)


def median(calls: list[Callable[[], object]], seconds: float = 0.3) -> float:
    """Return the median time of one round of all the calls, in microseconds."""
    times = []
    time.sleep(0.1)  # the threads of OpenBLAS spin for a while after a product
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        start = time.perf_counter()
        for call in calls:
            call()
        times.append(time.perf_counter() - start)
    return statistics.median(times[len(times) // 4 :]) * 1e6


def main() -> None:
    """Print a row for each size and number of threads: medians over rounds of all three."""
    matrix = np.random.default_rng(0).standard_normal((300, 300))
    out = np.empty_like(matrix)

    def product() -> None:
        np.matmul(matrix, matrix, out=out)

    print("elements  threads  product us  step us  alternated us  over the sum (lowest-highest)")
    for size in SIZES:
        for threads in (1, 2):
            opt, _ = bound("adam", size, threads)
            rounds = []
            for _ in range(ROUNDS):
                alone, step = median([product]), median([opt.step])
                both = median([product, opt.step])
                rounds.append((alone, step, both, both / (alone + step)))
            alone, step, both, ratio = map(statistics.median, zip(*rounds, strict=True))
            ratios = sorted(r[-1] for r in rounds)
            print(
                f"{size:8.0e} {threads:8} {alone:11.0f} {step:8.0f} {both:14.0f}"
                f" {ratio:13.2f} ({ratios[0]:.2f}-{ratios[-1]:.2f})",
                flush=True,
            )


if __name__ == "__main__":
    main()
