"""Steps with one and with two threads after idle times and products: python -m bench.gaps.

Training does not step in a tight loop. Threads sleep between steps and take time to wake, and
after a matrix product the threads of OpenBLAS keep their cores busy for a while. The default of
FASTOPT_SERIAL_BELOW was chosen from the output of this command.
"""

import os
import statistics
import time
from collections.abc import Callable

import numpy as np

os.environ["FASTOPT_SERIAL_BELOW"] = "1"
from fastopt.cli.bench.steps import bound

SIZES = (100_000, 200_000, 300_000, 500_000, 1_000_000, 2_000_000, 4_000_000)


def median(gap: Callable[[], object], step: Callable[[], None], rounds: int) -> float:
    """Return the median time of a step after a gap, in microseconds."""
    time.sleep(0.2)  # until the threads of the previous measurement sleep
    times = []
    for _ in range(rounds):
        gap()
        start = time.perf_counter()
        step()
        times.append(time.perf_counter() - start)
    return statistics.median(times[rounds // 5 :]) * 1e6


def main() -> None:
    """Print the microseconds of a step with one and with two threads, after each kind of gap."""
    matrix = np.random.default_rng(0).standard_normal((300, 300))
    gaps: dict[str, Callable[[], object]] = {
        "nothing": lambda: None,
        "2 ms": lambda: time.sleep(0.002),
        "20 ms": lambda: time.sleep(0.02),
        "product": lambda: matrix @ matrix,
    }
    print("microseconds of a step with 1 / 2 threads after")
    print(f"{'rule':10}{'elements':>10}" + "".join(f"{name:>14}" for name in gaps))
    for rule in ("sgd", "adam"):
        for size in SIZES:
            row = f"{rule:10}{size:10}"
            for name, gap in gaps.items():
                rounds = 30 if name == "20 ms" else 100
                one, two = (median(gap, bound(rule, size, k)[0].step, rounds) for k in (1, 2))
                row += f"{one:7.0f}/{two:<6.0f}"
            print(row, flush=True)


if __name__ == "__main__":
    main()
