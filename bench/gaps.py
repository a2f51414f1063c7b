"""One thread against two where something lies between the steps: python -m bench.gaps.

Training does not step in a tight loop: threads fall asleep between steps and take time to wake.
FO_SERIAL_BELOW in csrc/fastopt.h is chosen from these rows, of a build where it is 1.
"""

import statistics
import time

import numpy as np

import fastopt._core as core
from bench.rules import bound

SIZES = (50_000, 100_000, 200_000, 300_000, 500_000, 1_000_000, 2_000_000)


def main() -> None:
    """Print microseconds a step, with one thread and with two, after each kind of gap."""
    matrix = np.random.default_rng(0).standard_normal((300, 300))
    gaps = {
        "none": lambda: None,
        "2 ms": lambda: time.sleep(0.002),
        "20 ms": lambda: time.sleep(0.02),
        "product": lambda: matrix @ matrix,
    }
    print(f"serial below {core.SERIAL_BELOW} elements; us a step with 1 / 2 threads after")
    print(f"{'rule':10}{'elements':>10}" + "".join(f"{name:>14}" for name in gaps))
    for rule in ("sgd", "adam"):
        for size in SIZES:
            row = f"{rule:10}{size:10}"
            for name, gap in gaps.items():
                medians = []
                for threads in (1, 2):
                    opt, _ = bound(rule, size, threads)
                    times = []
                    for _ in range(25 if name == "20 ms" else 80):
                        gap()
                        start = time.perf_counter()
                        opt.step()
                        times.append(time.perf_counter() - start)
                    medians.append(statistics.median(times) * 1e6)
                row += f"{medians[0]:7.0f}/{medians[1]:<6.0f}"
            print(row, flush=True)


if __name__ == "__main__":
    main()
