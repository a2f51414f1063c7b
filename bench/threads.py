"""Two optimizers, in two Python threads and one after the other: python -m bench.threads.

Both ways take the same number of steps. Two Python threads should take at most 1.3 times as long
as one optimizer after the other, with one or two threads per step, whichever is faster. The last
column is the ratio of the least times, which other work on the machine affects least.
"""

import statistics
import threading
import time
from collections.abc import Callable

import numpy as np

import fastopt

ROUNDS = 15
SECONDS = 0.05  # about how long one optimizer steps
CASES = {
    "64": [64],
    "300 x 64": [64] * 300,
    "1e3": [1_000],
    "1e5": [100_000],
    "1e6": [1_000_000],
    "2e6": [2_000_000],
    "1e7": [10_000_000],
}

Step = Callable[[], None]


def bound(sizes: list[int], n_threads: int) -> Step:
    """Return the step of Adam for float32 parameters of these sizes."""
    rng = np.random.default_rng(0)
    params = [np.zeros(size, np.float32) for size in sizes]
    opt = fastopt.Adam(params, n_threads=n_threads)
    opt.bind([rng.standard_normal(size, dtype=np.float32) for size in sizes])
    return opt.step


def repeat(step: Step, times: int) -> None:
    """Call `step` `times` times."""
    for _ in range(times):
        step()


def in_turn(steps: list[Step], times: int) -> float:
    """Return the seconds of one step of each optimizer, run one after the other."""
    start = time.perf_counter()
    for step in steps:
        repeat(step, times)
    return (time.perf_counter() - start) / times


def at_once(steps: list[Step], times: int) -> float:
    """Return the seconds of one step of each optimizer, run in one Python thread each."""
    ready = threading.Barrier(len(steps) + 1)

    def run(step: Step) -> None:
        ready.wait()
        repeat(step, times)

    threads = [threading.Thread(target=run, args=(step,)) for step in steps]
    for thread in threads:
        thread.start()
    ready.wait()
    start = time.perf_counter()
    for thread in threads:
        thread.join()
    return (time.perf_counter() - start) / times


def main() -> None:
    """Print a row for each case and number of threads: medians over rounds."""
    print("Adam float32: microseconds for a step of each of two optimizers")
    print("sizes     threads  in turn  at once  over the faster in turn  (of the least)")
    for name, sizes in CASES.items():
        steps = {n: [bound(sizes, n) for _ in range(2)] for n in (1, 2)}
        times = max(3, int(SECONDS / in_turn(steps[1], 3) * 2))
        turns: dict[int, list[float]] = {1: [], 2: []}
        together: dict[int, list[float]] = {1: [], 2: []}
        for _ in range(ROUNDS):
            for n in (1, 2):
                turns[n].append(in_turn(steps[n], times) * 1e6)
                together[n].append(at_once(steps[n], times) * 1e6)
        median, least = (
            {n: (of(turns[n]), of(together[n])) for n in (1, 2)} for of in (statistics.median, min)
        )
        for n in (1, 2):
            ratio, clean = (
                of[n][1] / min(turn for turn, _ in of.values()) for of in (median, least)
            )
            print(
                f"{name:8} {n:8} {median[n][0]:8.1f} {median[n][1]:8.1f} {ratio:24.2f}"
                f"  {clean:14.2f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
