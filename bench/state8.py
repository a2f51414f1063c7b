"""The time of a step with states of 8 bits, divided by that with float32 states.

python -m bench.state8 [--size 5e7] [--threads 2] [--columns 0]
"""

import argparse
import statistics

import numpy as np

import fastopt
import fastopt._core as core
from fastopt.cli.bench.steps import paired

RULES = {
    "AdamW": {},
    "Lion": {},
    "SGD": {"momentum": 0.9},
    "Adagrad": {},
}
DTYPES = ("float8", "float32")


def bound(rule: str, shape: tuple[int, ...], threads: int, state_dtype: str) -> fastopt.Optimizer:
    """Return an optimizer of one parameter with a bound gradient."""
    cls = getattr(fastopt, rule)
    w = np.ones(shape, np.float32)
    opt: fastopt.Optimizer = cls(
        w, lr=1e-6, n_threads=threads, state_dtype=state_dtype, **RULES[rule]
    )
    opt.bind(np.random.default_rng(0).standard_normal(shape, np.float32))
    return opt


def main() -> None:
    """Print for each rule the ratio, the two times and the bytes of state per element."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rules", default=",".join(RULES))
    parser.add_argument("--size", type=float, default=5e7)
    parser.add_argument("--columns", type=int, default=0, help="elements per row; 0: a vector")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    size, columns = int(options.size), options.columns
    shape = (size // columns, columns) if columns else (size,)
    times = max(1, 2_000_000 // size)
    print(f"{core.isa()}, {options.threads} threads, shape {shape}")
    for rule in options.rules.split(","):
        eight, single = (bound(rule, shape, options.threads, dtype) for dtype in DTYPES)
        pairs = list(paired(eight.step, single.step, options.rounds, times))
        ratio = statistics.median(x / y for x, y in pairs)
        a, b = (1e3 * statistics.median(column) for column in zip(*pairs, strict=True))
        n_bytes = sum(array.nbytes for array in eight.state[0].values()) / size
        print(f"{rule:8} {ratio:.2f} ({a:.2f} ms / {b:.2f} ms), {n_bytes:.3f} bytes of state")


if __name__ == "__main__":
    main()
