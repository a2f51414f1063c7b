"""The cost of memory layouts and dtypes: python -m bench.layouts [--threads 1,2].

Prints the time of Adam's step with parameter and gradient of different layouts divided by its time
if both are C-contiguous, and its time with bfloat16 moments divided by that with float32 moments.
"""

import argparse
from collections.abc import Callable

import numpy as np

import fastopt
from fastopt.cli.bench.steps import bound, ratio
from fastopt.cli.text import counted

LAYOUTS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "C": np.ascontiguousarray,
    "F": np.asfortranarray,
    "sliced": lambda a: np.repeat(a, 2, axis=1)[:, ::2],
    "backwards": lambda a: a[::-1, ::-1].copy()[::-1, ::-1],
}


def step_of(shape: tuple[int, int], param: str, grad: str, threads: int) -> Callable[[], None]:
    """Return Adam's step of one matrix whose parameter and gradient have these layouts."""
    w = LAYOUTS[param](np.ones(shape, np.float32))
    opt = fastopt.Adam(w, lr=1e-6, n_threads=threads)
    random = np.random.default_rng(0)
    opt.bind(LAYOUTS[grad](random.standard_normal(shape, dtype=np.float32)))
    return opt.step


def main() -> None:
    """Print the ratios: medians over rounds in which the two steps run alternately."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", default="1,2")
    for threads in map(int, parser.parse_args().threads.split(",")):
        for shape in ((4096, 4096), (1000, 5000)):
            plain = step_of(shape, "C", "C", threads)
            for param, grad in (("F", "C"), ("C", "F"), ("sliced", "C"), ("backwards", "C")):
                cost = ratio(step_of(shape, param, grad, threads), plain, rounds=9, times=1)
                print(
                    f"{counted(threads, 'thread')}, {shape}, {param} and {grad}: {cost:.2f}",
                    flush=True,
                )
        size = 50_000_000
        low, _ = bound("adam", size, threads, state_dtype="bfloat16")
        plain = bound("adam", size, threads)[0].step
        cost = ratio(low.step, plain, rounds=7, times=1)
        print(f"{counted(threads, 'thread')}, {size:.0e}, bfloat16 moments: {cost:.2f}", flush=True)


if __name__ == "__main__":
    main()
